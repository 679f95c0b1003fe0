package table

import "math/bits"

// Nullable says whether there may be a NULL.
func (p *Piece) Nullable() bool { return p.null != nil }

// Null says whether the i-th row of a column that is Nullable is NULL.
func (p *Piece) Null(i int) bool { return p.bitOf(i) == 1 }

// bitOf is 1 for a row that is NULL, of a column that is Nullable.
func (p *Piece) bitOf(i int) uint64 {
	row := uint(p.row + i)
	return p.null[row/64] >> (row % 64) & 1
}

// Nulls answers which rows are NULL: of the first n rows, or the places among n
// rows that are counted from the first, unless rows is nil. They ascend, and
// stand in room, which has room for n.
func (p *Piece) Nulls(rows []uint16, n int, room []uint16) []uint16 {
	if p.null == nil {
		return room[:0]
	}
	if rows != nil {
		return p.nullsOf(rows[:n], room)
	}
	list := room[:0]
	for i := 0; i < n; {
		row := uint(p.row + i)
		many := min(n-i, int(64-row%64))
		for word := p.null[row/64] >> (row % 64) << (64 - many); word != 0; word &= word - 1 {
			list = append(list, uint16(i+bits.TrailingZeros64(word)-(64-many))) //nolint:gosec // less than n
		}
		i += many
	}
	return list
}

// nullsOf writes every place and keeps that of a NULL, which costs less than a
// branch that nobody can predict.
func (p *Piece) nullsOf(rows, room []uint16) []uint16 {
	n := 0
	room = room[:len(rows)]
	for i, row := range rows {
		room[n] = uint16(i) //nolint:gosec // less than the rows of a frame
		n += int(p.bitOf(int(row)))
	}
	return room[:n]
}

// DropNulls takes the rows that are NULL out of rows that are counted from the
// first, where they stand.
func (p *Piece) DropNulls(rows []uint16) []uint16 {
	if p.null == nil {
		return rows
	}
	n := 0
	for _, row := range rows {
		rows[n] = row
		n += 1 - int(p.bitOf(int(row)))
	}
	return rows[:n]
}
