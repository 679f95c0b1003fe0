package client

import (
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// csvReader reads RFC 4180 with a header of column names.
type csvReader struct {
	r      *csv.Reader
	bound  *bounded
	fields []*contract.Field
	count  int // records read
}

func newCSV(r io.Reader, c *contract.Contract) (*csvReader, error) {
	bound := &bounded{r: r, limit: maxHeader}
	out := &csvReader{r: csv.NewReader(bound), bound: bound}
	header, err := out.r.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, inputf("the input is empty: the first line must name columns of dataset %s, see `cloister describe %s`", c.Dataset, c.Dataset)
	case errors.Is(err, errTooLong):
		return nil, inputf("header: longer than %d bytes, or not closed; a contract has at most %d columns", maxHeader, limits.Columns)
	case err != nil:
		return nil, csvError("header", err)
	case len(header) > limits.Columns:
		return nil, inputf("header: %d columns; a contract has at most %d", len(header), limits.Columns)
	}
	if out.fields, err = headerFields(header, c); err != nil {
		return nil, err
	}
	out.r.ReuseRecord = true
	out.mark(batchBytes)
	return out, nil
}

// headerFields finds the contract's fields for a header. It never repeats a
// name that the contract doesn't have: without a header line it would be data.
func headerFields(header []string, c *contract.Contract) ([]*contract.Field, error) {
	var fields []*contract.Field
	seen := map[string]bool{}
	for i, name := range header {
		index := c.Index(name)
		if index < 0 {
			return nil, inputf("header: column %d isn't in the contract of dataset %s; the first line must name its columns, see `cloister describe %s`", i+1, c.Dataset, c.Dataset)
		}
		if seen[name] {
			return nil, inputf("header: column %s stands twice", name)
		}
		seen[name] = true
		fields = append(fields, &c.Fields[index])
	}
	for _, f := range c.Fields {
		if f.Required && !seen[f.Name] {
			return nil, inputf("header: the required column %s is missing", f.Name)
		}
	}
	return fields, nil
}

// mark lets the next record begin where the last one ended.
func (c *csvReader) mark(limit int64) {
	c.bound.from, c.bound.limit = c.r.InputOffset(), limit
}

func (c *csvReader) next() (columns.Record, error) {
	row, err := c.r.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case errors.Is(err, errTooLong):
		return nil, inputf("record %d is longer than %d bytes, or a quote in it isn't closed", c.count, batchBytes)
	case errors.Is(err, csv.ErrFieldCount):
		line, _ := c.r.FieldPos(0)
		return nil, inputf("line %d: %d fields, and the header has %d", line, len(row), len(c.fields))
	case err != nil:
		return nil, csvError("", err)
	}
	c.mark(batchBytes)
	record := make(columns.Record, 0, len(row))
	for i, text := range row {
		if why := checkText(utf8.ValidString(text), len(text)); why != "" {
			line, _ := c.r.FieldPos(i)
			return nil, inputf("line %d: the text in column %s %s", line, c.fields[i].Name, why)
		}
		record = append(record, cell(c.fields[i], text))
	}
	c.count++
	return record, nil
}

// csvError says line and kind of what encoding/csv refuses: never a value.
func csvError(where string, err error) error {
	var parse *csv.ParseError
	switch {
	case !errors.As(err, &parse):
		return err
	case where != "":
		where += ": "
	}
	switch {
	case errors.Is(parse.Err, csv.ErrQuote) && parse.StartLine != parse.Line:
		return inputf("%sline %d: a quote that is opened in this record is never closed, or something stands behind it on line %d", where, parse.StartLine, parse.Line)
	case errors.Is(parse.Err, csv.ErrQuote):
		return inputf("%sline %d: a quote isn't closed, or something stands behind it; a quote inside a quoted field is written twice", where, parse.Line)
	case errors.Is(parse.Err, csv.ErrBareQuote):
		return inputf("%sline %d: a quote inside a field that isn't quoted: quote the field and write the quote twice", where, parse.Line)
	}
	return inputf("%sline %d: not CSV", where, parse.Line)
}

// errTooLong ends a reading whose record is too long.
var errTooLong = errors.New("a record is too long")

// bounded lets csv.Reader have no more of one record than its limit, and what
// that reader's buffer holds ahead.
type bounded struct {
	r           io.Reader
	limit       int64
	from, given int64 // offsets of the record's beginning and of the next byte
}

// readAhead is more than csv.Reader reads ahead, in bytes.
const readAhead = 64 << 10

func (b *bounded) Read(p []byte) (int, error) {
	if b.given-b.from > b.limit+readAhead {
		return 0, errTooLong
	}
	n, err := b.r.Read(p)
	b.given += int64(n)
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
