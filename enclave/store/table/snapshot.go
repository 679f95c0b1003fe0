package table

import (
	"slices"

	"github.com/cloisterhq/cloister/internal/contract"
)

// Snapshot is a table as it was after one batch. Nothing changes it.
type Snapshot struct {
	contract *contract.Contract
	readers  *readers
	number   uint64
	rows     int
	units    Texts
	texts    []Texts // by field
	runs     [partitions][]*run
}

// Contract is the contract of the table.
func (s *Snapshot) Contract() *contract.Contract { return s.contract }

// Number is how many batches the dataset had accepted.
func (s *Snapshot) Number() uint64 { return s.number }

// Rows is the number of rows.
func (s *Snapshot) Rows() int { return s.rows }

// Units is the number of different units. Their codes count from 0, in the
// order of their coming.
func (s *Snapshot) Units() int { return s.units.Len() }

// Unit answers what a producer calls the unit of a code: its text, or its
// integer in eight bytes. It mustn't be changed.
func (s *Snapshot) Unit(code uint32) []byte { return s.units.At(int(code)) }

// Texts answers the different texts of a string column.
func (s *Snapshot) Texts(field int) Texts { return s.texts[field] }

// Range bounds the values of a column that isn't text, the codes of one that
// is.
func (s *Snapshot) Range(field int) Range {
	var all Range
	for _, p := range s.runs {
		for _, r := range p {
			all = all.join(r.columns[field].span)
		}
	}
	return all
}

// Partitions answers the rows, dealt by units.
func (s *Snapshot) Partitions() []Partition {
	all := make([]Partition, 0, partitions)
	for i, runs := range s.runs {
		if len(runs) > 0 {
			all = append(all, Partition{number: i, runs: runs})
		}
	}
	return all
}

// with answers a snapshot that shows more runs in their partitions.
func (s *Snapshot) with(number uint64, rows int, units Texts, texts []Texts, runs [partitions]*run) *Snapshot {
	next := *s
	next.number, next.rows, next.units, next.texts = number, rows, units, texts
	for i, r := range runs {
		if r != nil {
			next.runs[i] = append(slices.Clip(s.runs[i]), r)
		}
	}
	return &next
}

// merged answers a snapshot that shows one run in the place of others.
func (s *Snapshot) merged(partition int, old []*run, merged *run) *Snapshot {
	next := *s
	rest := slices.DeleteFunc(slices.Clone(s.runs[partition]), func(r *run) bool { return slices.Contains(old, r) })
	next.runs[partition] = append(rest, merged)
	return &next
}
