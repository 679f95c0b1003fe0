package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// unreachable is the phase of an enclave that doesn't answer, in the parent's
// own words.
const unreachable = "unreachable"

var (
	errStore   = status.Error(codes.Unavailable, "the parent's store failed; try again")
	errBusy    = status.Error(codes.Unavailable, "the same envelope is being stored; try again")
	errUnknown = status.Error(codes.NotFound, "no envelope with this digest was stored here")
)

// Submit makes an envelope durable, hands it to the enclave and answers what
// the enclave says, or that it is pending.
func (g *gateway) Submit(ctx context.Context, req *cloisterv1.SubmitRequest) (*cloisterv1.SubmitResponse, error) {
	resp, err := g.submit(ctx, req.GetEnvelope())
	g.config.Metrics.answered(resp, err)
	return resp, err
}

func (g *gateway) submit(ctx context.Context, envelope []byte) (*cloisterv1.SubmitResponse, error) {
	switch {
	case len(envelope) == 0:
		return nil, status.Error(codes.InvalidArgument, "the envelope is empty")
	case len(envelope) > limits.Envelope:
		return nil, status.Error(codes.InvalidArgument, "the envelope is larger than 16 MiB")
	}
	ctx, cancel := context.WithTimeout(ctx, g.config.Wait)
	defer cancel()
	d := digest(sha256.Sum256(envelope))
	it, durable := g.queue.claim(ctx, d)
	switch {
	case it == nil && durable:
		return d.pending(), nil
	case it == nil:
		return nil, errBusy
	}
	resp, fate, err := g.handle(ctx, it, envelope)
	g.queue.release(it, fate)
	return resp, err
}

// handle does for an envelope, which its caller has claimed, all that can be
// done while its producer waits.
func (g *gateway) handle(ctx context.Context, it *item, envelope []byte) (*cloisterv1.SubmitResponse, fate, error) {
	verdict, err := g.shelf.verdict(ctx, it.digest)
	switch {
	case err != nil:
		return nil, it.unchanged(), errStore
	case verdict != nil:
		return verdict, settled, nil
	case g.shelf.isAside(it.digest):
		return it.digest.pending(), settled, nil
	}
	if !it.durable.Load() {
		if err := g.shelf.keep(ctx, it.digest, envelope); err != nil {
			g.config.Log.Error("gateway: an envelope can't be stored", it.digest.attr(), slog.Int("size", len(envelope)), slog.String("error", err.Error()))
			return nil, settled, errStore
		}
		it.durable.Store(true)
		g.config.Metrics.events.Inc(eventStored)
		g.config.Metrics.bytes.Add(uint64(len(envelope)))
		g.config.Log.Info("gateway: stored", it.digest.attr(), slog.Int("size", len(envelope)))
	}
	// One that the enclave may have died of, and any other while such a one is
	// tried alone, is the background loop's to send.
	if it.deaths > 0 || !g.sending.TryRLock() {
		return it.digest.pending(), waiting, nil
	}
	defer g.sending.RUnlock()
	turn, err := g.gate.sends.Acquire(ctx, "", 0)
	if err != nil {
		return it.digest.pending(), waiting, nil
	}
	defer turn.Release()
	resp, fate, err := g.send(ctx, it, envelope)
	if err != nil {
		return it.digest.pending(), waiting, nil
	}
	return resp, fate, nil
}

// send hands an envelope to the enclave and keeps its verdict. An error says
// that there is none.
func (g *gateway) send(ctx context.Context, it *item, envelope []byte) (*cloisterv1.SubmitResponse, fate, error) {
	begun := time.Now()
	accepted, err := g.enclave.accept(ctx, envelope)
	took := time.Since(begun)
	outcome := answerFailed
	switch {
	case err == nil:
		outcome = eventReceipted
	case status.Code(err) == codes.FailedPrecondition:
		outcome = eventRefused
	}
	g.config.Metrics.events.Inc(eventForwarded)
	g.config.Metrics.forward.Observe(took.Seconds(), outcome)
	g.config.Log.Info("gateway: forwarded", it.digest.attr(), slog.Int("size", len(envelope)),
		slog.String("outcome", outcome), slog.String("code", status.Code(err).String()), slog.Duration("duration", took))
	// What the enclave has said is kept, however little time is left.
	keep := context.WithoutCancel(ctx)
	switch outcome {
	case eventReceipted:
		resp := &cloisterv1.SubmitResponse{
			State: cloisterv1.SubmitResponse_STATE_RECEIPTED, Digest: it.digest[:],
			Receipt: accepted.GetReceipt(), Report: accepted.GetReport(),
		}
		return resp, g.receipted(it, g.shelf.receipt(keep, it.digest, resp)), nil
	case eventRefused:
		reason := status.Convert(err).Message()
		return it.digest.refused(reason), g.refused(it, g.shelf.refuse(keep, it.digest, envelope, reason)), nil
	default:
		return nil, waiting, err
	}
}

// receipted logs a receipt. One that couldn't be kept is asked for again.
func (g *gateway) receipted(it *item, err error) fate {
	if err != nil {
		g.config.Log.Error("gateway: a receipt can't be stored", it.digest.attr(), slog.String("error", err.Error()))
		return waiting
	}
	g.config.Metrics.events.Inc(eventReceipted)
	g.config.Log.Info("gateway: receipted", it.digest.attr())
	return settled
}

// refused logs a refusal. One that couldn't be kept is asked for again.
func (g *gateway) refused(it *item, err error) fate {
	if err != nil {
		g.config.Log.Error("gateway: a refusal can't be stored", it.digest.attr(), slog.String("error", err.Error()))
		return waiting
	}
	g.config.Metrics.events.Inc(eventRefused)
	g.config.Log.Info("gateway: refused", it.digest.attr())
	return settled
}

// Receipt answers what became of an envelope. It doesn't ask the enclave.
func (g *gateway) Receipt(ctx context.Context, req *cloisterv1.ReceiptRequest) (*cloisterv1.SubmitResponse, error) {
	if len(req.GetDigest()) != len(digest{}) {
		return nil, status.Error(codes.InvalidArgument, "a digest has 32 bytes")
	}
	d := digest(req.GetDigest())
	if g.queue.durable(d) {
		return d.pending(), nil
	}
	verdict, err := g.shelf.verdict(ctx, d)
	switch {
	case err != nil:
		return nil, errStore
	case verdict != nil:
		return verdict, nil
	case g.shelf.isAside(d):
		return d.pending(), nil
	}
	// Its receipt was lost since the process began: it is asked for again.
	_, err = g.shelf.read(ctx, d)
	switch {
	case errors.Is(err, objects.ErrNotFound):
		return nil, errUnknown
	case err != nil:
		return nil, errStore
	}
	g.queue.add(d)
	return d.pending(), nil
}

// Health answers the enclave's phase.
func (g *gateway) Health(ctx context.Context, _ *cloisterv1.HealthRequest) (*cloisterv1.HealthResponse, error) {
	health, err := g.enclave.health(ctx)
	if err != nil {
		return &cloisterv1.HealthResponse{Phase: unreachable, Reason: "the enclave doesn't answer"}, nil
	}
	return health, nil
}
