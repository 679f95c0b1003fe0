package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/gateway"
	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

func TestReceiptOutlivesEnclaveAndGateway(t *testing.T) {
	w := newWorld(t)
	w.enclave.start()
	w.up()
	e := envelope("a")
	w.submit(e, receipted)
	w.holds("inbox/"+hexOf(e), e) // the enclave needs it to replay
	w.enclave.kill()
	w.submit(e, receipted)
	w.becomes(e, receipted)
	w.restart()
	w.submit(e, receipted)
	w.becomes(e, receipted)
	if n := w.enclave.seen(e); n != 1 {
		t.Errorf("the enclave was asked %d times", n)
	}
}

func TestPendingIsDurableFirst(t *testing.T) {
	w := newWorld(t)
	w.up()
	e := envelope("a")
	w.submit(e, pending)
	w.holds("inbox/"+hexOf(e), e)
	w.becomes(e, pending)
	w.submit(e, pending)
	w.enclave.start()
	w.becomes(e, receipted)
}

// failing is a store in which one kind of write fails.
type failing struct {
	gateway.Store
	mu     sync.Mutex
	prefix string
	after  bool // fails after the write
	reads  bool // reads fail too
}

func (f *failing) Get(ctx context.Context, name string) ([]byte, error) {
	f.mu.Lock()
	fails := f.reads && strings.HasPrefix(name, f.prefix)
	f.mu.Unlock()
	if fails {
		return nil, errDisk
	}
	return f.Store.Get(ctx, name)
}

var errDisk = errors.New("no space left on the device")

func (f *failing) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	f.mu.Lock()
	fails, after := f.prefix != "" && strings.HasPrefix(name, f.prefix), f.after
	f.mu.Unlock()
	switch {
	case !fails:
		return f.Store.PutIfAbsent(ctx, name, content)
	case after:
		return errors.Join(f.Store.PutIfAbsent(ctx, name, content), errDisk)
	default:
		return errDisk
	}
}

func (f *failing) fail(prefix string, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prefix, f.after, f.reads = prefix, after, false
}

func (f *failing) failReads(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prefix, f.reads = prefix, true
}

func TestStoreFailsBeforePending(t *testing.T) {
	for _, after := range []bool{false, true} {
		w := newWorld(t)
		broken := &failing{Store: w.store}
		w.store = broken
		w.enclave.start()
		w.up()
		broken.fail("inbox/", after)
		e := envelope("a")
		_, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: e})
		if status.Code(err) != codes.Unavailable {
			t.Fatalf("after %v: %v", after, err)
		}
		if n := w.enclave.seen(e); n != 0 {
			t.Errorf("after %v: the enclave got an envelope that may not be durable", after)
		}
		broken.fail("", false)
		w.submit(e, receipted)
	}
}

// TestStoreThatCantBeRead doesn't know what became of an envelope, and says
// neither pending nor unknown.
func TestStoreThatCantBeRead(t *testing.T) {
	for _, prefix := range []string{"receipts/", "refused/", "inbox/"} {
		w := newWorld(t)
		broken := &failing{Store: w.store}
		w.store = broken
		w.enclave.start()
		w.up()
		e, sum := envelope("a"), sha256.Sum256(envelope("a"))
		if prefix != "inbox/" { // Submit needn't read that
			broken.failReads(prefix)
			if resp, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: e}); status.Code(err) != codes.Unavailable {
				t.Errorf("%s: submit: %v, %v", prefix, resp, err)
			}
			w.holds("inbox/"+hexOf(e), nil)
		}
		broken.failReads(prefix)
		if resp, err := w.client.Receipt(t.Context(), &cloisterv1.ReceiptRequest{Digest: sum[:]}); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: receipt: %v, %v", prefix, resp, err)
		}
		broken.fail("", false)
		w.submit(e, receipted)
	}
}

// TestReceiptThatCantBeStored is given to its producer all the same, and asked
// for again until the store takes it.
func TestReceiptThatCantBeStored(t *testing.T) {
	w := newWorld(t)
	broken := &failing{Store: w.store}
	w.store = broken
	w.enclave.start()
	w.up()
	broken.fail("receipts/", false)
	e := envelope("a")
	w.submit(e, receipted)
	w.becomes(e, pending)
	broken.fail("", false)
	w.becomes(e, receipted)
	w.enclave.kill()
	w.restart()
	w.becomes(e, receipted)
}

// TestBacklog is carried in the order of arrival, one at a time, after the
// enclave has come back, has its keys, and after the gateway's own restart.
func TestBacklog(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			w := newWorld(t)
			w.enclave.set("waiting for keys")
			w.up()
			var names []string
			begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for i := range 12 {
				e := envelope(fmt.Sprint(i))
				w.submit(e, pending)
				names = append(names, hexOf(e))
				// A file system may give several the same time.
				at := begin.Add(time.Duration(i) * time.Second)
				if err := os.Chtimes(filepath.Join(w.dir, "inbox", hexOf(e)), at, at); err != nil {
					t.Fatal(err)
				}
			}
			if restart {
				w.restart()
			}
			w.enclave.start()
			w.eventually("the enclave to be there", func() bool {
				h, err := w.client.Health(t.Context(), &cloisterv1.HealthRequest{})
				return err == nil && h.GetPhase() == "waiting for keys"
			})
			if got := w.enclave.order(); len(got) != 0 {
				t.Errorf("%d envelopes were sent to an enclave without keys", len(got))
			}
			w.enclave.set("ready")
			for i := range 12 {
				w.becomes(envelope(fmt.Sprint(i)), receipted)
			}
			if got := w.enclave.order(); !slices.Equal(got, names) {
				t.Errorf("order %v\nwant %v", got, names)
			}
			if w.enclave.most != 1 {
				t.Errorf("%d at a time", w.enclave.most)
			}
		})
	}
}

func TestRefusal(t *testing.T) {
	w := newWorld(t)
	w.enclave.start()
	w.enclave.behave(func(context.Context, []byte) (*cloisterv1.AcceptResponse, error) {
		return nil, status.Error(codes.FailedPrecondition, "the producer isn't registered")
	})
	w.up()
	e := envelope("a")
	check := func(resp *cloisterv1.SubmitResponse) {
		t.Helper()
		if resp.GetRefusal() != "the producer isn't registered" {
			t.Errorf("refusal %q", resp.GetRefusal())
		}
	}
	check(w.submit(e, refused))
	w.holds("inbox/"+hexOf(e), nil)
	w.holds("refused/"+hexOf(e), e)
	w.holds("refused/"+hexOf(e)+".reason", []byte("the producer isn't registered"))
	w.enclave.behave(nil)
	check(w.submit(e, refused))
	w.restart()
	check(w.submit(e, refused))
	check(w.becomes(e, refused))
	if n := w.enclave.seen(e); n != 1 {
		t.Errorf("the enclave was asked %d times", n)
	}
}

// TestRefusalOfBacklog refuses what was pending, while the store fails at each
// step of the move once.
func TestRefusalOfBacklog(t *testing.T) {
	for _, after := range []bool{false, true} {
		w := newWorld(t)
		broken := &failing{Store: w.store}
		w.store = broken
		w.up()
		bad, good := envelope("bad"), envelope("good")
		w.submit(bad, pending)
		w.submit(good, pending)
		broken.fail("refused/", after)
		w.enclave.behave(func(_ context.Context, got []byte) (*cloisterv1.AcceptResponse, error) {
			if bytes.Equal(got, bad) {
				return nil, status.Error(codes.FailedPrecondition, "not an envelope of version 1")
			}
			return give(got), nil
		})
		w.enclave.start()
		w.eventually("the refusal", func() bool { return w.enclave.seen(bad) > 0 })
		w.holds("inbox/"+hexOf(bad), bad)
		broken.fail("", false)
		w.becomes(good, receipted)
		w.becomes(bad, refused)
		w.eventually("the move", func() bool {
			_, err := os.Stat(filepath.Join(w.dir, "inbox", hexOf(bad)))
			return os.IsNotExist(err)
		})
		w.holds("refused/"+hexOf(bad), bad)
	}
}

// TestCrashBetweenHalves begins where a parent died in the middle of a move.
func TestCrashBetweenHalves(t *testing.T) {
	w := newWorld(t)
	r, q, half := envelope("refused"), envelope("quarantined"), envelope("half refused")
	w.plant("inbox/"+hexOf(r), r)
	w.plant("refused/"+hexOf(r), r)
	w.plant("refused/"+hexOf(r)+".reason", []byte("a reason"))
	w.plant("inbox/"+hexOf(q), q)
	w.plant("quarantine/"+hexOf(q), q)
	w.plant("inbox/"+hexOf(half), half)
	w.plant("refused/"+hexOf(half), half)
	w.plant("inbox/README", []byte("not an envelope"))
	w.enclave.start()
	w.up()
	w.eventually("the refused one to be moved", func() bool {
		_, err := os.Stat(filepath.Join(w.dir, "inbox", hexOf(r)))
		return os.IsNotExist(err)
	})
	w.becomes(r, refused)
	w.holds("inbox/"+hexOf(q), nil)
	w.becomes(q, pending)
	w.becomes(half, receipted) // no reason was kept, so it was asked for
	if w.enclave.seen(r)+w.enclave.seen(q) != 0 {
		t.Error("the enclave was asked again")
	}
	w.holds("inbox/README", []byte("not an envelope"))
}

// TestQuarantine has an envelope that kills the enclave, which is started
// again each time, among others that don't.
func TestQuarantine(t *testing.T) {
	w := newWorld(t)
	killer := envelope("killer")
	w.enclave.behave(func(ctx context.Context, got []byte) (*cloisterv1.AcceptResponse, error) {
		if !bytes.Equal(got, killer) {
			return give(got), nil
		}
		go func() {
			w.enclave.kill()
			w.enclave.start()
		}()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	w.up()
	before, behind := envelope("before"), envelope("behind")
	for _, e := range [][]byte{before, killer, behind} {
		w.submit(e, pending)
	}
	w.enclave.start()
	w.becomes(before, receipted)
	w.becomes(behind, receipted)
	w.becomes(killer, pending)
	w.holds("inbox/"+hexOf(killer), nil)
	w.holds("quarantine/"+hexOf(killer), killer)
	deaths := w.enclave.seen(killer)
	if deaths > 3 {
		t.Errorf("the enclave died %d times", deaths)
	}
	w.submit(killer, pending)
	w.restart()
	w.submit(killer, pending)
	w.becomes(killer, pending)
	w.submit(envelope("later"), receipted)
	if n := w.enclave.seen(killer); n != deaths {
		t.Errorf("it was sent again, %d times", n-deaths)
	}
	if !strings.Contains(w.log.String(), "set aside") || !strings.Contains(w.log.String(), hexOf(killer)) {
		t.Errorf("nothing is logged:\n%s", w.log)
	}
	// Moved back, it is tried after the next start.
	w.down()
	if err := os.Rename(filepath.Join(w.dir, "quarantine", hexOf(killer)), filepath.Join(w.dir, "inbox", hexOf(killer))); err != nil {
		t.Fatal(err)
	}
	w.enclave.behave(nil)
	w.reopen()
	w.up()
	w.becomes(killer, receipted)
}

// TestSuspectIsSentAlone hands in again what the enclave may have died of: only
// the background loop sends it, when the enclave is ready and nobody else is
// with it.
func TestSuspectIsSentAlone(t *testing.T) {
	w := newWorld(t)
	suspect := envelope("suspect")
	w.enclave.behave(func(ctx context.Context, _ []byte) (*cloisterv1.AcceptResponse, error) {
		go func() {
			w.enclave.set("replaying")
			w.enclave.kill()
		}()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	w.up()
	w.submit(suspect, pending)
	w.enclave.start()
	w.eventually("its death to be noticed", func() bool { return strings.Contains(w.log.String(), "went away with an envelope") })
	w.enclave.behave(nil)
	w.enclave.start()
	w.eventually("the enclave", func() bool {
		h, err := w.client.Health(t.Context(), &cloisterv1.HealthRequest{})
		return err == nil && h.GetPhase() == "replaying"
	})
	w.submit(suspect, pending)
	if n := w.enclave.seen(suspect); n != 1 {
		t.Errorf("it was sent %d times", n)
	}
	w.enclave.set("ready")
	w.becomes(suspect, receipted)
}

// TestInnocentBystanders checks that nobody is set aside for being with the
// enclave when another envelope kills it.
func TestInnocentBystanders(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	deaths := 0
	var mu sync.Mutex
	w.enclave.behave(func(ctx context.Context, got []byte) (*cloisterv1.AcceptResponse, error) {
		killer := bytes.Contains(got, []byte("killer"))
		if !killer {
			select {
			case <-release:
				return give(got), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		mu.Lock()
		deaths++
		mu.Unlock()
		go func() {
			w.enclave.kill()
			w.enclave.start()
		}()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	w.config.Wait = 500 * time.Millisecond
	w.up()
	slow := envelope("slow")
	w.submit(slow, pending)
	w.enclave.start()
	// The first of them dies beside the slow one, which the loop holds then.
	for i := range 4 {
		w.eventually("the slow one to be with the enclave", func() bool {
			w.enclave.mu.Lock()
			defer w.enclave.mu.Unlock()
			return w.enclave.inside > 0
		})
		w.submit(envelope(fmt.Sprint("killer ", i)), pending)
	}
	close(release)
	w.becomes(slow, receipted)
	mu.Lock()
	defer mu.Unlock()
	if deaths == 0 {
		t.Error("nothing died")
	}
}

// reopen makes the world's store forget what it knew of the directory.
func (w *world) reopen() {
	w.t.Helper()
	w.store.(*objects.Dir).Close()
	dir, err := objects.Open(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = dir
	w.t.Cleanup(func() { dir.Close() })
}

func TestSameEnvelopeAtOnce(t *testing.T) {
	w := newWorld(t)
	w.enclave.start()
	w.up()
	e := envelope("a")
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			resp, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: e})
			if err != nil || resp.GetState() != receipted {
				t.Errorf("%v, %v", resp.GetState(), err)
			}
		})
	}
	wg.Wait()
	if n := w.enclave.seen(e); n != 1 {
		t.Errorf("the enclave was asked %d times", n)
	}
}

// TestSlowEnclave says pending when the wait is over, also to who hands the
// same envelope in a second time, and has the receipt later.
func TestSlowEnclave(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.enclave.behave(func(ctx context.Context, got []byte) (*cloisterv1.AcceptResponse, error) {
		select {
		case <-release:
			return give(got), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	w.config.Wait = 100 * time.Millisecond
	w.enclave.start()
	w.up()
	e := envelope("a")
	w.submit(e, pending)
	w.eventually("the background loop to have it", func() bool { return w.enclave.seen(e) == 2 })
	w.submit(e, pending)
	w.becomes(e, pending)
	close(release)
	w.becomes(e, receipted)
}

// TestMoment has an enclave that can't take one envelope for a while: the
// others don't wait for it.
func TestMoment(t *testing.T) {
	answers := map[string]func() (*cloisterv1.AcceptResponse, error){
		"unavailable": func() (*cloisterv1.AcceptResponse, error) {
			return nil, status.Error(codes.Unavailable, "the enclave can't take envelopes now")
		},
		"internal":   func() (*cloisterv1.AcceptResponse, error) { return nil, errors.New("a word of " + canary) },
		"no receipt": func() (*cloisterv1.AcceptResponse, error) { return &cloisterv1.AcceptResponse{}, nil },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.enclave.start()
			stuck := envelope("stuck")
			w.enclave.behave(func(_ context.Context, got []byte) (*cloisterv1.AcceptResponse, error) {
				if bytes.Equal(got, stuck) {
					return answer()
				}
				return give(got), nil
			})
			w.enclave.set("replaying")
			w.up()
			w.submit(stuck, pending)
			for i := range 5 {
				w.submit(envelope(fmt.Sprint(i)), pending)
			}
			w.enclave.set("ready")
			for i := range 5 {
				w.becomes(envelope(fmt.Sprint(i)), receipted)
			}
			w.eventually("many attempts", func() bool { return w.enclave.seen(stuck) > 5 })
			w.becomes(stuck, pending)
			w.holds("quarantine/"+hexOf(stuck), nil)
			w.enclave.behave(nil)
			w.becomes(stuck, receipted)
		})
	}
}

func TestDamagedReceipt(t *testing.T) {
	w := newWorld(t)
	w.enclave.start()
	w.up()
	for i, damage := range []string{"", "garbage", "\x08\x02", "\x08\x03\x2a\x01x"} {
		e := envelope(fmt.Sprint(i))
		w.submit(e, receipted)
		if err := os.WriteFile(filepath.Join(w.dir, "receipts", hexOf(e)), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		w.becomes(e, receipted)
		if n := w.enclave.seen(e); n != 2 {
			t.Errorf("%q: the enclave was asked %d times", damage, n)
		}
	}
}

// TestDamagedEnvelope keeps an envelope pending whose bytes have changed on the
// disk: what the enclave would say of it isn't said of what was handed in.
func TestDamagedEnvelope(t *testing.T) {
	w := newWorld(t)
	w.up()
	bad, good := envelope("bad"), envelope("good")
	w.submit(bad, pending)
	w.submit(good, pending)
	if err := os.WriteFile(filepath.Join(w.dir, "inbox", hexOf(bad)), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.enclave.start()
	w.becomes(good, receipted)
	w.becomes(bad, pending)
	if n := w.enclave.seen([]byte("changed")); n != 0 {
		t.Error("the enclave got changed bytes")
	}
	w.submit(bad, receipted) // its producer still has the right ones
}

func TestGoneEnvelope(t *testing.T) {
	w := newWorld(t)
	w.up()
	gone, good := envelope("gone"), envelope("good")
	w.submit(gone, pending)
	w.submit(good, pending)
	if err := os.Remove(filepath.Join(w.dir, "inbox", hexOf(gone))); err != nil {
		t.Fatal(err)
	}
	w.enclave.start()
	w.becomes(good, receipted)
	sum := sha256.Sum256(gone)
	w.eventually("it to be unknown", func() bool {
		_, err := w.client.Receipt(t.Context(), &cloisterv1.ReceiptRequest{Digest: sum[:]})
		return status.Code(err) == codes.NotFound
	})
	w.submit(gone, receipted)
}

func TestReceiptRefuses(t *testing.T) {
	w := newWorld(t)
	w.up()
	for _, tt := range []struct {
		digest []byte
		want   codes.Code
	}{
		{nil, codes.InvalidArgument},
		{make([]byte, 31), codes.InvalidArgument},
		{make([]byte, 33), codes.InvalidArgument},
		{make([]byte, 32), codes.NotFound},
	} {
		if resp, err := w.client.Receipt(t.Context(), &cloisterv1.ReceiptRequest{Digest: tt.digest}); status.Code(err) != tt.want {
			t.Errorf("%d bytes: %v, %v; want %v", len(tt.digest), resp, err, tt.want)
		}
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	w.up()
	phase := func() string {
		h, err := w.client.Health(t.Context(), &cloisterv1.HealthRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if (h.GetPhase() == "unreachable") != (h.GetReason() == "the enclave doesn't answer") {
			t.Errorf("phase %q, reason %q", h.GetPhase(), h.GetReason())
		}
		return h.GetPhase()
	}
	if got := phase(); got != "unreachable" {
		t.Errorf("without an enclave: %q", got)
	}
	w.enclave.set("refused by KMS")
	w.enclave.start()
	w.eventually("the enclave's phase", func() bool { return phase() == "refused by KMS" })
	w.enclave.set("ready")
	if got := phase(); got != "ready" {
		t.Errorf("ready: %q", got)
	}
	w.enclave.kill()
	w.eventually("the end of the enclave", func() bool { return phase() == "unreachable" })
}

func TestConfig(t *testing.T) {
	dial := func(context.Context) (net.Conn, error) { return nil, errors.New("no enclave here") }
	dir, err := objects.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]gateway.Config{
		"no store":  {Dial: dial, Log: log},
		"no way":    {Store: dir, Log: log},
		"no log":    {Store: dir, Dial: dial},
		"negative":  {Store: dir, Dial: dial, Log: log, MaxSubmits: -1},
		"negative2": {Store: dir, Dial: dial, Log: log, Wait: -1},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := gateway.Serve(t.Context(), listener, c); err == nil {
			t.Errorf("%s: served", name)
		}
		if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the listener is open", name)
		}
	}
}

// unlistable is a store whose directory can't be read.
type unlistable struct{ gateway.Store }

func (unlistable) Entries(context.Context, string) ([]objects.Entry, error) { return nil, errDisk }

func TestStoreThatCantBeListed(t *testing.T) {
	w := newWorld(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := w.config
	c.Store, c.Log = unlistable{w.store}, slog.New(slog.DiscardHandler)
	if err := gateway.Serve(t.Context(), listener, c); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}

func TestSizes(t *testing.T) {
	w := newWorld(t)
	w.enclave.start()
	w.up()
	for _, tt := range []struct {
		size int
		want codes.Code
	}{
		{0, codes.InvalidArgument},
		{limits.Envelope + 1, codes.InvalidArgument},
		{limits.Message + 1, codes.ResourceExhausted}, // gRPC's own limit, before it is read
		{limits.Envelope, codes.OK},
		{1, codes.OK},
	} {
		e := make([]byte, tt.size)
		if _, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: e}); status.Code(err) != tt.want {
			t.Errorf("%d bytes: %v, want %v", tt.size, err, tt.want)
		}
		if tt.want != codes.OK {
			w.holds("inbox/"+hexOf(e), nil)
		}
	}
}
