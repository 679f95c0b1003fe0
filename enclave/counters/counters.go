// Package counters counts what the enclave does and shows the parent a coarse
// picture of it: eight numbers without a name, each rounded down to a multiple
// of Step and renewed once in an Interval of the enclave's own choosing. It
// trusts the parent with that picture and nothing finer; docs/THREAT-MODEL.md
// says what can be learnt from it.
package counters

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"time"
)

const (
	// Step is what the parent can tell apart.
	Step = 10
	// Interval is the time between two pictures.
	Interval = time.Minute
)

// Event is something that is counted.
type Event int

// The events, all of them: what isn't on this list isn't counted.
const (
	EnvelopeAccepted Event = iota
	EnvelopeRefused
	QueryAnswered
	QueryRefused
	KMSGranted
	KMSDenied
	KMSUnavailable
	KeyringHit

	events // how many there are
)

// Published is a picture: a multiple of Step for each event.
type Published [events]uint64

// Counters count. They are safe for use by several goroutines.
type Counters struct {
	exact [events]atomic.Uint64
	shown atomic.Pointer[Published]
}

// New makes counters that show zeros. Each begins at a secret number below
// Step, so that nobody knows how many events the next change is away.
func New() *Counters {
	c := &Counters{}
	var random [events]byte
	_, _ = rand.Read(random[:]) // it never fails (crypto/rand, since Go 1.24)
	for i, b := range random {
		c.exact[i].Store(uint64(b) % Step)
	}
	c.shown.Store(&Published{})
	return c
}

// Count counts one event.
func (c *Counters) Count(e Event) {
	if e >= 0 && e < events {
		c.exact[e].Add(1)
	}
}

// Published answers the newest picture. Asking for it changes nothing.
func (c *Counters) Published() Published { return *c.shown.Load() }

// Run makes a new picture in each interval until ctx ends. Nobody outside can
// choose the moment.
func (c *Counters) Run(ctx context.Context) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.publish()
		}
	}
}

func (c *Counters) publish() {
	var p Published
	for i := range p {
		p[i] = c.exact[i].Load() / Step * Step
	}
	c.shown.Store(&p)
}
