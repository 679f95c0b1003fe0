// Package parquetform writes a signed answer as an Apache Parquet file: flat
// columns, plain values, no compression, everything else of the answer as
// key-value metadata. It is a small writer of its own because Arrow's drags
// in three codecs and all of Arrow's compute kernels, and doubles a program
// for this one form. It trusts nothing and reads nothing.
package parquetform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
)

// magic begins and ends a file (Parquet file format, "File format").
const magic = "PAR1"

// groupRows is the largest number of rows of a row group.
const groupRows = 64 << 10

// ErrForm says that an answer has no Parquet form: a column name stands twice,
// which readers can't tell apart.
var ErrForm = errors.New("parquetform: two columns of one name; give one of them another with AS")

// Write writes an answer and its signature to w. The key-value metadata is the
// metadata of the answer's Arrow form, which docs/spec/answer.md describes. The
// errors are those of [arrowform.Record], ErrForm and those of w.
func Write(w io.Writer, a *answer.Answer, signature []byte) error {
	names := map[string]bool{}
	for _, c := range a.Columns {
		if names[c.Name] {
			return ErrForm
		}
		names[c.Name] = true
	}
	record, err := arrowform.Record(a, signature)
	if err != nil {
		return err
	}
	defer record.Release()
	f := &file{w: w}
	f.write([]byte(magic))
	var groups []rowGroup
	for from := int64(0); from < record.NumRows(); from += groupRows {
		groups = append(groups, f.rowGroup(record, from, min(from+groupRows, record.NumRows())))
	}
	footer := metadata(record.Schema(), record.NumRows(), groups)
	f.write(footer)
	f.write(binary.LittleEndian.AppendUint32(nil, uint32(len(footer)))) //nolint:gosec // far below
	f.write([]byte(magic))
	return f.err
}

// file is what is being written; the first error stays.
type file struct {
	w   io.Writer
	at  int64
	err error
}

func (f *file) write(b []byte) {
	if f.err != nil {
		return
	}
	n, err := f.w.Write(b)
	f.at += int64(n)
	if err != nil {
		f.err = fmt.Errorf("parquetform: %w", err)
	}
}

// rowGroup is where a row group's columns stand.
type rowGroup struct {
	rows   int64
	chunks []chunk
}

// chunk is one column of a row group: its place and its size, in bytes.
type chunk struct{ at, size int64 }

// rowGroup writes some rows, one page for each column.
func (f *file) rowGroup(record arrow.RecordBatch, from, to int64) rowGroup {
	part := record.NewSlice(from, to)
	defer part.Release()
	g := rowGroup{rows: to - from}
	for _, column := range part.Columns() {
		values := page(column)
		header := pageHeader(len(values), column.Len())
		g.chunks = append(g.chunks, chunk{f.at, int64(len(header) + len(values))})
		f.write(header)
		f.write(values)
	}
	return g
}
