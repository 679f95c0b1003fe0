package table

import (
	"math"
	"sort"
)

// Cursor goes through a partition in windows: lists of spans of at most so many
// rows together. From one window to the next units never decrease; within one
// they are in order in each span alone.
type Cursor struct {
	number int
	most   int
	runs   []place // those that have rows left
	total  int     // the rows left
	spans  []Span
}

// place is the first row of a run that wasn't in a window.
type place struct {
	run  *run
	row  int
	k    int // the row's unit is the run's k-th
	unit int
}

// Cursor begins before the first window; most is at least 1.
func (p Partition) Cursor(most int) *Cursor {
	c := &Cursor{number: p.number, most: most, total: p.Rows()}
	for _, r := range p.runs {
		c.runs = append(c.runs, place{run: r, unit: r.unit(0)})
	}
	return c
}

// Next answers the next window, nil after the last one. It is good until the
// next call.
func (c *Cursor) Next() []Span {
	c.spans = c.spans[:0]
	switch len(c.runs) {
	case 0:
		return nil
	case 1:
		p := &c.runs[0]
		c.take(p, min(p.row+c.most, (p.row/frameRows+1)*frameRows, p.run.rows))
	default:
		c.takeUnits()
	}
	c.dropEmpty()
	return c.spans
}

// takeUnits adds the next units of several runs to the window.
func (c *Cursor) takeUnits() {
	first, bound := math.MaxInt, math.MaxInt
	for i := range c.runs {
		p := &c.runs[i]
		first = min(first, p.unit)
		if row := p.row + c.share(p); row < p.run.rows {
			bound = min(bound, p.run.unit(p.k+p.run.starting(p.row, row)))
		}
	}
	if bound > first {
		for i := range c.runs {
			c.take(&c.runs[i], c.runs[i].before(bound, c.most))
		}
		return
	}
	// Some run has more rows of the first unit than its share of a window.
	for i := range c.runs {
		if p := &c.runs[i]; p.unit == first {
			c.take(p, p.before(first+1, c.most))
			return
		}
	}
}

// share is how many rows of a run a window may have: three quarters of a window
// are dealt by rows and one by heads, so that neither small nor large runs hold
// the others up.
func (c *Cursor) share(p *place) int {
	return c.most*3/4*(p.run.rows-p.row)/c.total + c.most/4/len(c.runs)
}

// before answers the first row that doesn't belong to a unit under the bound,
// at most a window's rows on.
func (p *place) before(bound, most int) int {
	to := min(p.row+most, p.run.rows)
	last := p.k + p.run.starting(p.row, to-1)
	n := sort.Search(last-p.k+1, func(i int) bool { return p.run.unit(p.k+i) >= bound })
	if n > last-p.k {
		return to
	}
	return p.run.first(p.row, n)
}

// take adds the rows of a run up to one to the window, span by span.
func (c *Cursor) take(p *place, to int) {
	c.total -= to - p.row
	for p.row < to {
		end := min(to, (p.row/frameRows+1)*frameRows)
		last := p.k + p.run.starting(p.row, end-1)
		c.spans = append(c.spans, Span{run: p.run, partition: c.number, from: p.row, to: end, first: p.k, last: last})
		if p.row, p.k = end, last; end < p.run.rows {
			p.k += p.run.starting(end-1, end)
			p.unit = p.run.unit(p.k)
		}
	}
}

// dropEmpty forgets the runs that have no rows left.
func (c *Cursor) dropEmpty() {
	left := c.runs[:0]
	for _, p := range c.runs {
		if p.row < p.run.rows {
			left = append(left, p)
		}
	}
	c.runs = left
}
