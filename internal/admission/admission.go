// Package admission decides who may begin: a bounded number at once, of a
// bounded weight, in a bounded queue, for a bounded wait. Whoever doesn't get in
// is told when to come again. It trusts nobody who asks, and holds a few words
// for each of them.
package admission

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Config says what a pool bounds.
type Config struct {
	// Permits is how many may be inside at once. Required.
	Permits int
	// Weight is what all inside may weigh together, in whatever unit the callers
	// use; 0 is no bound.
	Weight int64
	// PerKey is how many of one key may be inside at once; 0 is no bound.
	PerKey int
	// Queue is how many may wait, and QueuePerKey how many of one key; 0 of the
	// first lets nobody wait, 0 of the second is no bound of its own.
	Queue, QueuePerKey int
	// Wait bounds the wait, besides the caller's context; 0 is no bound of its own.
	Wait time.Duration
	// Retry is the hint to those who don't get in.
	Retry time.Duration
}

// Full says that there was no room. It is never final: the same may get in later.
type Full struct {
	// Reason is a constant phrase.
	Reason string
	// Retry is how long to wait before coming again.
	Retry time.Duration
}

// Error answers the reason.
func (f *Full) Error() string { return "admission: " + f.Reason }

// The reasons.
const (
	ReasonPermits = "too many at once"
	ReasonWeight  = "too much at once"
	ReasonKey     = "too many at once for one caller"
	ReasonWait    = "no room within the time to wait"
)

// Load is what a pool holds at a moment.
type Load struct {
	// Inside and Waiting are how many.
	Inside, Waiting int
	// Weight is what those inside weigh.
	Weight int64
	// Refused counts those who didn't get in since the pool was made.
	Refused uint64
}

// Pool admits. It is safe for use by several goroutines.
type Pool struct {
	config Config

	mu sync.Mutex
	// What follows is guarded by mu.
	load    Load
	inside  map[string]int // by key
	waiting []*waiter      // in the order in which they came
}

// waiter is somebody who wants in. Who grants closes ready.
type waiter struct {
	key     string
	weight  int64
	ready   chan struct{}
	granted bool
}

// New makes an empty pool. One without permits admits nobody.
func New(c Config) *Pool { return &Pool{config: c, inside: map[string]int{}} }

// Try admits somebody now or answers *Full. The empty key is nobody's: it has
// no bound of its own.
func (p *Pool) Try(key string, weight int64) (*Permit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, err := p.enter(key, weight, false)
	if err != nil {
		return nil, err
	}
	return &Permit{pool: p, key: w.key, weight: w.weight}, nil
}

// Acquire admits somebody, in the order of arrival, and waits in the queue when
// it must: a caller who is over the bound of its key lets others pass. It
// answers *Full, or the error of ctx.
func (p *Pool) Acquire(ctx context.Context, key string, weight int64) (*Permit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	w, err := p.enter(key, weight, true)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var over <-chan time.Time
	if p.config.Wait > 0 {
		timer := time.NewTimer(p.config.Wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-w.ready:
	case <-over:
		err = &Full{ReasonWait, p.config.Retry}
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil && p.leave(w) {
		return nil, err
	}
	return &Permit{pool: p, key: w.key, weight: w.weight}, nil
}

// Load answers what the pool holds now.
func (p *Pool) Load() Load {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.load
	l.Waiting = len(p.waiting)
	return l
}

// enter grants, queues or refuses. The caller holds mu.
func (p *Pool) enter(key string, weight int64, queue bool) (*waiter, error) {
	w := &waiter{key: key, weight: max(0, weight), ready: make(chan struct{})}
	p.waiting = append(p.waiting, w)
	p.grant()
	if w.granted || queue && p.mayWait(w) {
		return w, nil
	}
	err := &Full{p.reason(w), p.config.Retry}
	p.forget(w)
	p.load.Refused++
	return nil, err
}

// mayWait says whether there is room in the queue for one who stands at its end
// already. Who can never get in doesn't wait.
func (p *Pool) mayWait(w *waiter) bool {
	if len(p.waiting) > p.config.Queue || p.config.Permits <= 0 || p.config.Weight > 0 && w.weight > p.config.Weight {
		return false
	}
	if w.key == "" || p.config.QueuePerKey == 0 {
		return true
	}
	same := 0
	for _, other := range p.waiting {
		if other.key == w.key {
			same++
		}
	}
	return same <= p.config.QueuePerKey
}

// grant lets in, from the front, everybody for whom there is room. One for whom
// there is no room holds back those behind, so that the heavy get in too. One
// who is only over the bound of a key doesn't. The caller holds mu.
func (p *Pool) grant() {
	held := false
	p.waiting = slices.DeleteFunc(p.waiting, func(w *waiter) bool {
		switch {
		case held || p.overKey(w.key):
			return false
		case p.load.Inside >= p.config.Permits || p.overWeight(w.weight):
			held = true
			return false
		}
		p.load.Inside++
		p.load.Weight += w.weight
		if w.key != "" {
			p.inside[w.key]++
		}
		w.granted = true
		close(w.ready)
		return true
	})
}

func (p *Pool) overKey(key string) bool {
	return key != "" && p.config.PerKey > 0 && p.inside[key] >= p.config.PerKey
}

func (p *Pool) overWeight(weight int64) bool {
	return p.config.Weight > 0 && weight > p.config.Weight-p.load.Weight
}

// reason says why somebody isn't let in. The caller holds mu.
func (p *Pool) reason(w *waiter) string {
	switch {
	case p.overKey(w.key):
		return ReasonKey
	case p.load.Inside < p.config.Permits && p.overWeight(w.weight):
		return ReasonWeight
	default:
		return ReasonPermits
	}
}

// leave takes somebody out of the queue who gave up, and answers false when it
// was granted at the same moment.
func (p *Pool) leave(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.granted {
		return false
	}
	p.load.Refused++
	p.forget(w)
	return true
}

// forget takes somebody out of the queue. Those behind may fit now. The caller
// holds mu.
func (p *Pool) forget(w *waiter) {
	if at := slices.Index(p.waiting, w); at >= 0 {
		p.waiting = slices.Delete(p.waiting, at, at+1)
	}
	p.grant()
}

// Permit is a place inside a pool.
type Permit struct {
	pool *Pool
	key  string

	// weight and released are guarded by the pool's mu.
	weight   int64
	released bool
}

// Release gives the place back. Only the first call counts.
func (m *Permit) Release() {
	p := m.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.released {
		return
	}
	m.released = true
	p.load.Inside--
	p.load.Weight -= m.weight
	if m.key != "" {
		if p.inside[m.key]--; p.inside[m.key] == 0 {
			delete(p.inside, m.key)
		}
	}
	p.grant()
}
