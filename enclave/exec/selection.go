package exec

import (
	"slices"

	"github.com/cloisterhq/cloister/enclave/store/table"
)

// part is the rows of a span that passed the filters so far.
type part struct {
	span table.Span
	rows []uint16 // from the span's first, ascending; nil when all passed
	n    int
}

// offsetRange is the offsets of a piece from low to high.
type offsetRange struct{ low, high uint64 }

// ranges answers the offsets of a piece that pass a filter, for a filter
// without a table of codes.
func (f *filter) ranges(p *table.Piece, to []offsetRange) []offsetRange {
	for _, i := range f.values {
		if i.high < p.Base {
			continue
		}
		r := offsetRange{high: min(p.Most, (uint64(i.high)-uint64(p.Base))/p.Step)}
		if i.low > p.Base {
			r.low = (uint64(i.low)-uint64(p.Base)-1)/p.Step + 1
		}
		if r.low > p.Most {
			break
		}
		if r.low <= r.high {
			to = append(to, r)
		}
	}
	return to
}

// filter takes the rows that don't pass out of a part.
func (w *worker) filter(f *filter, p *part) {
	piece := p.span.Column(f.field)
	nulls := piece.Nullable()
	if f.pass == nil {
		w.ranges = f.ranges(&piece, w.ranges[:0])
		if len(w.ranges) == 0 && (!nulls || !f.null) {
			p.n = 0
			return
		}
		if len(w.ranges) == 1 && w.ranges[0] == (offsetRange{0, piece.Most}) && (!nulls || f.null) {
			return
		}
	}
	room := w.selection[w.selected:]
	p.rows = w.keep(f, p, &piece, room)
	if nulls && !f.null { // the offset of a NULL is 0, which may pass
		p.rows = piece.DropNulls(p.rows)
	}
	p.n = len(p.rows)
}

// keep answers the rows of a part that pass, in memory for them.
func (w *worker) keep(f *filter, p *part, piece *table.Piece, room []uint16) []uint16 {
	nulls := f.null && piece.Nullable()
	if p.rows == nil && !nulls && f.pass == nil && len(w.ranges) == 1 {
		if rows, ok := piece.Within(w.ranges[0].low, w.ranges[0].high, p.n, room); ok {
			return rows
		}
	}
	offsets := w.offsets[:p.n]
	clear(offsets)
	table.Add(piece, p.rows, offsets, 0, 1)
	rows, n := p.rows, 0
	if rows == nil {
		rows = w.identity[:p.n]
	}
	switch {
	case nulls:
		n = f.keepNullable(piece, rows, offsets, w.ranges, room)
	case f.pass != nil:
		n = keepCodes(f.pass[piece.Base:], rows, offsets, room)
	case len(w.ranges) == 1:
		n = keepRange(w.ranges[0], rows, offsets, room)
	default:
		n = keepRanges(w.ranges, rows, offsets, room)
	}
	return room[:n]
}

// row answers the place of the i-th row in the span.
func (p *part) row(i int) int {
	if p.rows == nil {
		return i
	}
	return int(p.rows[i])
}

// keepRange writes the rows whose offset is in a range. It writes every row and
// keeps the place of one that passes, which costs less than a branch that
// nobody can predict.
func keepRange(r offsetRange, rows []uint16, offsets []uint64, to []uint16) int {
	n, width := 0, r.high-r.low
	offsets = offsets[:len(rows)]
	for i, row := range rows {
		to[n] = row
		kept := 0
		if offsets[i]-r.low <= width {
			kept = 1
		}
		n += kept
	}
	return n
}

func keepCodes(pass []bool, rows []uint16, offsets []uint64, to []uint16) int {
	n := 0
	offsets = offsets[:len(rows)]
	for i, row := range rows {
		to[n] = row
		kept := 0
		if pass[offsets[i]] {
			kept = 1
		}
		n += kept
	}
	return n
}

func keepRanges(ranges []offsetRange, rows []uint16, offsets []uint64, to []uint16) int {
	n := 0
	for i, row := range rows {
		if within(ranges, offsets[i]) {
			to[n] = row
			n++
		}
	}
	return n
}

// keepNullable writes the rows that pass, of a column whose NULLs pass.
func (f *filter) keepNullable(p *table.Piece, rows []uint16, offsets []uint64, ranges []offsetRange, to []uint16) int {
	n := 0
	for i, row := range rows {
		pass := true
		switch {
		case p.Null(int(row)):
		case f.pass != nil:
			pass = f.pass[p.Base+int64(offsets[i])]
		default:
			pass = within(ranges, offsets[i])
		}
		if pass {
			to[n] = row
			n++
		}
	}
	return n
}

func within(ranges []offsetRange, offset uint64) bool {
	if len(ranges) <= 4 {
		for _, r := range ranges {
			if offset >= r.low && offset <= r.high {
				return true
			}
		}
		return false
	}
	_, found := slices.BinarySearchFunc(ranges, offset, func(r offsetRange, offset uint64) int {
		switch {
		case r.high < offset:
			return -1
		case r.low > offset:
			return 1
		}
		return 0
	})
	return found
}
