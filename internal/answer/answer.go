// Package answer is the signed result of a protected query, shared by the
// enclave that signs it and the client that checks it. It trusts nothing: an
// Answer is believed only after Verify with a service key that evidence
// vouched for.
package answer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"
)

// Type is the type of a column of an answer, by the name that people read.
type Type string

// The column types. A cell's value stands in Cell.Int or Cell.Text.
const (
	// String values stand in Text.
	String Type = "string"
	// Int64 values stand in Int.
	Int64 Type = "int64"
	// Decimal values stand in Text, with exactly Column.Scale digits after the
	// point.
	Decimal Type = "decimal"
	// Boolean values stand in Int: 0 is false, 1 is true.
	Boolean Type = "boolean"
	// Date values stand in Int: days since 1970-01-01.
	Date Type = "date"
	// Timestamp values stand in Int: microseconds since the epoch, UTC.
	Timestamp Type = "timestamp"
)

// Modes of protection, as Answer.Mode names them.
const (
	// ModeThreshold gives exact values of groups that pass the floor.
	ModeThreshold = "threshold"
)

// ErrShape says that an answer isn't well formed: no columns, a row of another length than
// the columns, a value in the wrong place, an unknown type.
var ErrShape = errors.New("answer: not well formed")

// Column describes one column of an answer.
type Column struct {
	_    struct{} `cbor:",toarray"`
	Name string
	Type Type
	// Scale is the number of digits after the point of a Decimal, else 0.
	Scale int
}

// Cell is one value. A NULL cell holds nothing else.
type Cell struct {
	_    struct{} `cbor:",toarray"`
	Null bool
	Int  int64
	Text string
}

// Answer is what the enclave releases for one query.
type Answer struct {
	// Mode of protection, and whether it withstands differencing.
	Mode      string `cbor:"1,keyasint"`
	Protected bool   `cbor:"2,keyasint"`
	// Dataset queried and the number of its snapshot.
	Dataset  string `cbor:"3,keyasint"`
	Snapshot uint64 `cbor:"4,keyasint"`
	// Floor is the smallest number of contributors of a group that is shown.
	Floor   int      `cbor:"5,keyasint"`
	Columns []Column `cbor:"6,keyasint"`
	// Rows hold a cell for each column.
	Rows [][]Cell `cbor:"7,keyasint"`
	// Suppressed says that the one row of a query without GROUP BY is under
	// the floor. About groups nothing is ever said.
	Suppressed bool `cbor:"8,keyasint"`
	// AuditID names the audit entry that was written before data was read.
	AuditID string `cbor:"9,keyasint"`
	// Genesis and Manifest say which state answered.
	Genesis  [32]byte `cbor:"10,keyasint"`
	Manifest uint64   `cbor:"11,keyasint"`
	// Query is QueryDigest of what was answered.
	Query [32]byte `cbor:"12,keyasint"`
}

// QueryDigest is the SHA-256 of a query's text, which ties an answer to it.
// Values bound to placeholders follow the text, each as an SQL literal after a
// zero byte, which no text has.
func QueryDigest(text string, bound ...string) [32]byte {
	return sha256.Sum256([]byte(strings.Join(append([]string{text}, bound...), "\x00")))
}

// Check answers ErrShape unless there are columns, every cell fits its column,
// and every text is UTF-8.
func (a *Answer) Check() error {
	if len(a.Columns) == 0 || !utf8.ValidString(a.Mode) || !utf8.ValidString(a.Dataset) || !utf8.ValidString(a.AuditID) {
		return ErrShape
	}
	for _, c := range a.Columns {
		if !c.Type.known() || !utf8.ValidString(c.Name) || c.Scale < 0 || (c.Scale != 0 && c.Type != Decimal) {
			return ErrShape
		}
	}
	for _, row := range a.Rows {
		if len(row) != len(a.Columns) {
			return ErrShape
		}
		for i, cell := range row {
			if !a.Columns[i].holds(cell) {
				return ErrShape
			}
		}
	}
	return nil
}

func (t Type) known() bool {
	switch t {
	case String, Int64, Decimal, Boolean, Date, Timestamp:
		return true
	}
	return false
}

// holds says whether a cell is a value of the column, in its one spelling.
func (c Column) holds(cell Cell) bool {
	if cell.Null {
		return cell == Cell{Null: true}
	}
	switch c.Type {
	case String:
		return cell.Int == 0 && utf8.ValidString(cell.Text)
	case Decimal:
		_, err := ParseDecimal(cell.Text, c.Scale)
		return cell.Int == 0 && err == nil
	case Boolean:
		return cell.Text == "" && (cell.Int == 0 || cell.Int == 1)
	default:
		return cell.Text == ""
	}
}

// Format writes a cell of the column for people: dates as 2006-01-02,
// timestamps as RFC 3339 in UTC. A NULL cell is the empty text, so that the
// caller decides how NULL looks.
func (c Column) Format(cell Cell) string {
	if cell.Null {
		return ""
	}
	switch c.Type {
	case Int64:
		return fmt.Sprint(cell.Int)
	case Boolean:
		return fmt.Sprint(cell.Int != 0)
	case Date:
		return time.Unix(0, 0).UTC().AddDate(0, 0, int(cell.Int)).Format(time.DateOnly)
	case Timestamp:
		return time.UnixMicro(cell.Int).UTC().Format(time.RFC3339Nano)
	default:
		return cell.Text
	}
}

// FormatDecimal writes unscaled / 10^scale with exactly scale digits after the
// point. Zero has no sign.
func FormatDecimal(unscaled *big.Int, scale int) string {
	digits := new(big.Int).Abs(unscaled).String()
	for len(digits) <= scale {
		digits = "0" + digits
	}
	sign := ""
	if unscaled.Sign() < 0 {
		sign = "-"
	}
	if scale == 0 {
		return sign + digits
	}
	point := len(digits) - scale
	return sign + digits[:point] + "." + digits[point:]
}

// maxDecimal bounds the text of a decimal: 128 bits have 39 digits.
const maxDecimal = 48

// ParseDecimal reads what FormatDecimal writes and nothing else; any other
// text is ErrShape.
func ParseDecimal(text string, scale int) (*big.Int, error) {
	if len(text) > maxDecimal {
		return nil, ErrShape
	}
	digits := make([]byte, 0, len(text))
	for i := range len(text) {
		if i == len(text)-scale-1 && scale > 0 && text[i] == '.' {
			continue
		}
		digits = append(digits, text[i])
	}
	v, ok := new(big.Int).SetString(string(digits), 10)
	if !ok || FormatDecimal(v, scale) != text {
		return nil, ErrShape
	}
	return v, nil
}
