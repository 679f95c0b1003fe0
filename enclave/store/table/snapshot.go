package table

import (
	"iter"

	"github.com/cloisterhq/cloister/internal/contract"
)

// Vector is one column of a block, one element a row. A string column has
// Codes, which index Snapshot.Texts; every other has Ints in the stored unit of
// its type. Null is nil where the contract allows no NULL; the value of a NULL
// means nothing. Vectors are shared and mustn't be changed.
type Vector struct {
	Codes []uint32
	Ints  []int64
	Null  []bool
}

// Block is some consecutive rows.
type Block struct {
	rows    int
	units   []uint32
	columns []Vector
}

func empty(columns int) *Block { return &Block{columns: make([]Vector, columns)} }

// Len is the number of rows.
func (b *Block) Len() int { return b.rows }

// Units answers the code of each row's unit, under Snapshot.Units. It mustn't
// be changed.
func (b *Block) Units() []uint32 { return b.units }

// Column answers the values of the contract's i-th field. It is empty for the
// unit and for columns that no query may read.
func (b *Block) Column(i int) Vector { return b.columns[i] }

// Snapshot is a table as it was after one batch. Nothing changes it.
type Snapshot struct {
	contract *contract.Contract
	number   uint64
	rows     int
	units    int
	full     []*Block
	tail     *Block
	texts    [][]string // by field
}

// Contract is the contract of the table.
func (s *Snapshot) Contract() *contract.Contract { return s.contract }

// Number is how many batches the dataset had accepted.
func (s *Snapshot) Number() uint64 { return s.number }

// Rows is the number of rows.
func (s *Snapshot) Rows() int { return s.rows }

// Units is the number of different units. Their codes count from 0.
func (s *Snapshot) Units() int { return s.units }

// Texts answers the different texts of a string column, by code. It mustn't be
// changed.
func (s *Snapshot) Texts(field int) []string { return s.texts[field] }

// Blocks answers all rows in the order of acceptance, in blocks of at most
// 16,384.
func (s *Snapshot) Blocks() iter.Seq[*Block] {
	return func(yield func(*Block) bool) {
		for _, b := range s.full {
			if !yield(b) {
				return
			}
		}
		if s.tail.rows > 0 {
			yield(s.tail)
		}
	}
}
