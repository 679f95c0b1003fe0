package client

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// Format is the form of an input file.
type Format string

// The input formats.
const (
	CSV    Format = "csv"
	NDJSON Format = "ndjson"
)

// recordReader answers one record after another, io.EOF at the end. A value
// that doesn't fit its column's type travels as text, so that the enclave
// rejects that record and no other.
type recordReader interface {
	next() (columns.Record, error)
}

// newRecordReader reads records of a contract from r. Errors of the header
// come at once, before anything is sealed.
func newRecordReader(r io.Reader, format Format, c *contract.Contract) (recordReader, error) {
	buffered := bufio.NewReaderSize(r, 256<<10)
	if bom, err := buffered.Peek(3); err == nil && bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(3)
	}
	switch format {
	case CSV:
		return newCSV(buffered, c)
	case NDJSON:
		return &ndjsonReader{r: buffered, contract: c}, nil
	default:
		return nil, fmt.Errorf("unknown format %q: csv or ndjson", format)
	}
}

type csvReader struct {
	r      *csv.Reader
	fields []*contract.Field
}

func newCSV(r io.Reader, c *contract.Contract) (*csvReader, error) {
	reader := csv.NewReader(&boundedLines{r: r, limit: limits.Columns * 256})
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the input is empty: a header line with the contract's column names is needed")
	}
	if err != nil {
		return nil, fmt.Errorf("header: %w", csvError(err))
	}
	if len(header) > limits.Columns {
		return nil, fmt.Errorf("the header names %d columns; %d is the limit", len(header), limits.Columns)
	}
	out := &csvReader{r: reader}
	seen := map[string]bool{}
	for i, name := range header {
		index := c.Index(name)
		if index < 0 {
			return nil, fmt.Errorf("header: column %d isn't in the contract of dataset %s", i+1, c.Dataset)
		}
		if seen[name] {
			return nil, fmt.Errorf("header: column %s stands twice", name)
		}
		seen[name] = true
		out.fields = append(out.fields, &c.Fields[index])
	}
	for _, f := range c.Fields {
		if f.Required && !seen[f.Name] {
			return nil, fmt.Errorf("header: the required column %s is missing", f.Name)
		}
	}
	reader.ReuseRecord = true
	return out, nil
}

func (c *csvReader) next() (columns.Record, error) {
	row, err := c.r.Read()
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, csvError(err)
	}
	record := make(columns.Record, 0, len(row))
	for i, text := range row {
		record = append(record, cell(c.fields[i], text))
	}
	return record, nil
}

// csvError drops what encoding/csv says beyond line and kind: never a value.
func csvError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("line %d: %w", parse.Line, parse.Err)
	}
	return err
}

// boundedLines refuses a line longer than its limit before csv.Reader holds it.
type boundedLines struct {
	r     io.Reader
	limit int
	since int
}

func (b *boundedLines) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			b.since += len(rest)
			break
		}
		if b.since += i; b.since > b.limit {
			break
		}
		b.since, rest = 0, rest[i+1:]
	}
	if b.since > b.limit {
		return 0, fmt.Errorf("a line is longer than %d bytes", b.limit)
	}
	return n, err
}

// cell converts CSV text. An empty field is NULL.
func cell(f *contract.Field, text string) columns.Cell {
	if text == "" {
		return columns.Null(f.Name)
	}
	v, err := f.Parse(text)
	if err != nil || f.Type == contract.String {
		return columns.Text(f.Name, strings.Clone(text))
	}
	if f.Type == contract.Boolean {
		return columns.Bool(f.Name, v.Int != 0)
	}
	return columns.Int(f.Name, v.Int)
}

type ndjsonReader struct {
	r        *bufio.Reader
	contract *contract.Contract
	line     int
}

func (n *ndjsonReader) next() (columns.Record, error) {
	for {
		line, err := readLine(n.r, limits.Columns*256)
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil, io.EOF
		}
		n.line++
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("line %d: %w", n.line, err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		record, err := n.record(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n.line, err)
		}
		return record, nil
	}
}

// record reads one flat JSON object, key by key, so that a key given twice is
// noticed.
func (n *ndjsonReader) record(line []byte) (columns.Record, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var record columns.Record
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, errors.New("not valid JSON")
		}
		name, _ := t.(string)
		if seen[name] {
			return nil, errors.New("a key stands twice")
		}
		if seen[name] = true; len(seen) > limits.Columns {
			return nil, fmt.Errorf("more than %d keys", limits.Columns)
		}
		if t, err = dec.Token(); err != nil {
			return nil, errors.New("not valid JSON")
		}
		c, err := n.cell(name, t)
		if err != nil {
			return nil, err
		}
		record = append(record, c)
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("not valid JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands after the JSON object")
	}
	return record, nil
}

// cell converts one JSON value. Strings stay text in text, date and timestamp
// columns alone; everything that doesn't fit travels as it is and is rejected.
func (n *ndjsonReader) cell(name string, token json.Token) (columns.Cell, error) {
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
		return columns.Text(name, v.String()), nil
	case string:
		if f != nil && (f.Type == contract.Date || f.Type == contract.Timestamp) {
			if value, err := f.Parse(v); err == nil {
				return columns.Int(name, value.Int), nil
			}
		}
		return columns.Text(name, v), nil
	default:
		return columns.Cell{}, errors.New("a value is an object or an array; records are flat")
	}
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
