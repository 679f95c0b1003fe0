package table

// sortBits is how many bits of a key one pass of a Sorter looks at.
const sortBits = 11

// Sorter answers the order of keys. It looks at the bits in which they differ
// and compares none, so keys close to each other are cheap.
type Sorter struct {
	order, other []uint32
	at           [1<<sortBits + 1]uint32
}

// NewSorter makes one for at most so many keys at a time.
func NewSorter(most int) *Sorter {
	return &Sorter{order: make([]uint32, most), other: make([]uint32, most)}
}

// SorterBytes is the memory that NewSorter takes.
func SorterBytes(most int) int64 { return 8*int64(most) + 4<<sortBits }

// Sort answers the indexes of keys so that the keys don't decrease; equal ones
// stay as they are. The lowest bits of keys, so many, are the same in all of
// them. What it answers is good until the next call.
func (s *Sorter) Sort(keys []uint32, same int) []uint32 {
	order, other := s.order[:len(keys)], s.other[:len(keys)]
	low, high := ^uint32(0), uint32(0)
	for i, key := range keys {
		order[i] = uint32(i)
		low, high = min(low, key), max(high, key)
	}
	for shift := same; shift < 32 && high > low && (high-low)>>shift > 0; shift += sortBits {
		const mask = 1<<sortBits - 1
		at := s.at[:min((high-low)>>shift, mask)+2]
		clear(at)
		for _, key := range keys {
			at[(key-low)>>shift&mask+1]++
		}
		sum := uint32(0)
		for i := range at {
			sum += at[i]
			at[i] = sum
		}
		for _, i := range order {
			bucket := &at[(keys[i]-low)>>shift&mask]
			other[*bucket] = i
			*bucket++
		}
		order, other = other, order
	}
	return order
}
