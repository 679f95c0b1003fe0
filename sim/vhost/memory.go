package vhost

import (
	"fmt"
	"math/bits"
)

// maxMemory bounds all regions of a guest together, in bytes. They are mapped
// and not allocated.
const maxMemory = 1 << 40

// region is a range of guest memory as the front end describes it: where the
// guest has it, where the front end has it, and where it begins in its file.
type region struct {
	guest, size, user, offset uint64
	bytes                     []byte // exactly the region
	mapped                    []byte // from the page in which it begins
}

// memory is what a guest shares with its devices.
type memory struct{ regions []region }

// check refuses regions that are empty, that wrap around, that share addresses,
// or that are too large together.
func check(regions []region) error {
	var total uint64
	for i, r := range regions {
		if r.size == 0 || wraps(r.guest, r.size) || wraps(r.user, r.size) || wraps(r.offset, r.size) {
			return fmt.Errorf("%w: region %d is empty or wraps around", ErrFrontEnd, i)
		}
		if r.size > maxMemory || total+r.size > maxMemory {
			return fmt.Errorf("%w: too much memory", ErrFrontEnd)
		}
		total += r.size
		for j, o := range regions[:i] {
			if overlap(r.guest, r.size, o.guest, o.size) || overlap(r.user, r.size, o.user, o.size) {
				return fmt.Errorf("%w: regions %d and %d overlap", ErrFrontEnd, j, i)
			}
		}
	}
	return nil
}

func wraps(start, size uint64) bool {
	_, carry := bits.Add64(start, size, 0)
	return carry != 0
}

// overlap says whether two ranges that don't wrap share an address.
func overlap(a, an, b, bn uint64) bool { return a < b+bn && b < a+an }

// atGuest answers n bytes at an address of the guest's, false unless all of
// them are in one region.
func (m *memory) atGuest(address uint64, n uint32) ([]byte, bool) {
	for i := range m.regions {
		if b, ok := m.regions[i].slice(address, m.regions[i].guest, uint64(n)); ok {
			return b, true
		}
	}
	return nil, false
}

// atUser answers n bytes at an address of the front end's.
func (m *memory) atUser(address, n uint64) ([]byte, bool) {
	for i := range m.regions {
		if b, ok := m.regions[i].slice(address, m.regions[i].user, n); ok {
			return b, true
		}
	}
	return nil, false
}

// slice answers n bytes at an address when the region, which begins at base,
// holds all of them.
func (r *region) slice(address, base, n uint64) ([]byte, bool) {
	if address < base || address-base > r.size || n > r.size-(address-base) {
		return nil, false
	}
	start := address - base
	return r.bytes[start : start+n : start+n], true
}
