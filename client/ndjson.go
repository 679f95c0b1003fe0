package client

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// ndjsonReader reads flat JSON objects, one a line. Blank lines don't count.
type ndjsonReader struct {
	r        *bufio.Reader
	contract *contract.Contract
	line     int
}

func (n *ndjsonReader) next() (columns.Record, error) {
	for {
		line, err := readLine(n.r, batchBytes)
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil, io.EOF
		}
		n.line++
		if err == nil || errors.Is(err, io.EOF) {
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			var record columns.Record
			if record, err = n.record(line); err == nil {
				return record, nil
			}
		}
		return nil, inputf("line %d: %w", n.line, err)
	}
}

// Errors of a line.
var (
	errNotUTF8   = errors.New("isn't UTF-8: convert the input to UTF-8")
	errNotObject = errors.New("isn't a JSON object: one object a line is needed, from column name to value")
	errNotJSON   = errors.New("isn't valid JSON")
)

// record reads one flat JSON object, key by key, so that a key given twice is
// noticed.
func (n *ndjsonReader) record(line []byte) (columns.Record, error) {
	if !utf8.Valid(line) {
		return nil, errNotUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotObject
	}
	var record columns.Record
	seen := map[string]bool{}
	for dec.More() {
		c, err := n.entry(dec, line)
		if err != nil {
			return nil, err
		}
		if seen[c.Name] {
			return nil, errors.New("a key stands twice")
		}
		if seen[c.Name] = true; len(seen) > limits.Columns {
			return nil, fmt.Errorf("more than %d keys", limits.Columns)
		}
		record = append(record, c)
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNotJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands after the JSON object")
	}
	return record, nil
}

// entry reads one key and its value.
func (n *ndjsonReader) entry(dec *json.Decoder, line []byte) (columns.Cell, error) {
	key, err := dec.Token()
	name, ok := key.(string)
	if err != nil || !ok {
		return columns.Cell{}, errNotJSON
	}
	if len(name) == 0 || len(name) > maxName || halved(line, name) {
		return columns.Cell{}, fmt.Errorf("a key isn't a column name: 1 to %d bytes", maxName)
	}
	value, err := dec.Token()
	if err != nil {
		return columns.Cell{}, errNotJSON
	}
	return n.cell(name, value, line)
}

// cell converts one JSON value. Strings stay text in text, date and timestamp
// columns alone; everything that doesn't fit travels as it is and is rejected.
func (n *ndjsonReader) cell(name string, token json.Token, line []byte) (columns.Cell, error) {
	var f *contract.Field
	if i := n.contract.Index(name); i >= 0 {
		f = &n.contract.Fields[i]
	}
	switch v := token.(type) {
	case nil:
		return columns.Null(name), nil
	case bool:
		return columns.Bool(name, v), nil
	case json.Number:
		if f != nil && (f.Type == contract.Integer || f.Type == contract.Number) {
			if value, err := f.Parse(v.String()); err == nil {
				return columns.Int(name, value.Int), nil
			}
		}
		return n.text(name, v.String(), line)
	case string:
		if f != nil && (f.Type == contract.Date || f.Type == contract.Timestamp) {
			if value, err := f.Parse(v); err == nil {
				return columns.Int(name, value.Int), nil
			}
		}
		return n.text(name, v, line)
	default:
		return columns.Cell{}, errors.New("a value is an object or an array; records are flat")
	}
}

func (*ndjsonReader) text(name, v string, line []byte) (columns.Cell, error) {
	if why := checkText(!halved(line, v), len(v)); why != "" {
		return columns.Cell{}, errors.New("a text " + why)
	}
	return columns.Text(name, v), nil
}

// halved says whether the decoder put U+FFFD in place of half a surrogate pair
// in s: it does so silently, and the line has no such character of its own.
func halved(line []byte, s string) bool {
	return strings.ContainsRune(s, utf8.RuneError) && !bytes.ContainsRune(line, utf8.RuneError) && !bytes.Contains(bytes.ToLower(line), []byte(`\ufffd`))
}

// readLine reads up to a newline and refuses longer lines than limit.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, fmt.Errorf("longer than %d bytes", limit)
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
