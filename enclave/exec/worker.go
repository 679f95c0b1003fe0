package exec

import (
	"context"
	"sync/atomic"

	"github.com/cloisterhq/cloister/enclave/store/table"
)

// worker is what one goroutine needs to work on windows of rows.
type worker struct {
	run    *run
	totals *totals
	people *people // nil without bounds

	parts     []part
	ranges    []offsetRange
	selected  int      // how many rows all parts have
	selection []uint16 // the rows of filtered parts
	identity  []uint16 // each row's own number
	nulls     []uint16
	offsets   []uint64

	// Of each selected row, part by part.
	units  []uint32
	groups []uint32
	values []int64
	valid  []bool
	words  [][]uint64 // for keys whose groups have no places
	tuple  []uint64

	all   []uint32 // the units of a part before the filters
	order *order
}

func (r *run) newWorker(ended func() error) (*worker, error) {
	words := 0
	if r.keys.places == 0 {
		words = r.keys.words
	}
	const lists = 3*2 + 7*4 + 2*8 + 2 // bytes a row, but for the words
	if err := r.memory.take(stride*int64(lists+8*words) + table.SorterBytes(stride)); err != nil {
		return nil, err
	}
	w := &worker{
		run: r, selection: make([]uint16, stride), identity: make([]uint16, stride), nulls: make([]uint16, stride), offsets: make([]uint64, stride),
		units: make([]uint32, stride), groups: make([]uint32, stride), values: make([]int64, stride), valid: make([]bool, stride),
		words: make([][]uint64, words), tuple: make([]uint64, words),
		all: make([]uint32, stride), order: newOrder(),
	}
	for i := range w.identity {
		w.identity[i] = uint16(i)
	}
	for i := range w.words {
		w.words[i] = make([]uint64, stride)
	}
	var err error
	if w.totals, err = r.newTotals(ended); err != nil {
		return nil, err
	}
	if r.bounds != nil || r.gathered != nil {
		w.people, err = r.newPeople(w.totals, ended)
	}
	return w, err
}

// scan counts the rows of a partition, unless another worker failed.
func (w *worker) scan(ctx context.Context, failed *atomic.Bool, p table.Partition) error {
	cursor := p.Cursor(stride)
	for spans := cursor.Next(); spans != nil && !failed.Load(); spans = cursor.Next() {
		if err := ended(ctx); err != nil {
			return err
		}
		if err := w.take(spans); err != nil {
			return err
		}
	}
	if w.people != nil {
		return w.people.close()
	}
	return nil
}

// take counts the rows of a window.
func (w *worker) take(spans []table.Span) error {
	n := w.sift(spans)
	if n == 0 {
		return nil
	}
	w.readUnits()
	if err := w.readGroups(n); err != nil {
		return err
	}
	w.order.sort(w.parts, w.units[:n], w.groups[:n])
	if w.people != nil {
		return w.people.take(w, n)
	}
	w.order.count(w.totals.tallies)
	for i := range w.totals.columns {
		c := &w.totals.columns[i]
		if c.sum {
			w.readValues(c.column)
			c.add(w.groups[:n], w.values[:n])
		}
		if c.null {
			w.readValid(c.column)
			w.order.countValid(c.tallies, w.valid)
		}
	}
	for i := range w.totals.sketches {
		s := &w.totals.sketches[i]
		s.add(w.groups[:n], w.values[:n], w.readSketched(s))
	}
	return nil
}

// sift filters a window and answers how many rows are left.
func (w *worker) sift(spans []table.Span) int {
	w.parts, w.selected = w.parts[:0], 0
	for _, s := range spans {
		p := part{span: s, n: s.Len()}
		for _, f := range w.run.filters {
			if w.filter(f, &p); p.n == 0 {
				break
			}
		}
		if p.n > 0 {
			w.parts = append(w.parts, p)
			w.selected += p.n
		}
	}
	return w.selected
}

// each calls do for each part with the places of its rows.
func (w *worker) each(do func(p *part, from, to int)) {
	at := 0
	for i := range w.parts {
		p := &w.parts[i]
		do(p, at, at+p.n)
		at += p.n
	}
}

// readUnits reads the units of the selected rows.
func (w *worker) readUnits() {
	w.each(func(p *part, from, to int) {
		if p.rows == nil {
			p.span.Units(w.units[from:to])
			return
		}
		all, units := w.all[:p.span.Len()], w.units[from:to]
		p.span.Units(all)
		for i, row := range p.rows {
			units[i] = all[row]
		}
	})
}

// readGroups finds the groups of the selected rows.
func (w *worker) readGroups(n int) error {
	keys := w.run.keys
	if keys.places > 0 {
		clear(w.groups[:n])
		for i := range keys.digits {
			w.each(func(p *part, from, to int) {
				numberKey(&keys.digits[i], p, w.groups[from:to], w.values[from:to], w.nulls)
			})
		}
		return nil
	}
	for _, words := range w.words {
		clear(words[:n])
	}
	for i := range keys.digits {
		d := &keys.digits[i]
		w.each(func(p *part, from, to int) { numberKey(d, p, w.words[d.word][from:to], w.values[from:to], w.nulls) })
	}
	return w.totals.number(w.words, w.tuple, w.groups[:n])
}

// readValues reads the values of a column, zero for NULL.
func (w *worker) readValues(c column) {
	clear(w.values[:w.selected])
	w.each(func(p *part, from, to int) {
		piece, values := p.span.Column(c.field), w.values[from:to]
		table.Add(&piece, p.rows, values, piece.Base, int64(piece.Step))
		for _, i := range piece.Nulls(p.rows, p.n, w.nulls) {
			values[i] = 0
		}
	})
}

// readSketched reads the values of a distribution's column, and answers which of
// them there are; nil for all.
func (w *worker) readSketched(s *sketchTotals) []bool {
	c := w.run.columns[s.column]
	w.readValues(c)
	if !c.null {
		return nil
	}
	w.readValid(c)
	return w.valid
}

// readValid reads which rows of a column aren't NULL.
func (w *worker) readValid(c column) {
	w.each(func(p *part, from, to int) {
		piece, valid := p.span.Column(c.field), w.valid[from:to]
		for i := range valid {
			valid[i] = true
		}
		for _, i := range piece.Nulls(p.rows, p.n, w.nulls) {
			valid[i] = false
		}
	})
}
