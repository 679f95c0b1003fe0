// Package table keeps the records of one dataset in memory, by column. A table
// only grows; what a Snapshot shows stays as it is, so queries and intake don't
// wait for each other. It trusts its caller for values that the contract allows
// and checks their shape alone. Columns that no query may read aren't kept.
package table

import (
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cloisterhq/cloister/internal/contract"
)

var (
	// ErrShape says that columns aren't those of the table's contract.
	ErrShape = errors.New("table: the columns aren't those of the contract")
	// ErrFull says that a column has as many different values as it can have.
	ErrFull = errors.New("table: a column is full")
)

const (
	// blockRows is the number of rows in every block but the last.
	blockRows = 16 << 10
	// maxCodes bounds the different values of a column with a dictionary.
	maxCodes = math.MaxUint32
)

// Values is one column of rows to append: Texts for a string, Ints for every
// other type, and Null for both. Where Null is true the value is zero.
type Values struct {
	Ints  []int64
	Texts []string
	Null  []bool
}

// Table is the records of one dataset. It is safe for use by several
// goroutines.
type Table struct {
	contract *contract.Contract
	newest   atomic.Pointer[Snapshot]

	// mu is held for a whole Append and guards the dictionaries.
	mu      sync.Mutex
	columns []dictionary // by field; those of strings are used
	units   unitCodes
}

// dictionary gives the different texts of a column codes, in the order of
// their coming.
type dictionary struct {
	codes map[string]uint32
	texts []string
}

// unitCodes numbers units from 0, in the order of their coming. Which unit has
// a number is of no interest to a query.
type unitCodes struct {
	texts map[string]uint32
	ints  map[int64]uint32
}

// New makes an empty table for a contract that passed Check. The contract
// mustn't change afterwards.
func New(c *contract.Contract) *Table {
	t := &Table{
		contract: c, columns: make([]dictionary, len(c.Fields)),
		units: unitCodes{texts: map[string]uint32{}, ints: map[int64]uint32{}},
	}
	for i := range t.columns {
		t.columns[i].codes = map[string]uint32{}
	}
	t.newest.Store(&Snapshot{contract: c, texts: make([][]string, len(c.Fields)), tail: empty(len(c.Fields))})
	return t
}

// Contract is the contract of the table.
func (t *Table) Contract() *contract.Contract { return t.contract }

// Snapshot answers the newest view. It never waits.
func (t *Table) Snapshot() *Snapshot { return t.newest.Load() }

// kept says whether a query may read a column's values.
func kept(f *contract.Field) bool {
	return f.Role == contract.Dimension || f.Role == contract.Measure
}

// Append adds rows, of which columns holds one element for each field of the
// contract, and counts the snapshot's number up. On an error, ErrShape or
// ErrFull, the table is as it was.
func (t *Table) Append(rows int, columns []Values) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.check(rows, columns); err != nil {
		return err
	}
	old := t.newest.Load()
	next := &Snapshot{
		contract: t.contract, number: old.number + 1, rows: old.rows + rows,
		full: old.full, tail: old.tail, texts: make([][]string, len(columns)),
	}
	for from := 0; from < rows; {
		n := min(rows-from, blockRows-next.tail.rows)
		next.tail = t.extend(next.tail, columns, from, from+n)
		if from += n; next.tail.rows == blockRows {
			next.full = append(next.full, next.tail)
			next.tail = empty(len(columns))
		}
	}
	for i := range t.columns {
		next.texts[i] = t.columns[i].texts
	}
	next.units = len(t.units.texts) + len(t.units.ints)
	t.newest.Store(next)
	return nil
}

// check finds everything that could go wrong before anything changes.
func (t *Table) check(rows int, columns []Values) error {
	if rows < 0 || len(columns) != len(t.contract.Fields) {
		return ErrShape
	}
	for i := range t.contract.Fields {
		f, v := &t.contract.Fields[i], columns[i]
		ints, texts := rows, 0
		if f.Type == contract.String {
			ints, texts = 0, rows
		}
		if len(v.Null) != rows || len(v.Ints) != ints || len(v.Texts) != texts {
			return ErrShape
		}
		if !nullable(f) {
			for _, null := range v.Null {
				if null {
					return ErrShape
				}
			}
		}
		if uint64(len(t.columns[i].texts))+uint64(rows) > maxCodes {
			return ErrFull
		}
	}
	if uint64(len(t.units.texts))+uint64(len(t.units.ints))+uint64(rows) > maxCodes {
		return ErrFull
	}
	return nil
}

func nullable(f *contract.Field) bool { return !f.Required && f.Role != contract.Unit }

// extend answers a block with more rows at its end. It writes behind what b
// and earlier blocks show, and only the newest block is ever extended.
func (t *Table) extend(b *Block, columns []Values, from, to int) *Block {
	next := &Block{rows: b.rows + to - from, columns: make([]Vector, len(columns)), units: b.units}
	for i := range t.contract.Fields {
		f, v, column := &t.contract.Fields[i], columns[i], b.columns[i]
		switch {
		case f.Role == contract.Unit:
			next.units = t.units.extend(next.units, v, from, to)
			continue
		case !kept(f):
			continue
		case f.Type == contract.String:
			column.Codes = t.columns[i].extend(column.Codes, v, from, to)
		default:
			column.Ints = append(column.Ints, v.Ints[from:to]...)
		}
		if nullable(f) {
			column.Null = append(column.Null, v.Null[from:to]...)
		}
		next.columns[i] = column
	}
	return next
}

// extend appends the codes of texts; NULL has code 0, which means nothing.
func (d *dictionary) extend(codes []uint32, v Values, from, to int) []uint32 {
	for row := from; row < to; row++ {
		if v.Null[row] {
			codes = append(codes, 0)
			continue
		}
		code, ok := d.codes[v.Texts[row]]
		if !ok {
			text := strings.Clone(v.Texts[row]) // it outlives the batch
			code = uint32(len(d.texts))
			d.codes[text] = code
			d.texts = append(d.texts, text)
		}
		codes = append(codes, code)
	}
	return codes
}

func (u *unitCodes) extend(codes []uint32, v Values, from, to int) []uint32 {
	for row := from; row < to; row++ {
		if v.Texts != nil {
			codes = append(codes, number(u.texts, v.Texts[row], strings.Clone))
		} else {
			codes = append(codes, number(u.ints, v.Ints[row], func(i int64) int64 { return i }))
		}
	}
	return codes
}

// number answers the code of a key; a new one is kept as a copy.
func number[K comparable](codes map[K]uint32, key K, clone func(K) K) uint32 {
	code, ok := codes[key]
	if !ok {
		code = uint32(len(codes))
		codes[clone(key)] = code
	}
	return code
}
