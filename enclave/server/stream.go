package server

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/cloisterhq/cloister/internal/answer"
)

const (
	// chunkBytes is about how large a record batch of an answer is at most, in
	// bytes: some clients take no message over 4 MiB. A single row may be
	// larger.
	chunkBytes = 3 << 20
	// chunkRows is how many rows a record batch has at most.
	chunkRows = 64 << 10
	// cellBytes is what a cell takes beside its text, in bytes, or more.
	cellBytes = 17
)

// cut answers a record in batches of at most chunkRows rows and about
// chunkBytes. rows are the same rows.
func cut(record arrow.RecordBatch, rows [][]answer.Cell) <-chan flight.StreamChunk {
	ends := ends(rows)
	chunks := make(chan flight.StreamChunk, len(ends))
	from := int64(0)
	for _, to := range ends {
		chunks <- flight.StreamChunk{Data: record.NewSlice(from, to)}
		from = to
	}
	close(chunks)
	return chunks
}

// ends answers where each batch ends. There is one at least, so that a schema
// without rows is sent as such.
func ends(rows [][]answer.Cell) []int64 {
	var all []int64
	size, from := 0, 0
	for i, row := range rows {
		width := rowBytes(row)
		if i > from && (size+width > chunkBytes || i-from == chunkRows) {
			all, size, from = append(all, int64(i)), 0, i
		}
		size += width
	}
	return append(all, int64(len(rows)))
}

func rowBytes(row []answer.Cell) int {
	size := cellBytes * len(row)
	for _, cell := range row {
		size += len(cell.Text)
	}
	return size
}

// listing answers a catalogue table of one batch that fill builds.
func listing(schema *arrow.Schema, fill func(*array.RecordBuilder)) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	fill(builder)
	chunks := make(chan flight.StreamChunk, 1)
	chunks <- flight.StreamChunk{Data: builder.NewRecordBatch()}
	close(chunks)
	return schema, chunks, nil
}
