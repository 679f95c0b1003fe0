package client

import (
	"errors"
	"io"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
)

// Batches cuts an input as Submit does, for envelopes of at most so many bytes.
func Batches(r io.Reader, format Format, c *contract.Contract, maxEnvelope int64) ([][]columns.Record, error) {
	records, err := newRecordReader(r, format, c)
	if err != nil {
		return nil, err
	}
	b := &batcher{r: records, max: batchSize(maxEnvelope)}
	var all [][]columns.Record
	for {
		batch, err := b.batch()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, batch)
	}
}

// BatchSize is the content that fits into an envelope.
func BatchSize(maxEnvelope int64) int { return batchSize(maxEnvelope) }

// SpoolError is what users see of an error of the spool.
func SpoolError(dir string, err error) error { return spoolError(dir, err) }

// Encode writes a batch as it is sealed.
func Encode(records []columns.Record, c *contract.Contract) (codec uint8, content []byte, err error) {
	return encode(records, c)
}
