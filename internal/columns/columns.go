// Package columns is the codecs, the forms of records inside an envelope.
//
// Codec 1 is for a few records: a CBOR sequence (RFC 8742) of definite-length
// maps from column name to value, each in the core deterministic encoding (RFC
// 8949 section 4.2.1). Codec 2 is for many: a protobuf message of packed columns
// (docs/spec/columns.md). Both hold the same records, and each has one encoding
// of them.
//
// Content is read after the envelope is authenticated and opened, and still
// isn't trusted: a producer may be hostile.
package columns

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/limits"
)

// Codec is the number of codec 1 in envelope headers.
const Codec = 1

// maxColumnName is the longest column name, in bytes.
const maxColumnName = 128

// ErrMalformed says that content isn't in its codec. Where it is wrong is told
// by the number of the record or column alone.
var ErrMalformed = errors.New("columns: malformed content")

// Kind is the form of a value on the wire.
type Kind uint8

// The kinds. A value's contract type says which one is right.
const (
	KindNull Kind = iota
	KindInt
	KindText
	KindBool
)

// Cell is one column's value in one record.
type Cell struct {
	// Name is the column's name, at most 128 bytes.
	Name string
	Kind Kind
	// Int is the value of KindInt, in the contract's stored unit, and of
	// KindBool: 0 or 1.
	Int int64
	// Text is the value of KindText, at most limits.Text bytes of UTF-8.
	Text string
}

// Record is the cells of one record. Encode takes them in any order; Decode
// gives them in the order of the encoding.
type Record []Cell

// Null is an absent value.
func Null(name string) Cell { return Cell{Name: name} }

// Int is an integer, or a number, date or timestamp in its stored unit.
func Int(name string, v int64) Cell { return Cell{Name: name, Kind: KindInt, Int: v} }

// Text is a string.
func Text(name, v string) Cell { return Cell{Name: name, Kind: KindText, Text: v} }

// Bool is a truth value.
func Bool(name string, v bool) Cell {
	c := Cell{Name: name, Kind: KindBool}
	if v {
		c.Int = 1
	}
	return c
}

// Size is the number of bytes that Encode needs for a record.
func Size(r Record) int {
	n := headSize(uint64(len(r)))
	for _, c := range r {
		n += headSize(uint64(len(c.Name))) + len(c.Name) + valueSize(c)
	}
	return n
}

// Encode writes records one after the other. An error names the record's
// number and, at most, the column.
func Encode(records []Record) ([]byte, error) {
	size := 0
	for _, r := range records {
		size += Size(r)
	}
	if len(records) > limits.BatchRows || size > limits.Envelope {
		return nil, fmt.Errorf("columns: at most %d records and %d bytes", limits.BatchRows, limits.Envelope)
	}
	out := make([]byte, 0, size)
	var sorted Record
	for i, r := range records {
		if len(r) > limits.Columns {
			return nil, fmt.Errorf("columns: record %d has more than %d columns", i, limits.Columns)
		}
		sorted = append(sorted[:0], r...)
		slices.SortFunc(sorted, func(a, b Cell) int { return compareNames(a.Name, b.Name) })
		out = appendHead(out, majorMap, uint64(len(sorted)))
		for j, c := range sorted {
			if err := check(c); err != nil {
				return nil, fmt.Errorf("columns: record %d: %w", i, err)
			}
			if j > 0 && sorted[j-1].Name == c.Name {
				return nil, fmt.Errorf("columns: record %d has column %q twice", i, c.Name)
			}
			out = appendValue(appendText(out, c.Name), c)
		}
	}
	return out, nil
}

// check says what of a cell can't be written.
func check(c Cell) error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	return checkValue(c)
}

func checkName(name string) error {
	if len(name) == 0 || len(name) > maxColumnName || !utf8.ValidString(name) {
		return fmt.Errorf("a column name has 1 to %d bytes of UTF-8", maxColumnName)
	}
	return nil
}

func checkValue(c Cell) error {
	switch {
	case c.Kind > KindBool || c.Kind == KindBool && c.Int>>1 != 0:
		return fmt.Errorf("column %q has a value of no known kind", c.Name)
	case c.Kind == KindText && len(c.Text) > limits.Text:
		return fmt.Errorf("the text in column %q is longer than %d bytes", c.Name, limits.Text)
	case c.Kind == KindText && !utf8.ValidString(c.Text):
		return fmt.Errorf("the text in column %q isn't UTF-8", c.Name)
	}
	return nil
}

// compareNames is the order of map keys: that of their encodings, which is by
// length and then by bytes.
func compareNames(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// follows says that b, a name still in its buffer, comes after a.
func follows(a string, b []byte) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < string(b)
}
