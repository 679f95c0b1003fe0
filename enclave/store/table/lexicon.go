package table

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/bits"
)

// maxBytes bounds the bytes of all different values of a column.
const maxBytes = math.MaxUint32

// Texts are the different values of a column, by code. Nothing changes them.
type Texts struct {
	bytes []byte
	ends  []uint32 // by code; nil when each has eight bytes
}

// Len is the number of values. Their codes count from 0.
func (t Texts) Len() int {
	if t.ends == nil {
		return len(t.bytes) / 8
	}
	return len(t.ends)
}

// At answers the value of a code. It mustn't be changed. A value that isn't a
// text is its integer in eight bytes, the lowest first.
func (t Texts) At(code int) []byte {
	if t.ends == nil {
		return t.bytes[8*code : 8*code+8 : 8*code+8]
	}
	from := uint32(0)
	if code > 0 {
		from = t.ends[code-1]
	}
	return t.bytes[from:t.ends[code]:t.ends[code]]
}

// lexicon gives different values codes, in the order of their coming. Values
// lie behind each other in one piece of memory that grows at its end, so what a
// snapshot saw of it stays. It is a hash table with open addressing.
type lexicon struct {
	texts Texts
	seed  maphash.Seed
	word  uint64 // the seed of integers
	// slots are a power of two in number. One holds code + 1 in as many low bits
	// as number a slot, and bits of the hash above them, so that most of those who
	// look at another's slot see that without a look at its value.
	slots []uint32
}

// newLexicon makes an empty one, for texts or for integers.
func newLexicon(texts bool) *lexicon {
	l := &lexicon{seed: maphash.MakeSeed(), slots: make([]uint32, 16)}
	l.word = maphash.Bytes(l.seed, nil)
	if texts {
		l.texts.ends = []uint32{}
	}
	return l
}

// held is the number of bytes that it takes.
func (l *lexicon) held() int64 {
	return int64(cap(l.texts.bytes)) + 4*int64(cap(l.texts.ends)) + 4*int64(len(l.slots))
}

// need answers how many bytes more it could take after some new values of some
// bytes in all.
func (l *lexicon) need(values, bytes int) int64 {
	after := grown(len(l.texts.bytes)+bytes, cap(l.texts.bytes))
	if l.texts.ends != nil {
		after += 4 * grown(len(l.texts.ends)+values, cap(l.texts.ends))
	}
	slots := int64(len(l.slots))
	for 4*int64(l.texts.Len()+values) > 3*slots {
		slots *= 2
	}
	return after + 4*slots - l.held()
}

// grown is the capacity that extend gives something that needs n elements.
func grown(n, capacity int) int64 {
	if n <= capacity {
		return int64(capacity)
	}
	return int64(max(n, capacity+capacity/4))
}

// extend makes room for n elements at the end of s.
func extend[T any](s []T, n int) []T {
	if len(s)+n <= cap(s) {
		return s
	}
	next := make([]T, len(s), grown(len(s)+n, cap(s)))
	copy(next, s)
	return next
}

// place answers the slot that a hash begins at, and the bits of the hash that a
// slot holds.
func (l *lexicon) place(hash uint64) (at, tag uint32) {
	low := uint32(len(l.slots) - 1)
	return uint32(hash) & low, uint32(hash>>32) &^ low
}

// text answers the code of a text. It keeps a copy of a new one.
func (l *lexicon) text(s string) uint32 {
	at, tag := l.place(maphash.String(l.seed, s))
	low := uint32(len(l.slots) - 1)
	for slot := l.slots[at]; slot != 0; slot = l.slots[at] {
		if code := slot&low - 1; slot&^low == tag && string(l.texts.At(int(code))) == s {
			return code
		}
		at = (at + 1) & low
	}
	l.texts.bytes = append(extend(l.texts.bytes, len(s)), s...)
	l.texts.ends = append(extend(l.texts.ends, 1), uint32(len(l.texts.bytes)))
	return l.fill(at, tag)
}

// integer answers the code of an integer.
func (l *lexicon) integer(v int64) uint32 {
	at, tag := l.place(mix(l.word, uint64(v)))
	low := uint32(len(l.slots) - 1)
	for slot := l.slots[at]; slot != 0; slot = l.slots[at] {
		if code := slot&low - 1; slot&^low == tag && l.name(code) == uint64(v) {
			return code
		}
		at = (at + 1) & low
	}
	l.texts.bytes = binary.LittleEndian.AppendUint64(extend(l.texts.bytes, 8), uint64(v))
	return l.fill(at, tag)
}

// name answers the integer of a code.
func (l *lexicon) name(code uint32) uint64 {
	return binary.LittleEndian.Uint64(l.texts.bytes[8*int(code):])
}

// integers writes the codes of integers. It reads many slots, and then all that
// they lead to, before it needs any: so the waits for memory are one.
func (l *lexicon) integers(values []int64, codes []uint32) {
	if len(values) > 0 && l.texts.Len() == 0 {
		l.integer(values[0])
	}
	var found [128]uint64
	for len(values) > 0 {
		n := min(len(values), len(found))
		low := uint32(len(l.slots) - 1)
		for i, v := range values[:n] {
			found[i] = mix(l.word, uint64(v))
			codes[i] = l.slots[uint32(found[i])&low]
		}
		for i, slot := range codes[:n] {
			at, tag := l.place(found[i])
			for slot != 0 && slot&^low != tag {
				at = (at + 1) & low
				slot = l.slots[at]
			}
			codes[i] = slot & low
		}
		for i, code := range codes[:n] {
			found[i] = l.name(max(code, 1) - 1)
		}
		for i, v := range values[:n] {
			// What stood in a slot is right even when the table grew since.
			if codes[i] != 0 && found[i] == uint64(v) {
				codes[i]--
			} else {
				codes[i] = l.integer(v)
			}
		}
		values, codes = values[n:], codes[n:]
	}
}

// fill puts the newest value into its slot and answers its code.
func (l *lexicon) fill(at, tag uint32) uint32 {
	count := l.texts.Len()
	l.slots[at] = tag | uint32(count)
	if 4*count > 3*len(l.slots) {
		l.double()
	}
	return uint32(count - 1)
}

func (l *lexicon) double() {
	l.slots = make([]uint32, 2*len(l.slots))
	low := uint32(len(l.slots) - 1)
	for code := range l.texts.Len() {
		var hash uint64
		if l.texts.ends != nil {
			hash = maphash.Bytes(l.seed, l.texts.At(code))
		} else {
			hash = mix(l.word, l.name(uint32(code)))
		}
		at, tag := l.place(hash)
		for l.slots[at] != 0 {
			at = (at + 1) & low
		}
		l.slots[at] = tag | uint32(code) + 1
	}
}

// mixer is an odd constant with its bits well spread (SplitMix64's increment).
const mixer = 0x9e3779b97f4a7c15

// mix answers the hash of a word under a secret seed.
func mix(seed, word uint64) uint64 {
	high, low := bits.Mul64(word^seed, mixer)
	return high ^ low
}
