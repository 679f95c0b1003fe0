package exec

import (
	"hash/maphash"
	"math"
	"math/bits"
)

// mixer is an odd constant with its bits well spread (SplitMix64's increment).
const mixer = 0x9e3779b97f4a7c15

// mix folds a word into a hash.
func mix(hash, word uint64) uint64 {
	high, low := bits.Mul64(hash^word, mixer)
	return high ^ low
}

// numbering gives different tuples of words numbers from 0, in the order of
// their coming. It is a table with open addressing: slots hold number + 1. Its
// seed is random, so that nobody can send values that collide.
type numbering struct {
	memory *budget
	ended  func() error // says that the query's context ended
	width  int          // words in a tuple, at least 1
	seed   uint64
	slots  []uint32 // a power of two
	words  []uint64 // of the tuples, by number
	count  int
}

func newNumbering(memory *budget, ended func() error, width int) (*numbering, error) {
	slots, err := allocate[uint32](memory, 64)
	if err != nil {
		return nil, err
	}
	return &numbering{memory: memory, ended: ended, width: width, seed: maphash.Bytes(maphash.MakeSeed(), nil), slots: slots}, nil
}

// number answers the number of a tuple.
func (n *numbering) number(tuple []uint64) (uint32, error) {
	at := n.find(tuple)
	if n.slots[at] != 0 {
		return n.slots[at] - 1, nil
	}
	return n.add(tuple, at)
}

// numberWords answers the numbers of tuples of one word.
func (n *numbering) numberWords(words []uint64, to []uint32) error {
	to = to[:len(words)]
	for i, word := range words {
		slots, known := n.slots, n.words
		mask := uint64(len(slots) - 1)
		at := mix(n.seed, word) & mask
		slot := slots[at]
		for slot != 0 && known[slot-1] != word {
			at = (at + 1) & mask
			slot = slots[at]
		}
		if slot != 0 {
			to[i] = slot - 1
			continue
		}
		var err error
		if to[i], err = n.add(words[i:i+1], int(at)); err != nil {
			return err
		}
	}
	return nil
}

// add numbers a new tuple that belongs into a slot.
func (n *numbering) add(tuple []uint64, at int) (uint32, error) {
	if n.count == math.MaxUint32-1 {
		return 0, ErrLimit
	}
	if 4*n.count >= 3*len(n.slots) {
		if err := n.double(); err != nil {
			return 0, err
		}
		at = n.find(tuple)
	}
	if err := reach(n.memory, &n.words, len(n.words)+n.width); err != nil {
		return 0, err
	}
	copy(n.tuple(n.count), tuple)
	n.count++
	n.slots[at] = uint32(n.count)
	return uint32(n.count - 1), nil
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
		if (number+1)%stride == 0 {
			if err := n.ended(); err != nil {
				return err
			}
		}
		n.slots[n.find(n.tuple(number))] = uint32(number) + 1
	}
	n.memory.give(size[uint32](len(old)))
	return nil
}
