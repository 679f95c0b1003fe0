package exec

import (
	"sync/atomic"
	"unsafe"
)

// budget is the memory that a query may still take, in bytes. Only what grows
// with data or with the plan is counted, by its capacity and before it is
// allocated.
type budget struct{ left atomic.Int64 }

func newBudget(bytes int64) *budget {
	b := new(budget)
	b.left.Store(bytes)
	return b
}

// take reserves bytes, or answers ErrLimit.
func (b *budget) take(bytes int64) error {
	for {
		left := b.left.Load()
		if bytes < 0 || bytes > left {
			return ErrLimit
		}
		if b.left.CompareAndSwap(left, left-bytes) {
			return nil
		}
	}
}

// give returns bytes that were taken.
func (b *budget) give(bytes int64) { b.left.Add(bytes) }

// size is the number of bytes of n elements.
func size[T any](n int) int64 {
	var element T
	return int64(n) * int64(unsafe.Sizeof(element))
}

// allocate answers a slice of n zero elements, counted.
func allocate[T any](b *budget, n int) ([]T, error) {
	if err := b.take(size[T](n)); err != nil {
		return nil, err
	}
	return make([]T, n), nil
}

// reach lengthens s to n elements, counted, unless it has so many. Old and new
// memory are both held while the one is copied to the other.
func reach[T any](b *budget, s *[]T, n int) error {
	if n <= len(*s) {
		return nil
	}
	if n <= cap(*s) {
		*s = (*s)[:n]
		return nil
	}
	next, err := allocate[T](b, max(2*cap(*s), n, 16))
	if err != nil {
		return err
	}
	copy(next, *s)
	b.give(size[T](cap(*s)))
	*s = next[:n]
	return nil
}
