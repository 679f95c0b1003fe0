package exec

import (
	"hash/maphash"
	"math"
	"math/bits"
)

// mixer is an odd constant with its bits well spread (SplitMix64's increment).
const mixer = 0x9e3779b97f4a7c15

// newSeed is random for every table, so that nobody can send values that
// collide.
func newSeed() uint64 { return maphash.Bytes(maphash.MakeSeed(), nil) }

// mix folds a word into a hash.
func mix(hash, word uint64) uint64 {
	high, low := bits.Mul64(hash^word, mixer)
	return high ^ low
}

// numbering gives different tuples of words numbers from 0, in the order of
// their coming. It is a table with open addressing: slots hold number + 1.
type numbering struct {
	memory *budget
	width  int // words in a tuple, at least 1
	seed   uint64
	slots  []uint32 // a power of two
	words  []uint64 // of the tuples, by number
	count  int
}

func newNumbering(memory *budget, width int) (*numbering, error) {
	slots, err := allocate[uint32](memory, 64)
	if err != nil {
		return nil, err
	}
	return &numbering{memory: memory, width: width, seed: newSeed(), slots: slots}, nil
}

// number answers a tuple's number, and whether it is new.
func (n *numbering) number(tuple []uint64) (number int, isNew bool, err error) {
	at := n.find(tuple)
	if n.slots[at] != 0 {
		return int(n.slots[at]) - 1, false, nil
	}
	if n.count == math.MaxUint32-1 {
		return 0, false, ErrLimit
	}
	if 4*n.count >= 3*len(n.slots) {
		if err := n.double(); err != nil {
			return 0, false, err
		}
		at = n.find(tuple)
	}
	words, err := grow(n.memory, n.words, n.width)
	if err != nil {
		return 0, false, err
	}
	n.words = words
	copy(n.tuple(n.count), tuple)
	n.count++
	n.slots[at] = uint32(n.count)
	return n.count - 1, true, nil
}

// tuple answers the tuple of a number.
func (n *numbering) tuple(number int) []uint64 {
	return n.words[number*n.width : (number+1)*n.width]
}

// find answers the slot of a tuple, or the empty one where it belongs.
func (n *numbering) find(tuple []uint64) int {
	hash := n.seed
	for _, word := range tuple {
		hash = mix(hash, word)
	}
	mask := uint64(len(n.slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		if slot := n.slots[at]; slot == 0 || equal(n.tuple(int(slot)-1), tuple) {
			return int(at)
		}
	}
}

func equal(a, b []uint64) bool {
	for i, word := range a {
		if word != b[i] {
			return false
		}
	}
	return true
}

// double makes room for twice as many tuples.
func (n *numbering) double() error {
	old := n.slots
	slots, err := allocate[uint32](n.memory, 2*len(old))
	if err != nil {
		return err
	}
	n.slots = slots
	for number := range n.count {
		n.slots[n.find(n.tuple(number))] = uint32(number) + 1
	}
	n.memory.give(size[uint32](len(old)))
	return nil
}

// pairs is a set of (group, unit). It is a table with open addressing; a slot
// holds the pair + 1, which no pair of two numbers under 2^32 - 1 overflows.
type pairs struct {
	memory *budget
	seed   uint64
	slots  []uint64 // a power of two
	count  int
}

func newPairs(memory *budget) (*pairs, error) {
	slots, err := allocate[uint64](memory, 64)
	if err != nil {
		return nil, err
	}
	return &pairs{memory: memory, seed: newSeed(), slots: slots}, nil
}

// add answers whether a pair is new.
func (p *pairs) add(group, unit uint32) (isNew bool, err error) {
	key := uint64(group)<<32 | uint64(unit) + 1
	at := p.find(key)
	if p.slots[at] == key {
		return false, nil
	}
	if 4*p.count >= 3*len(p.slots) {
		if err := p.double(); err != nil {
			return false, err
		}
		at = p.find(key)
	}
	p.slots[at] = key
	p.count++
	return true, nil
}

func (p *pairs) find(key uint64) int {
	mask := uint64(len(p.slots) - 1)
	for at := mix(p.seed, key) & mask; ; at = (at + 1) & mask {
		if slot := p.slots[at]; slot == 0 || slot == key {
			return int(at)
		}
	}
}

func (p *pairs) double() error {
	old := p.slots
	slots, err := allocate[uint64](p.memory, 2*len(old))
	if err != nil {
		return err
	}
	p.slots = slots
	for _, key := range old {
		if key != 0 {
			p.slots[p.find(key)] = key
		}
	}
	p.memory.give(size[uint64](len(old)))
	return nil
}
