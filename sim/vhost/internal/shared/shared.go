// Package shared reads and writes the words that the two sides of a virtqueue
// both watch: the first four bytes of an available and of a used ring, flags
// and index, 16 bits each.
//
// They are read and written whole, as one little-endian word at an aligned
// address, with Go's sequentially consistent atomics: what was written before
// the word is there for whoever has read it. Nothing else of guest memory needs
// atomic access.
package shared

import (
	"sync/atomic"
	"unsafe"
)

// Load reads the word that b begins with. b must be [Aligned].
func Load(b []byte) (flags, index uint16) {
	v := atomic.LoadUint32((*uint32)(unsafe.Pointer(&b[:4][0])))
	return uint16(v), uint16(v >> 16)
}

// Store writes the word that b begins with. b must be [Aligned].
func Store(b []byte, flags, index uint16) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&b[:4][0])), uint32(flags)|uint32(index)<<16)
}

// Aligned says whether b begins at a multiple of four bytes.
func Aligned(b []byte) bool { return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%4 == 0 }
