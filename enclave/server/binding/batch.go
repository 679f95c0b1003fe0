package binding

import "encoding/binary"

// maxLength bounds the values of a dictionary: what fits into a stream and
// more.
const maxLength = 1 << 24

// batch is a record batch: its arrays one after the other, as the columns want
// them.
type batch struct {
	f       *flatbuffer
	body    []byte
	length  int
	node    int // place of the next FieldNode
	nodes   int // how many are left
	buffer  int // place of the next Buffer
	buffers int // how many are left
	bad     bool
}

// batch begins to read a RecordBatch table.
func (f *flatbuffer) batch(record int, body []byte) (*batch, error) {
	length := f.longField(record, 0)
	b := &batch{f: f, body: body}
	b.node, b.nodes = f.vector(record, 1, 16)
	b.buffer, b.buffers = f.vector(record, 2, 16)
	compressed := f.field(record, 3) != 0
	if f.bad || length < 0 || length > maxLength {
		return nil, refuseForm()
	}
	if compressed {
		return nil, refuseCompressed()
	}
	b.length = int(length)
	return b, nil
}

// done says whether everything was read and well formed.
func (b *batch) done() bool { return !b.bad && !b.f.bad && b.nodes == 0 && b.buffers == 0 }

// take answers the bytes of the next buffer.
func (b *batch) take() []byte {
	if b.buffers == 0 {
		b.bad = true
		return nil
	}
	offset, length := b.f.i64(b.buffer), b.f.i64(b.buffer+8)
	b.buffer, b.buffers = b.buffer+16, b.buffers-1
	if offset < 0 || length < 0 || length > int64(len(b.body)) || offset > int64(len(b.body))-length {
		b.bad = true
		return nil
	}
	return b.body[offset : offset+length]
}

// next answers the next array, of which every value lies within its buffers.
func (b *batch) next(s shape) array {
	a := array{shape: s, length: b.length}
	if b.nodes == 0 {
		b.bad, a.bad = true, true
		return a
	}
	length, nulls := b.f.i64(b.node), b.f.i64(b.node+8)
	b.node, b.nodes = b.node+16, b.nodes-1
	if s.kind != null {
		a.validity = b.take()
		if s.kind == text {
			a.offsets = b.take()
		}
		a.data = b.take()
	}
	if nulls == 0 {
		a.validity = nil
	}
	a.bad = b.bad || length != int64(b.length) || nulls < 0 || nulls > length || !a.complete(nulls > 0)
	b.bad = a.bad
	return a
}

// array is one column's values.
type array struct {
	shape
	length                  int
	validity, offsets, data []byte
	bad                     bool
}

// complete says whether the buffers hold all values.
func (a *array) complete(nulls bool) bool {
	if a.kind == null {
		return true
	}
	if nulls && len(a.validity) < (a.length+7)/8 {
		return false
	}
	switch a.kind {
	case text:
		return a.length == 0 || len(a.offsets) >= (a.length+1)*a.bits/8
	case boolean:
		return len(a.data) >= (a.length+7)/8
	}
	return len(a.data) >= a.length*a.bits/8
}

// null says whether a value is NULL.
func (a *array) null(i int) bool {
	return a.kind == null || a.validity != nil && a.validity[i/8]>>(i%8)&1 == 0
}

// bytes answers a text, false when its offsets lie outside of the data.
func (a *array) bytes(i int) ([]byte, bool) {
	from, to := a.offset(i), a.offset(i+1)
	if from < 0 || from > to || to > int64(len(a.data)) {
		return nil, false
	}
	return a.data[from:to], true
}

func (a *array) offset(i int) int64 {
	if a.bits == 64 {
		return int64(binary.LittleEndian.Uint64(a.offsets[8*i:])) //nolint:gosec // two's complement
	}
	return int64(int32(binary.LittleEndian.Uint32(a.offsets[4*i:]))) //nolint:gosec // two's complement
}

// index answers an integer as an index, false for one that can't be.
func (a *array) index(i int) (int, bool) {
	n := a.integer(i)
	if !n.IsInt64() || n.Sign() < 0 || n.Int64() > maxLength {
		return 0, false
	}
	return int(n.Int64()), true
}
