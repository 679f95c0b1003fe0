package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// Where things are kept, each under its envelope's digest in hex. An envelope
// that has a receipt stays in the inbox: the enclave needs it to replay.
const (
	inbox    = "inbox/"
	receipts = "receipts/"
	// refused holds envelopes that the enclave refused, and beside each of them
	// the reason: what isn't sent again, unless somebody removes both.
	refused      = "refused/"
	reasonSuffix = ".reason"
	// quarantine holds envelopes with which the enclave went away again and
	// again. Moved back to the inbox, they are tried after the next start.
	quarantine = "quarantine/"
)

// arrival is an envelope that the store holds, and since when.
type arrival struct {
	digest digest
	stored time.Time
}

// shelf keeps envelopes and what became of them.
type shelf struct {
	store Store
	log   *slog.Logger

	mu    sync.Mutex
	aside map[digest]bool // what is in quarantine
}

// openShelf finds what is in quarantine and, in order of arrival, what is in
// the inbox without a receipt.
func openShelf(ctx context.Context, store Store, log *slog.Logger) (*shelf, []arrival, error) {
	s := &shelf{store: store, log: log, aside: map[digest]bool{}}
	aside, err := s.list(ctx, quarantine)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range aside {
		s.aside[a.digest] = true
	}
	answered, err := s.list(ctx, receipts)
	if err != nil {
		return nil, nil, err
	}
	done := make(map[digest]bool, len(answered))
	for _, a := range answered {
		done[a.digest] = true
	}
	all, err := s.list(ctx, inbox)
	if err != nil {
		return nil, nil, err
	}
	var pending []arrival
	for _, a := range all {
		switch {
		case s.aside[a.digest]: // a crash came between the two halves of setAside
			if err := store.Delete(ctx, inbox+a.digest.String()); err != nil {
				return nil, nil, err
			}
		case !done[a.digest]:
			pending = append(pending, a)
		}
	}
	return s, pending, nil
}

// list answers the digests under a prefix and logs names that are none.
func (s *shelf) list(ctx context.Context, prefix string) ([]arrival, error) {
	entries, err := s.store.Entries(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list of %s: %w", prefix, err)
	}
	all := make([]arrival, 0, len(entries))
	for _, e := range entries {
		base := strings.TrimPrefix(e.Name, prefix)
		b, err := hex.DecodeString(base)
		if err != nil || len(b) != len(digest{}) || digest(b).String() != base {
			s.log.Warn("gateway: an object that isn't one of ours", slog.String("name", e.Name))
			continue
		}
		all = append(all, arrival{digest(b), e.Stored})
	}
	return all, nil
}

// keep makes an envelope durable.
func (s *shelf) keep(ctx context.Context, d digest, envelope []byte) error {
	return s.store.PutIfAbsent(ctx, inbox+d.String(), envelope)
}

// read answers an envelope of the inbox.
func (s *shelf) read(ctx context.Context, d digest) ([]byte, error) {
	envelope, err := s.store.Get(ctx, inbox+d.String())
	if err == nil && sha256.Sum256(envelope) != d {
		return nil, errors.New("the bytes of an envelope have changed")
	}
	return envelope, err
}

// verdict answers what the enclave said of an envelope, nil when it hasn't.
func (s *shelf) verdict(ctx context.Context, d digest) (*cloisterv1.SubmitResponse, error) {
	resp, err := s.receipted(ctx, d)
	if err == nil && resp == nil {
		resp, err = s.refusal(ctx, d)
	}
	if err != nil {
		s.log.Error("gateway: the store failed", d.attr(), slog.String("error", err.Error()))
	}
	return resp, err
}

func (s *shelf) receipted(ctx context.Context, d digest) (*cloisterv1.SubmitResponse, error) {
	b, err := s.store.Get(ctx, receipts+d.String())
	switch {
	case errors.Is(err, objects.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	resp := &cloisterv1.SubmitResponse{}
	if proto.Unmarshal(b, resp) != nil || resp.GetState() != cloisterv1.SubmitResponse_STATE_RECEIPTED || string(resp.GetDigest()) != string(d[:]) {
		// The enclave gives the same receipt again when it is asked.
		s.log.Error("gateway: a stored receipt is damaged and removed", d.attr())
		return nil, s.store.Delete(ctx, receipts+d.String())
	}
	return resp, nil
}

func (s *shelf) refusal(ctx context.Context, d digest) (*cloisterv1.SubmitResponse, error) {
	reason, err := s.store.Get(ctx, refused+d.String()+reasonSuffix)
	switch {
	case errors.Is(err, objects.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return d.refused(strings.ToValidUTF8(string(reason), "?")), nil
}

// receipt keeps the enclave's receipt. One that is there already stays: the
// enclave gives the same bytes for the same envelope.
func (s *shelf) receipt(ctx context.Context, d digest, resp *cloisterv1.SubmitResponse) error {
	b, err := proto.Marshal(resp)
	if err != nil {
		return err
	}
	if err := s.store.PutIfAbsent(ctx, receipts+d.String(), b); !errors.Is(err, objects.ErrExists) {
		return err
	}
	return nil
}

// refuse moves an envelope out of the inbox. After a crash in between it is
// still there and its verdict is found, so the move is finished then.
func (s *shelf) refuse(ctx context.Context, d digest, envelope []byte, reason string) error {
	name := refused + d.String()
	if err := s.store.PutIfAbsent(ctx, name, envelope); err != nil {
		return err
	}
	if err := s.store.PutIfAbsent(ctx, name+reasonSuffix, []byte(reason)); err != nil && !errors.Is(err, objects.ErrExists) {
		return err
	}
	return s.store.Delete(ctx, inbox+d.String())
}

// setAside moves an envelope from the inbox to the quarantine.
func (s *shelf) setAside(ctx context.Context, d digest, envelope []byte) error {
	if err := s.store.PutIfAbsent(ctx, quarantine+d.String(), envelope); err != nil {
		return err
	}
	s.mu.Lock()
	s.aside[d] = true
	s.mu.Unlock()
	return s.store.Delete(ctx, inbox+d.String())
}

// isAside says whether an envelope is in quarantine.
func (s *shelf) isAside(d digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.aside[d]
}
