package gateway

import (
	"context"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// digest is the SHA-256 of an envelope, its name.
type digest [32]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// attr names an envelope in the log by the beginning of its digest, which is
// enough to find its object.
func (d digest) attr() slog.Attr { return slog.String("digest", d.String()[:16]) }

func (d digest) pending() *cloisterv1.SubmitResponse {
	return &cloisterv1.SubmitResponse{State: cloisterv1.SubmitResponse_STATE_PENDING, Digest: d[:]}
}

func (d digest) refused(reason string) *cloisterv1.SubmitResponse {
	return &cloisterv1.SubmitResponse{State: cloisterv1.SubmitResponse_STATE_REFUSED, Digest: d[:], Refusal: reason}
}

// fate says where an envelope goes that somebody has worked on.
type fate int

const (
	// settled: there is a verdict, or nothing to keep.
	settled fate = iota
	// waiting: still without verdict, and its turn stays.
	waiting
	// postponed: still without verdict, and the others come first.
	postponed
)

// item is an envelope without a verdict. Its claimant alone changes it.
type item struct {
	digest digest
	// since is when its bytes were stored, or came in.
	since time.Time
	// turn orders the items: first by arrival, then by postponement.
	turn uint64
	// durable says that the envelope is in the inbox.
	durable atomic.Bool
	// deaths counts how often the enclave went away with it.
	deaths int
	// claimed is open while somebody works on it, nil when nobody does.
	claimed chan struct{}
}

// unchanged is the fate of an item with which nothing was done.
func (it *item) unchanged() fate {
	if it.durable.Load() {
		return waiting
	}
	return settled
}

// queue holds every envelope that is stored or being stored and has no verdict.
// One goroutine at a time works on each of them.
type queue struct {
	mu    sync.Mutex
	turns uint64
	items map[digest]*item
	idle  []*item // those without claimant, in the order of their turns
	// more tells the background loop that idle may have grown.
	more chan struct{}
}

func newQueue(stored []arrival) *queue {
	q := &queue{items: make(map[digest]*item, len(stored)), more: make(chan struct{}, 1)}
	for _, a := range stored {
		q.add(a.digest)
		q.items[a.digest].since = a.stored
	}
	return q
}

// pending answers how many durable envelopes have no verdict, and since when
// the oldest of them hasn't.
func (q *queue) pending() (n int, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range q.items {
		if !it.durable.Load() {
			continue
		}
		if n++; n == 1 || it.since.Before(oldest) {
			oldest = it.since
		}
	}
	return n, oldest
}

// add enters an envelope that the inbox has.
func (q *queue) add(d digest) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.items[d] == nil {
		it := q.enter(d)
		it.durable.Store(true)
		q.rest(it)
	}
}

// enter makes an item with the next turn. The caller holds mu.
func (q *queue) enter(d digest) *item {
	it := &item{digest: d, since: time.Now(), turn: q.turns}
	q.turns++
	q.items[d] = it
	return it
}

// rest makes an item idle. The caller holds mu.
func (q *queue) rest(it *item) {
	at, _ := slices.BinarySearchFunc(q.idle, it.turn, byTurn)
	q.idle = slices.Insert(q.idle, at, it)
	select {
	case q.more <- struct{}{}:
	default:
	}
}

func byTurn(it *item, turn uint64) int {
	switch {
	case it.turn < turn:
		return -1
	case it.turn > turn:
		return 1
	}
	return 0
}

// claim answers the item of an envelope, new or waiting, to a caller who must
// release it. While another has it, claim waits for as long as ctx allows, and
// then answers nil and whether the envelope is durable.
func (q *queue) claim(ctx context.Context, d digest) (it *item, durable bool) {
	for {
		it, busy := q.tryClaim(d)
		if busy == nil {
			return it, it.durable.Load()
		}
		select {
		case <-ctx.Done():
			return nil, q.durable(d)
		case <-busy:
		}
	}
}

func (q *queue) tryClaim(d digest) (it *item, busy <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it = q.items[d]
	switch {
	case it == nil:
		it = q.enter(d)
	case it.claimed != nil:
		return nil, it.claimed
	default:
		at, _ := slices.BinarySearchFunc(q.idle, it.turn, byTurn)
		q.idle = slices.Delete(q.idle, at, at+1)
	}
	it.claimed = make(chan struct{})
	return it, nil
}

// first claims the item whose turn it is, and waits for one while there is
// none. It answers nil when ctx ends.
func (q *queue) first(ctx context.Context) *item {
	for ctx.Err() == nil {
		if it := q.tryFirst(); it != nil {
			return it
		}
		select {
		case <-ctx.Done():
		case <-q.more:
		}
	}
	return nil
}

func (q *queue) tryFirst() *item {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.idle) == 0 {
		return nil
	}
	it := q.idle[0]
	q.idle = slices.Delete(q.idle, 0, 1)
	it.claimed = make(chan struct{})
	return it
}

// release gives a claimed item back.
func (q *queue) release(it *item, f fate) {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(it.claimed)
	it.claimed = nil
	if f == settled {
		delete(q.items, it.digest)
		return
	}
	if f == postponed {
		it.turn = q.turns
		q.turns++
	}
	q.rest(it)
}

// durable says whether an envelope is in the inbox and has no verdict.
func (q *queue) durable(d digest) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[d]
	return it != nil && it.durable.Load()
}
