package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

const (
	// pauseFirst is the pause after the first failure; it doubles.
	pauseFirst = 50 * time.Millisecond
	// sendTimeout bounds one attempt of the background loop. It is longer than
	// a producer waits: what takes the enclave long still gets done.
	sendTimeout = time.Minute
	// maxDeaths is how often the enclave may go away with an envelope before
	// that is set aside. From the second time on it is there alone, so that no
	// envelope pays for another one.
	maxDeaths = 3
)

// drain carries what is pending to the enclave, one at a time and in order of
// arrival, until ctx ends.
func (g *gateway) drain(ctx context.Context) {
	pause := min(pauseFirst, g.config.Pause)
	for {
		it := g.queue.first(ctx)
		if it == nil {
			return
		}
		f := g.retry(ctx, it)
		g.queue.release(it, f)
		if f == settled {
			pause = min(pauseFirst, g.config.Pause)
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, g.config.Pause)
	}
}

// retry makes one attempt at a pending envelope.
func (g *gateway) retry(ctx context.Context, it *item) fate {
	if it.deaths > 0 {
		g.sending.Lock()
		defer g.sending.Unlock()
	} else {
		g.sending.RLock()
		defer g.sending.RUnlock()
	}
	turn, err := g.gate.sends.Acquire(ctx, "", 0)
	if err != nil {
		return waiting
	}
	defer turn.Release()
	// Without an enclave that takes envelopes everything waits, in its order.
	connection, ok := g.enclave.isReady(ctx)
	if !ok {
		return waiting
	}
	envelope, err := g.shelf.read(ctx, it.digest)
	switch {
	case errors.Is(err, objects.ErrNotFound):
		g.config.Metrics.events.Inc(eventLost)
		g.config.Log.Error("gateway: a pending envelope is gone from the inbox", slog.String("object", inbox+it.digest.String()))
		return settled
	case err != nil:
		g.config.Log.Error("gateway: a pending envelope can't be read", it.digest.attr(), slog.String("error", err.Error()))
		return postponed
	}
	verdict, err := g.shelf.verdict(ctx, it.digest)
	switch {
	case err != nil:
		return postponed
	case verdict != nil:
		return g.finish(ctx, it, envelope, verdict)
	}
	sent, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	_, f, err := g.send(sent, it, envelope)
	switch {
	case err == nil:
		return f
	case ctx.Err() != nil:
		return waiting
	case g.enclave.isGone(ctx, connection):
		return g.died(ctx, it, envelope)
	}
	g.config.Log.Warn("gateway: the enclave can't take an envelope now", it.digest.attr(), slog.String("code", status.Code(err).String()))
	return postponed
}

// finish completes what a crash left half done: an envelope whose verdict is
// known and that is pending all the same.
func (g *gateway) finish(ctx context.Context, it *item, envelope []byte, verdict *cloisterv1.SubmitResponse) fate {
	if verdict.GetState() != cloisterv1.SubmitResponse_STATE_REFUSED {
		return settled
	}
	return g.refused(it, g.shelf.refuse(ctx, it.digest, envelope, verdict.GetRefusal()))
}

// died counts that the enclave went away with an envelope, and sets it aside
// when that has happened too often: the others must come through.
func (g *gateway) died(ctx context.Context, it *item, envelope []byte) fate {
	it.deaths++
	attrs := []any{it.digest.attr(), slog.Int("size", len(envelope)), slog.Int("times", it.deaths)}
	if it.deaths < maxDeaths {
		g.config.Log.Warn("gateway: the enclave went away with an envelope", attrs...)
		return waiting
	}
	if err := g.shelf.setAside(ctx, it.digest, envelope); err != nil {
		g.config.Log.Error("gateway: an envelope can't be set aside", append(attrs, slog.String("error", err.Error()))...)
		return postponed
	}
	g.config.Metrics.events.Inc(eventQuarantined)
	g.config.Log.Error("gateway: set aside: the enclave went away with an envelope every time", append(attrs, slog.String("object", quarantine+it.digest.String()))...)
	return settled
}
