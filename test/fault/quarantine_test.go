package fault_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/vsock"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/test/fleet"
)

// poison is the stream whose envelopes bring the enclave down.
const poison = "poison-5e1f"

// sick is a deployment in which the enclave dies of poison, as it would of a
// fault that one envelope sets off: the moment its bytes come.
type sick struct {
	*crash
	healed atomic.Bool
	deaths atomic.Int32
}

func newSick(t *testing.T) *sick {
	t.Helper()
	s := &sick{crash: newCrash(t, rand.New(rand.NewPCG(*seed, 7)))}
	wire := fleet.NewWire(t, func(port uint32, piece []byte) {
		if port == vsock.PortIngest && bytes.Contains(piece, []byte(poison)) && !s.healed.Load() && s.fleet.PID(stack.Enclave) != 0 {
			s.fleet.Kill(stack.Enclave, syscall.SIGKILL)
			s.deaths.Add(1)
		}
	})
	wire.Between(s.fleet)
	s.fleet.Start()
	s.fleet.Ready()
	return s
}

// revive starts the enclave again whenever it has died, until ctx ends.
func (s *sick) revive(ctx context.Context) {
	for ctx.Err() == nil {
		if s.fleet.PID(stack.Enclave) == 0 {
			s.fleet.Start(stack.Enclave)
		}
		rest(ctx, 10*time.Millisecond)
	}
}

// seal makes a batch of a stream.
func (s *sick) seal(stream string) (*client.Sealed, []int64) {
	s.t.Helper()
	sealer, err := s.handler.client.NewSealer(s.t.Context(), s.bundle, "crash", stream)
	if err != nil {
		s.t.Fatal(err)
	}
	defer sealer.Close()
	numbers, records := s.model.draw(s.random, 2)
	sealed, err := sealer.Seal(0, records)
	if err != nil {
		s.t.Fatal(err)
	}
	return sealed, numbers
}

// hand hands a batch over once and demands that it is kept.
func (s *sick) hand(b *client.Sealed) {
	s.t.Helper()
	resp, err := s.handler.gateway.Submit(s.t.Context(), &cloisterv1.SubmitRequest{Envelope: b.Envelope})
	if err != nil || resp.GetState() == cloisterv1.SubmitResponse_STATE_REFUSED {
		s.t.Fatalf("%v, %v", resp.GetState(), err)
	}
}

// state asks what became of a batch.
func (s *sick) state(b *client.Sealed) cloisterv1.SubmitResponse_State {
	resp, err := s.handler.gateway.Receipt(s.t.Context(), &cloisterv1.ReceiptRequest{Digest: b.Digest[:]})
	if err != nil {
		return cloisterv1.SubmitResponse_STATE_UNSPECIFIED
	}
	return resp.GetState()
}

func (s *sick) receipted(b *client.Sealed) bool {
	return fleet.Eventually(func() bool { return s.state(b) == cloisterv1.SubmitResponse_STATE_RECEIPTED })
}

// shown answers the number of parts that a query shows, all of them whole.
func (s *sick) shown() int {
	s.t.Helper()
	s.fleet.Ready()
	return s.model.compare(s.t, s.ask(), nil, true)
}

// TestQuarantine has one envelope bring the enclave down, each time. After a few
// tries it is set aside and reported, the others come through, and an operator
// can have it tried again.
func TestQuarantine(t *testing.T) {
	s := newSick(t)
	ctx, stop := context.WithCancel(t.Context())
	var reviving sync.WaitGroup
	reviving.Go(func() { s.revive(ctx) })
	defer func() { stop(); reviving.Wait() }()

	first, _ := s.seal("first")
	bad, _ := s.seal(poison)
	second, _ := s.seal("second")
	for _, b := range []*client.Sealed{first, bad, second} {
		s.hand(b)
	}
	name := hex.EncodeToString(bad.Digest[:])
	inbox, aside := filepath.Join(s.fleet.Layout().ParentDir(), "inbox", name), filepath.Join(s.fleet.Layout().ParentDir(), "quarantine", name)
	if !fleet.Eventually(func() bool { return exists(aside) && !exists(inbox) }) {
		t.Fatalf("not set aside after %d deaths", s.deaths.Load())
	}
	if !s.receipted(first) || !s.receipted(second) || s.state(bad) != cloisterv1.SubmitResponse_STATE_PENDING {
		t.Errorf("first %v, second %v, the bad one %v", s.state(first), s.state(second), s.state(bad))
	}
	deaths := s.deaths.Load()
	if deaths < 2 || deaths > 5 {
		t.Errorf("set aside after %d deaths", deaths)
	}
	log, err := os.ReadFile(s.fleet.Layout().Log(stack.Parent))
	if err != nil || strings.Count(string(log), "set aside: the enclave went away with an envelope every time") != 1 || !strings.Contains(string(log), name[:16]) {
		t.Errorf("%v; the parent's log doesn't report it once", err)
	}

	// It stays aside through restarts and when its producer sends it again.
	s.fleet.Kill(stack.Parent, syscall.SIGKILL)
	s.fleet.Start(stack.Parent)
	s.fleet.Ready()
	s.hand(bad)
	third, _ := s.seal("third")
	s.hand(third)
	if !s.receipted(third) || s.deaths.Load() != deaths {
		t.Errorf("third %v; %d deaths, then %d", s.state(third), deaths, s.deaths.Load())
	}
	if n := s.shown(); n != 6 {
		t.Errorf("%d parts; want those of three batches", n)
	}

	// An enclave without the fault takes it.
	s.healed.Store(true)
	s.fleet.Kill(stack.Parent, syscall.SIGTERM)
	if err := os.Rename(aside, inbox); err != nil {
		t.Fatal(err)
	}
	s.fleet.Start(stack.Parent)
	if !s.receipted(bad) {
		t.Errorf("back in the inbox it is %v", s.state(bad))
	}
	if n := s.shown(); n != 8 {
		t.Errorf("%d parts; want those of four batches", n)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
