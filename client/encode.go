package client

import (
	"errors"
	"slices"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
)

// packFrom is the number of records from which on they are packed by column.
const packFrom = 64

// encode writes the records of a batch in the codec that suits them. It never
// takes more bytes than codec 1, by which batches are cut.
func encode(records []columns.Record, c *contract.Contract) (codec uint8, content []byte, err error) {
	if len(records) >= packFrom {
		content, err := columns.EncodePacked(withoutNulls(records, c))
		switch {
		case errors.Is(err, columns.ErrUnpackable):
		case err != nil:
			return 0, nil, err
		case len(content) <= size(records):
			return columns.CodecPacked, content, nil
		}
	}
	content, err = columns.Encode(records)
	return columns.Codec, content, err
}

// size is how many bytes records take in codec 1.
func size(records []columns.Record) (n int) {
	for _, r := range records {
		n += columns.Size(r)
	}
	return n
}

// withoutNulls leaves null out of columns that the contract has: there it is
// the same as no value, and would be a column of its own. A null that the
// contract knows nothing of stays, so that the enclave tells of it.
func withoutNulls(records []columns.Record, c *contract.Contract) []columns.Record {
	known := make(map[string]bool, len(c.Fields))
	for i := range c.Fields {
		known[c.Fields[i].Name] = true
	}
	idle := func(cell columns.Cell) bool { return cell.Kind == columns.KindNull && known[cell.Name] }
	out := slices.Clone(records)
	for i, r := range out {
		if slices.ContainsFunc(r, idle) {
			out[i] = slices.DeleteFunc(slices.Clone(r), idle)
		}
	}
	return out
}
