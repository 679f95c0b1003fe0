package table

// Partition is the rows of some units: all of theirs, and no others.
type Partition struct {
	number int
	runs   []*run
}

// Rows is the number of rows.
func (p Partition) Rows() int {
	rows := 0
	for _, r := range p.runs {
		rows += r.rows
	}
	return rows
}

// Span is consecutive rows of a partition, whose units never decrease.
type Span struct {
	run         *run
	partition   int
	from, to    int // within one frame
	first, last int // the units of the first row and the last, in the run
}

// Len is the number of rows.
func (s Span) Len() int { return s.to - s.from }

// Column answers the rows' values of the contract's i-th field, which must be
// one that tables keep.
func (s Span) Column(field int) Piece { return s.run.columns[field].piece(s.from) }

// Units writes the code of each row's unit, under Snapshot.Units. to is as long
// as the span.
func (s Span) Units(to []uint32) {
	if code, dense := s.dense(); dense {
		s.count(code, to)
		return
	}
	s.codes(to[:s.last-s.first+1])
	// From the last row to the first, each gets what stands at its unit's place,
	// which isn't behind it.
	for at, row := s.last-s.first, s.to-1; row >= s.from; {
		n := min(row%64+1, row-s.from+1)
		word := s.run.starts[row/64] << (63 - row%64)
		lanes := to[row-s.from-n+1 : row-s.from+1]
		for i := len(lanes) - 1; i >= 0; i-- {
			lanes[i] = to[at]
			at -= int(word >> 63)
			word <<= 1
		}
		row -= n
	}
}

// dense says whether the units follow each other without a gap, as they do when
// all rows of a partition are in one run. It answers the code of the first.
func (s Span) dense() (code uint32, ok bool) {
	at := s.first / frameRows
	f := &s.run.units.frames[at]
	return uint32(s.first+int(f.base))*partitions + uint32(s.partition), f.most == 0 && at == s.last/frameRows
}

// count writes the code of each row's unit when no unit is left out.
func (s Span) count(code uint32, to []uint32) {
	row := uint(s.from)
	word := s.run.starts[row/64] >> (row % 64) &^ 1
	for len(to) > 0 {
		n := min(len(to), int(64-row%64))
		for i := range to[:n] {
			code += uint32(word&1) * partitions
			to[i] = code
			word >>= 1
		}
		row += uint(n)
		if to = to[n:]; len(to) > 0 {
			word = s.run.starts[row/64]
		}
	}
}

// codes writes the codes of the units.
func (s Span) codes(to []uint32) {
	for i := range to {
		to[i] = uint32(s.first+i)*partitions + uint32(s.partition)
	}
	for k := s.first; len(to) > 0; {
		n := min(len(to), frameRows-k%frameRows)
		p := s.run.units.piece(k)
		Add(&p, nil, to[:n], uint32(p.Base)*partitions, uint32(p.Step)*partitions)
		to, k = to[n:], k+n
	}
}
