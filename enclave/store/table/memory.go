package table

import (
	"math"
	"sync/atomic"
)

// Memory is what tables may hold together, in bytes. It counts what the newest
// snapshots show, the dictionaries, and what merges are writing. Older
// snapshots, which queries hold for a while, are on top, and so is what an
// Append works with: under 2 MiB for as many rows as an envelope has.
type Memory struct {
	most int64
	held atomic.Int64
}

// NewMemory makes a limit for one or more tables.
func NewMemory(most int64) *Memory { return &Memory{most: most} }

// Unlimited makes a limit that nothing reaches.
func Unlimited() *Memory { return NewMemory(math.MaxInt64) }

// Held is the number of bytes held.
func (m *Memory) Held() int64 { return m.held.Load() }

// take reserves bytes, and answers whether there are so many.
func (m *Memory) take(bytes int64) bool {
	for {
		held := m.held.Load()
		if bytes > m.most-held {
			return false
		}
		if m.held.CompareAndSwap(held, held+bytes) {
			return true
		}
	}
}

func (m *Memory) give(bytes int64) { m.held.Add(-bytes) }
