package binding

import "encoding/binary"

// widest is the size of the largest value that a flatbuffer is asked for, in
// bytes.
const widest = 16

// flatbuffer reads tables of the FlatBuffers binary format ("FlatBuffer
// Internals"). A place outside of it reads as zero and makes it bad for good,
// so that a caller looks once, at the end.
type flatbuffer struct {
	b   []byte
	bad bool
}

// at answers n bytes, at most widest.
func (f *flatbuffer) at(place, n int) []byte {
	if place < 0 || place > len(f.b)-n {
		f.bad = true
		return make([]byte, widest)[:n]
	}
	return f.b[place : place+n]
}

func (f *flatbuffer) u8(place int) int  { return int(f.at(place, 1)[0]) }
func (f *flatbuffer) u16(place int) int { return int(binary.LittleEndian.Uint16(f.at(place, 2))) }
func (f *flatbuffer) u32(place int) int { return int(binary.LittleEndian.Uint32(f.at(place, 4))) }
func (f *flatbuffer) i16(place int) int { return int(int16(f.u16(place))) } //nolint:gosec // two's complement
func (f *flatbuffer) i32(place int) int { return int(int32(f.u32(place))) } //nolint:gosec // two's complement
func (f *flatbuffer) i64(place int) int64 {
	return int64(binary.LittleEndian.Uint64(f.at(place, 8))) //nolint:gosec // two's complement
}

// root answers the place of the outermost table.
func (f *flatbuffer) root() int { return f.u32(0) }

// field answers the place of a table's field, 0 when it has its default.
func (f *flatbuffer) field(table, id int) int {
	vtable, slot := table-f.i32(table), 4+2*id
	if slot+2 > f.u16(vtable) {
		return 0
	}
	offset := f.u16(vtable + slot)
	if offset == 0 {
		return 0
	}
	return table + offset
}

// table answers the place of the table that a field refers to, 0 for none.
func (f *flatbuffer) table(table, id int) int {
	place := f.field(table, id)
	if place == 0 {
		return 0
	}
	return place + f.u32(place)
}

// vector answers the place of a vector's first element and their number. size
// is that of one, in bytes.
func (f *flatbuffer) vector(table, id, size int) (first, n int) {
	place := f.table(table, id)
	if place == 0 {
		return 0, 0
	}
	first, n = place+4, f.u32(place)
	if f.bad || n > (len(f.b)-first)/size {
		f.bad = true
		return 0, 0
	}
	return first, n
}

// The scalar fields of tables, with the default of each.

func (f *flatbuffer) byteField(table, id, otherwise int) int {
	if place := f.field(table, id); place != 0 {
		return f.u8(place)
	}
	return otherwise
}

func (f *flatbuffer) shortField(table, id, otherwise int) int {
	if place := f.field(table, id); place != 0 {
		return f.i16(place)
	}
	return otherwise
}

func (f *flatbuffer) intField(table, id, otherwise int) int {
	if place := f.field(table, id); place != 0 {
		return f.i32(place)
	}
	return otherwise
}

func (f *flatbuffer) longField(table, id int) int64 {
	if place := f.field(table, id); place != 0 {
		return f.i64(place)
	}
	return 0
}
