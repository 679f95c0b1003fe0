package enclave

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/host"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/intake"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/enclave/state"
)

// refusedEvery is the pause after KMS refused: its policy may change.
const refusedEvery = 15 * time.Second

// obstacle is why the enclave can't go on now, in constant words that the
// parent may read.
type obstacle struct {
	cause  error
	phase  server.Phase
	reason string
}

// obstacles are what may go away without another boot, the first that fits
// counts.
func obstacles() []obstacle {
	return []obstacle{
		{kms.ErrDenied, server.Refused, "the key policy doesn't name this image with this bundle"},
		{kms.ErrCiphertext, server.Refused, "KMS can't open a stored data key: it is damaged, or another KMS key's"},
		{kms.ErrRefused, server.Refused, "KMS refuses a key: it is disabled, deleted or unknown, or KMS doesn't take this enclave's evidence"},
		{kms.ErrAnswer, server.Waiting, "KMS's answers can't be used"},
		{kms.ErrUnavailable, server.Waiting, "KMS doesn't answer"},
		{host.ErrUnavailable, server.Waiting, "the parent's store doesn't answer"},
	}
}

// persist repeats f until it succeeds or its error is final, and shows
// meanwhile what is in the way. A refusal is asked again at a slow pace.
func (e *Enclave) persist(ctx context.Context, phase server.Phase, f func() error, final func(error) bool) error {
	e.paths.Set(phase, "")
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		err := f()
		if err == nil || final(err) || ctx.Err() != nil {
			return err
		}
		o := obstacle{phase: server.Waiting, reason: "KMS or the parent's store doesn't answer"}
		for _, known := range obstacles() {
			if errors.Is(err, known.cause) {
				o = known
				break
			}
		}
		e.paths.Set(o.phase, o.reason)
		if o.phase == server.Refused {
			e.config.Say(SayRefused)
			e.config.Say(Because(err))
			pause = refusedEvery
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// passing says whether an error of replay may go away.
func passing(err error) bool {
	for _, known := range obstacles() {
		if errors.Is(err, known.cause) {
			return true
		}
	}
	return false
}

// failure answers why replay failed for good, in constant words.
func failure(err error) string {
	for _, known := range []struct {
		cause  error
		reason string
	}{
		{ingest.ErrSuccession, "a contract in the bundle doesn't allow all that its older version did, of which records are stored"},
		{ingest.ErrReplay, "an envelope in the parent's inbox isn't the one that was accepted"},
		{state.ErrNotFound, "an accepted envelope is gone from the parent's inbox"},
		{state.ErrCorrupt, "a contract that stored records were judged by is gone or changed in the parent's store"},
		{intake.ErrCorrupt, "an intake key in the parent's store is damaged"},
		{intake.ErrUnknown, "an intake key that stored records were sealed to is gone from the parent's store"},
		{audit.ErrCorrupt, "the audit log in the parent's store isn't whole"},
		{audit.ErrFork, "another enclave writes to the audit log"},
	} {
		if errors.Is(err, known.cause) {
			return known.reason
		}
	}
	return "what was accepted can't be replayed"
}

// openState tries until KMS and the parent give what is needed.
func (e *Enclave) openState(ctx context.Context) (*state.State, error) {
	keys := stateKeys{kms: countedKMS{e.kms, e.counts}, arn: e.bundle.KMS.StateKeyARN, context: map[string]string{"deployment": e.bundle.Deployment, "purpose": "state"}}
	var s *state.State
	err := e.persist(ctx, server.Waiting, func() error {
		var err error
		s, err = state.Open(ctx, state.Config{Objects: e.host, Keys: keys, Deployment: e.bundle.Deployment, Now: e.clock.Now})
		return err
	}, func(err error) bool { return errors.Is(err, state.ErrCorrupt) || errors.Is(err, state.ErrFork) })
	return s, err
}

// openLog opens the audit log over an open state.
func (e *Enclave) openLog(ctx context.Context, s *state.State) (*audit.Log, error) {
	var log *audit.Log
	err := e.persist(ctx, server.Replaying, func() error {
		var err error
		log, err = audit.Open(ctx, audit.Config{Objects: e.host, Sealer: s, Now: e.clock.Now})
		return err
	}, func(err error) bool { return !passing(err) })
	return log, err
}

// replay brings back every accepted envelope in the order of acceptance. A
// dataset that the bundle doesn't hold any more keeps its envelopes, unopened.
func (e *Enclave) replay(ctx context.Context, s *state.State, in *ingest.Ingest) error {
	for _, a := range s.Accepted() {
		if _, ok := e.bundle.Dataset(a.Dataset); !ok {
			continue
		}
		err := e.persist(ctx, server.Replaying, func() error {
			raw, err := e.host.Get(ctx, inboxName(a.Envelope))
			if err != nil {
				return err
			}
			return in.Replay(ctx, a, raw)
		}, func(err error) bool { return !passing(err) })
		if err != nil {
			return fmt.Errorf("enclave: replay: %w", err)
		}
	}
	return nil
}
