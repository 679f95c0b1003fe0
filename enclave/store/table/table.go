// Package table keeps the records of one dataset in memory, by column. A table
// only grows; what a Snapshot shows stays as it is, so queries and intake don't
// wait for each other. It trusts its caller for values that the contract allows
// and checks their shape alone. Columns that no query may read aren't kept.
//
// Rows lie in runs, sorted by their unit, and every value in as few bits as its
// neighbours allow. A batch becomes small runs, which are merged in the
// background: rows are written again for the logarithm of their number, and a
// unit's rows lie together.
package table

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/cloisterhq/cloister/internal/contract"
)

var (
	// ErrShape says that columns aren't those of the table's contract.
	ErrShape = errors.New("table: the columns aren't those of the contract")
	// ErrFull says that a column has as many different values as it can have.
	ErrFull = errors.New("table: a column is full")
	// ErrMemory says that the table may not hold so much.
	ErrMemory = errors.New("table: out of the memory that tables may hold")
)

// maxCodes bounds the different values of a column with a dictionary: three
// quarters of the slots that 32 bits can number.
const maxCodes = 3 << 30

// Values is one column of rows to append: Texts for a string, Ints for every
// other type, and Null for both. Where Codes isn't nil, Texts are different ones
// and Codes has each row's place among them. Where Null is true the value is
// zero; Null is nil when no value is NULL.
type Values struct {
	Ints  []int64
	Texts []string
	Codes []uint16
	Null  []bool
}

// keeping is how a column is kept.
type keeping uint8

const (
	notKept keeping = iota
	keptUnits
	keptCodes
	keptInts
)

// Table is the records of one dataset. It is safe for use by several
// goroutines.
type Table struct {
	contract *contract.Contract
	kept     []keeping // by field
	unit     int
	memory   *Memory
	newest   atomic.Pointer[Snapshot]
	readers  *readers

	// appending is held for a whole Append and guards the dictionaries.
	appending sync.Mutex
	units     *lexicon
	texts     []*lexicon // by field, nil for what isn't text
	batches   sync.Pool  // of *batch

	// mu is held for an instant and guards what follows.
	mu      sync.Mutex
	held    int64
	merging chan struct{} // closed when the merges that are due are done; nil when none is
}

// New makes an empty table for a contract that passed Check. The contract
// mustn't change afterwards.
func New(c *contract.Contract, m *Memory) *Table {
	t := &Table{
		contract: c, kept: make([]keeping, len(c.Fields)), unit: c.UnitIndex(), memory: m, readers: &readers{},
		texts: make([]*lexicon, len(c.Fields)),
	}
	for i := range c.Fields {
		if t.kept[i] = keep(&c.Fields[i]); t.kept[i] == keptCodes {
			t.texts[i] = newLexicon(true)
		}
	}
	t.units = newLexicon(c.Fields[t.unit].Type == contract.String)
	t.newest.Store(&Snapshot{contract: c, readers: t.readers, units: t.units.texts, texts: make([]Texts, len(c.Fields))})
	return t
}

// keep says how a column is kept: only when a query may read its values.
func keep(f *contract.Field) keeping {
	switch {
	case f.Role == contract.Unit:
		return keptUnits
	case f.Role != contract.Dimension && f.Role != contract.Measure:
		return notKept
	case f.Type == contract.String:
		return keptCodes
	}
	return keptInts
}

// Contract is the contract of the table.
func (t *Table) Contract() *contract.Contract { return t.contract }

// Snapshot answers the newest view. It never waits.
func (t *Table) Snapshot() *Snapshot { return t.newest.Load() }

// Held is the number of bytes that the table holds.
func (t *Table) Held() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held
}

// Append adds rows, of which columns holds one element for each field of the
// contract, and counts the snapshot's number up. On an error, ErrShape, ErrFull
// or ErrMemory, the table is as it was.
func (t *Table) Append(rows int, columns []Values) error {
	t.appending.Lock()
	defer t.appending.Unlock()
	if err := t.check(rows, columns); err != nil {
		return err
	}
	need := t.need(rows, columns)
	if !t.memory.take(need) {
		return ErrMemory
	}
	before := t.dictionaries()
	runs := t.build(rows, columns)
	held := t.dictionaries() - before
	for _, r := range runs {
		if r != nil {
			held += r.held()
		}
	}
	t.memory.give(need - held)
	t.show(rows, runs, held)
	return nil
}

// Room answers the error that Append would answer now.
func (t *Table) Room(rows int, columns []Values) error {
	t.appending.Lock()
	defer t.appending.Unlock()
	if err := t.check(rows, columns); err != nil {
		return err
	}
	need := t.need(rows, columns)
	if !t.memory.take(need) {
		return ErrMemory
	}
	t.memory.give(need)
	return nil
}

// dictionaries is the number of bytes that dictionaries hold.
func (t *Table) dictionaries() int64 {
	all := t.units.held()
	for _, l := range t.texts {
		if l != nil {
			all += l.held()
		}
	}
	return all
}

// show publishes the runs of a batch.
func (t *Table) show(rows int, runs [partitions]*run, held int64) {
	texts := make([]Texts, len(t.texts))
	for i, l := range t.texts {
		if l != nil {
			texts[i] = l.texts
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.newest.Load()
	t.newest.Store(old.with(old.number+1, old.rows+rows, t.units.texts, texts, runs))
	t.held += held
	t.merge()
}
