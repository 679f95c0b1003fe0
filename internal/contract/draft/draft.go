// Package draft proposes a data contract from the columns of a CSV file. It is
// for people's side: it reads records in the clear, on the machine of whoever
// owns them, sends nothing, and keeps no value beyond a short list of distinct
// ones. What it writes has no value of the data in it unless its caller asks
// for the values of short lists. It trusts the file to be a table and nothing
// more, and reads files of any size in bounded memory.
package draft

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// maxRecord bounds one record, in bytes, so that a quote without an end
	// doesn't take the whole file into memory.
	maxRecord = 32 << 20
	// readAhead is how much of the next record csv.Reader may hold.
	readAhead = 256 << 10
	// checkEvery is how many records are read between looks at the context.
	checkEvery = 4096
)

// ErrInput says that the file isn't a table that a contract can describe. Its
// text names lines and columns by number and never holds a value.
var ErrInput = errors.New("draft")

// Table is what was seen of a file.
type Table struct {
	columns []*column
	rows    int
}

// Read reads a CSV file with a header of column names. Errors are ErrInput,
// those of r, and the context's.
func Read(ctx context.Context, r io.Reader) (*Table, error) {
	bounded := &boundedReader{r: r, left: maxRecord}
	buffered := bufio.NewReaderSize(bounded, readAhead)
	if bom, _ := buffered.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(3)
	}
	rows := csv.NewReader(buffered)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return nil, inputError(err, "is empty; a header with the columns' names is needed")
	}
	t, err := newTable(header)
	if err != nil {
		return nil, err
	}
	for {
		bounded.left = maxRecord
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, inputError(err, "")
		}
		if t.rows%checkEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		t.rows++
		for i, text := range row {
			t.columns[i].see(text)
		}
	}
}

// newTable checks the header. It doesn't repeat names: in a file without a
// header they are values.
func newTable(header []string) (*Table, error) {
	if len(header) == 1 && strings.ContainsAny(header[0], ";\t|") {
		return nil, fmt.Errorf("%w: the header has no comma; columns must be separated by commas", ErrInput)
	}
	if len(header) > limits.Columns {
		return nil, fmt.Errorf("%w: %d columns; a contract has at most %d", ErrInput, len(header), limits.Columns)
	}
	t := &Table{}
	seen := map[string]int{}
	for i, name := range header {
		if !isName(name) {
			return nil, fmt.Errorf("%w: the name of column %d can't be a column's name: a letter or _, then letters, digits and _, at most 63; the first line must hold names", ErrInput, i+1)
		}
		folded := strings.ToLower(name)
		if before, twice := seen[folded]; twice {
			return nil, fmt.Errorf("%w: columns %d and %d have one name; capitals don't count", ErrInput, before, i+1)
		}
		seen[folded] = i + 1
		t.columns = append(t.columns, newColumn(strings.Clone(name)))
	}
	return t, nil
}

// isName says whether a contract can have a column of this name.
func isName(name string) bool {
	c := contract.Contract{
		Dataset: "d", ID: "d", Version: "1", Floor: contract.DefaultFloor, Fields: []contract.Field{{Name: name, Type: contract.String, Role: contract.Unit}},
	}
	return c.Check() == nil
}

// inputError says what is wrong with the file, without what csv quotes.
func inputError(err error, end string) error {
	var parse *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the file %s", ErrInput, end)
	case errors.As(err, &parse) && errors.Is(parse.Err, csv.ErrFieldCount):
		return fmt.Errorf("%w: line %d has another number of columns than the header", ErrInput, parse.Line)
	case errors.As(err, &parse):
		return fmt.Errorf("%w: line %d: %w", ErrInput, parse.Line, parse.Err)
	}
	return err
}

// boundedReader fails when more is read than left says.
type boundedReader struct {
	r    io.Reader
	left int
}

// Read reads what is left at most.
func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("%w: a record is longer than %d bytes; is a quote missing?", ErrInput, maxRecord)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
