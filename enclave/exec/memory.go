package exec

import "unsafe"

// budget is the memory that a query may still take, in bytes. Only what grows
// with data or with the plan is counted, by its capacity and before it is
// allocated.
type budget struct{ left int64 }

// take reserves bytes, or answers ErrLimit.
func (b *budget) take(bytes int64) error {
	if bytes < 0 || bytes > b.left {
		return ErrLimit
	}
	b.left -= bytes
	return nil
}

// give returns bytes that were taken.
func (b *budget) give(bytes int64) { b.left += bytes }

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

// grow answers s with n more zero elements, counted. Old and new memory are
// both held while the one is copied to the other.
func grow[T any](b *budget, s []T, n int) ([]T, error) {
	need := len(s) + n
	if need <= cap(s) {
		return s[:need], nil
	}
	next, err := allocate[T](b, max(2*cap(s), need, 16))
	if err != nil {
		return nil, err
	}
	copy(next, s)
	b.give(size[T](cap(s)))
	return next[:need], nil
}
