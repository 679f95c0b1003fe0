package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"

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

const (
	// batchBytes is how much content one envelope gets at most, in bytes.
	batchBytes = 4 << 20
	// maxHeader bounds the header of a CSV file, in bytes.
	maxHeader = limits.Columns * 256
	// maxName is the longest column name that the codec takes, in bytes.
	maxName = 128
)

// recordReader answers one record after another, io.EOF at the end. A value
// that doesn't fit its column's type travels as text, so that the enclave
// rejects that record and no other. What can't travel at all is an InputError,
// and so is everything that makes it doubtful where a record ends.
type recordReader interface {
	next() (columns.Record, error)
}

// newRecordReader reads records of a contract from r. Errors of the header
// come at once.
func newRecordReader(r io.Reader, format Format, c *contract.Contract) (recordReader, error) {
	buffered := bufio.NewReaderSize(r, 256<<10)
	switch head, _ := buffered.Peek(3); {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, _ = buffered.Discard(3)
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return nil, inputf("the input is UTF-16: convert it to UTF-8")
	}
	switch format {
	case CSV:
		return newCSV(buffered, c)
	case NDJSON:
		return &ndjsonReader{r: buffered, contract: c}, nil
	default:
		return nil, mistakef("unknown format %q: csv or ndjson", format)
	}
}

// batcher cuts records into batches of at most limits.BatchRows records and
// max bytes of content. The same records are always cut in the same places.
type batcher struct {
	r   recordReader
	max int
	// count is how many records were read.
	count int
	ahead columns.Record
}

// batchSize is the largest content, in bytes, of a batch whose envelope has at
// most so many bytes.
func batchSize(maxEnvelope int64) int {
	const (
		chunk = 64 << 10
		fixed = 512 + limits.EnvelopeHeader // all but content and its tags
	)
	if maxEnvelope <= 0 || maxEnvelope > limits.Envelope {
		maxEnvelope = limits.Envelope
	}
	return int(min(batchBytes, maxEnvelope-fixed-16*(maxEnvelope/chunk+1)))
}

// record reads one record and checks that a batch can hold it.
func (b *batcher) record() (columns.Record, error) {
	record, err := b.r.next()
	if err != nil {
		return nil, err
	}
	if size := columns.Size(record); size > b.max {
		return nil, inputf("record %d needs %d bytes, and a batch holds %d: leave it out or split it", b.count, size, b.max)
	}
	b.count++
	return record, nil
}

// skip passes over records and answers io.EOF when there are fewer.
func (b *batcher) skip(n int) error {
	for range n {
		if _, err := b.record(); err != nil {
			return err
		}
	}
	return nil
}

// batch answers the next batch, which is never empty, or io.EOF.
func (b *batcher) batch() ([]columns.Record, error) {
	var batch []columns.Record
	size := 0
	for len(batch) < limits.BatchRows {
		record := b.ahead
		if b.ahead = nil; record == nil {
			var err error
			if record, err = b.record(); errors.Is(err, io.EOF) && len(batch) > 0 {
				break
			} else if err != nil {
				return nil, err
			}
		}
		if size += columns.Size(record); size > b.max && len(batch) > 0 {
			b.ahead = record
			break
		}
		batch = append(batch, record)
	}
	return batch, nil
}

// checkText says why a text can't travel; empty when it can.
func checkText(valid bool, length int) string {
	switch {
	case !valid:
		return "isn't UTF-8: convert the input to UTF-8"
	case length > limits.Text:
		return "is longer than 65536 bytes"
	}
	return ""
}
