package record

import (
	"fmt"

	"github.com/cloisterhq/cloister/internal/contract"
)

// Passage carries batches that were judged by an older version of a contract
// over to a newer one, without judging anybody's records again: a contract
// that might not allow all of them is refused before any record is looked at.
type Passage struct {
	from, to *contract.Contract
	source   []int // for each of to's fields that of from, -1 for none
}

// NewPassage makes the passage from one contract to another, which both passed
// Check and mustn't change afterwards. An error wraps contract.ErrContract and
// names the column that stands in the way.
func NewPassage(from, to *contract.Contract) (*Passage, error) {
	if err := to.Succeeds(from); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	p := &Passage{from: from, to: to, source: make([]int, len(to.Fields))}
	for i := range to.Fields {
		p.source[i] = to.Predecessor(from, i)
	}
	return p, nil
}

// Carry answers a batch of the older contract as one of the newer: columns that
// are new are NULL, those that are gone are left out. It answers ErrContract
// for a batch that another contract judged.
func (p *Passage) Carry(b *Batch) (*Batch, error) {
	if b.contract != p.from {
		return nil, ErrContract
	}
	next := &Batch{contract: p.to, rows: b.rows, columns: make([]Column, len(p.to.Fields))}
	var absent absence
	for i, at := range p.source {
		if at >= 0 {
			next.columns[i] = b.columns[at]
		} else {
			next.columns[i] = absent.column(b.rows, p.to.Fields[i].Type == contract.String)
		}
	}
	return next, nil
}
