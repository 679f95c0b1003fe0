package client_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/client/spool"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/receipt"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/test/rig"
)

// liar is a gateway that passes everything on and changes what comes back.
type liar struct {
	cloisterv1.UnsafeGatewayServer
	real   cloisterv1.GatewayClient
	change func(*cloisterv1.SubmitResponse) (*cloisterv1.SubmitResponse, error)
}

func (l *liar) Submit(ctx context.Context, req *cloisterv1.SubmitRequest) (*cloisterv1.SubmitResponse, error) {
	resp, err := l.real.Submit(ctx, req)
	if err != nil {
		return nil, err
	}
	return l.change(resp)
}

func (l *liar) Receipt(ctx context.Context, req *cloisterv1.ReceiptRequest) (*cloisterv1.SubmitResponse, error) {
	resp, err := l.real.Receipt(ctx, req)
	if err != nil {
		return nil, err
	}
	return l.change(resp)
}

func (l *liar) Health(ctx context.Context, req *cloisterv1.HealthRequest) (*cloisterv1.HealthResponse, error) {
	return l.real.Health(ctx, req)
}

// lying puts a liar before the study's gateway and answers its address.
func (s *study) lying(change func(*cloisterv1.SubmitResponse) (*cloisterv1.SubmitResponse, error)) string {
	s.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.front, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	check(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	return s.serve(func(ctx context.Context, l net.Listener) error {
		server := grpc.NewServer(grpc.MaxRecvMsgSize(limits.Message))
		cloisterv1.RegisterGatewayServer(server, &liar{real: cloisterv1.NewGatewayClient(conn), change: change})
		context.AfterFunc(ctx, server.Stop)
		return server.Serve(l)
	})
}

// TestHostileGateway: no lie of the gateway is counted, kept, or believed by a
// later run.
func TestHostileGateway(t *testing.T) {
	s := newStudy(t, small)
	_, forger, err := ed25519.GenerateKey(nil)
	check(t, err)
	resigned := func(resp *cloisterv1.SubmitResponse, key ed25519.PrivateKey, change func(*receipt.Receipt)) {
		r, err := receipt.Verify(resp.GetReceipt(), s.state.ServicePublicKey())
		check(t, err)
		change(r)
		resp.Receipt, err = receipt.Sign(*r, key)
		check(t, err)
	}
	var before *cloisterv1.SubmitResponse
	for _, c := range []struct {
		name string
		lie  func(resp *cloisterv1.SubmitResponse)
		want string
	}{
		{"no receipt", func(r *cloisterv1.SubmitResponse) { r.Receipt = nil }, "isn't the enclave's"},
		{"a bit", func(r *cloisterv1.SubmitResponse) { r.Receipt[len(r.Receipt)/2] ^= 1 }, "isn't the enclave's"},
		{"another signer", func(r *cloisterv1.SubmitResponse) { resigned(r, forger, func(*receipt.Receipt) {}) }, "isn't the enclave's"},
		{"another batch's", func(r *cloisterv1.SubmitResponse) { r.Receipt, r.Report = before.Receipt, before.Report }, "for another batch"},
		{"no report", func(r *cloisterv1.SubmitResponse) { r.Report = nil }, "for another batch"},
		{"a bit of the report", func(r *cloisterv1.SubmitResponse) { r.Report[50] ^= 1 }, "for another batch"},
		{"no state", func(r *cloisterv1.SubmitResponse) { r.State = 0 }, "something else"},
		{"an unknown state", func(r *cloisterv1.SubmitResponse) { r.State = 17 }, "something else"},
	} {
		front := s.lying(func(resp *cloisterv1.SubmitResponse) (*cloisterv1.SubmitResponse, error) {
			if resp.GetState() == cloisterv1.SubmitResponse_STATE_RECEIPTED {
				c.lie(resp)
			}
			return resp, nil
		})
		lied := s.producer(20*time.Second, func(c *client.Config) { c.Gateway = front })
		job := submission(csvOf(10))
		job.Stream = strings.NewReplacer(" ", "-", "'", "").Replace(c.name)
		if before == nil {
			first, err := s.producer(20*time.Second, nil).Submit(t.Context(), submission(csvOf(9)))
			check(t, err)
			before = s.answer(first.Receipts[0].Envelope)
		}
		sum, err := lied.Submit(t.Context(), job)
		if err == nil || errors.Is(err, client.ErrUsage) || errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if sum.Accepted != 0 || len(sum.Receipts) != 0 {
			t.Errorf("%s: %+v", c.name, of(sum))
		}
		job.Input = strings.NewReader(csvOf(10))
		honest, err := s.producer(20*time.Second, nil).Submit(t.Context(), job)
		check(t, err)
		if of(honest) != (totals{10, 9, 1, 0, 0}) {
			t.Errorf("%s, then the truth: %+v", c.name, of(honest))
		}
	}
}

// answer is what the gateway holds for an envelope.
func (s *study) answer(envelope string) *cloisterv1.SubmitResponse {
	s.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.front, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	check(s.t, err)
	defer conn.Close()
	digest := make([]byte, 32)
	_, err = fmt.Sscanf(envelope, "%x", &digest)
	check(s.t, err)
	resp, err := cloisterv1.NewGatewayClient(conn).Receipt(s.t.Context(), &cloisterv1.ReceiptRequest{Digest: digest})
	check(s.t, err)
	return resp
}

// TestReceiptsWithoutEnclave: a receipt that nobody can check isn't counted,
// and is once the enclave is back.
func TestReceiptsWithoutEnclave(t *testing.T) {
	s := newStudy(t, nil)
	s.leave()
	away := s.producer(0, nil)
	_, err := away.Submit(t.Context(), submission(csvOf(10)))
	check(t, err)
	// The gateway reaches the enclave; the producer doesn't.
	s.away.Store(false)
	s.closeGateway()
	s.openGateway()
	deaf := s.producer(5*time.Second, func(c *client.Config) { c.Attested = "127.0.0.1:1" })
	for s.counted.Load() == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	deaf.Wait = 0
	sums, err := deaf.Receipts(t.Context(), "")
	check(t, err)
	if len(sums) != 1 || of(sums[0]) != (totals{10, 0, 0, 10, 0}) {
		t.Errorf("unchecked: %+v", sums)
	}
	sums, err = s.producer(20*time.Second, nil).Receipts(t.Context(), "")
	check(t, err)
	if len(sums) != 1 || of(sums[0]) != (totals{10, 9, 1, 0, 0}) {
		t.Errorf("checked: %+v", sums)
	}
	// What was checked once counts without an enclave, too.
	sums, err = deaf.Receipts(t.Context(), sums[0].Stream)
	check(t, err)
	if len(sums) != 1 || of(sums[0]) != (totals{10, 9, 1, 0, 0}) {
		t.Errorf("checked before: %+v", sums)
	}
}

// TestGatewayForgets: what the gateway has lost is handed over again.
func TestGatewayForgets(t *testing.T) {
	s := newStudy(t, nil)
	s.leave()
	_, err := s.producer(0, nil).Submit(t.Context(), submission(csvOf(10)))
	check(t, err)
	s.closeGateway()
	entries, err := s.store.Entries(t.Context(), "inbox/")
	check(t, err)
	if len(entries) != 1 {
		t.Fatalf("%v", entries)
	}
	check(t, s.store.Delete(t.Context(), entries[0].Name))
	s.away.Store(false)
	s.openGateway()
	sums, err := s.producer(20*time.Second, nil).Receipts(t.Context(), "")
	check(t, err)
	if len(sums) != 1 || of(sums[0]) != (totals{10, 9, 1, 0, 0}) {
		t.Errorf("%+v", sums)
	}
}

// TestDamagedSpool: a damaged batch is never sent, and the others are.
func TestDamagedSpool(t *testing.T) {
	s := newStudy(t, nil)
	s.leave()
	for _, name := range []string{"one", "two"} {
		job := submission(csvOf(10))
		job.Stream = name
		_, err := s.producer(0, nil).Submit(t.Context(), job)
		check(t, err)
	}
	files := sealedFiles(t, s)
	b, err := os.ReadFile(files[0])
	check(t, err)
	b[len(b)/2] ^= 1
	check(t, os.WriteFile(files[0], b, 0o600))
	s.away.Store(false)
	sums, err := s.producer(20*time.Second, nil).Receipts(t.Context(), "")
	if !errors.Is(err, spool.ErrDamaged) || !errors.Is(err, client.ErrUsage) || !strings.Contains(err.Error(), files[0]) {
		t.Errorf("%v", err)
	}
	if len(sums) != 1 || of(sums[0]) != (totals{10, 9, 1, 0, 0}) {
		t.Errorf("the other: %+v", sums)
	}
}

// TestSwappedSpool: a batch that is whole and stands in another stream's place
// isn't sent.
func TestSwappedSpool(t *testing.T) {
	s := newStudy(t, nil)
	s.leave()
	for _, name := range []string{"one", "two"} {
		job := submission(csvOf(10))
		job.Stream = name
		_, err := s.producer(0, nil).Submit(t.Context(), job)
		check(t, err)
	}
	files := sealedFiles(t, s)
	b, err := os.ReadFile(files[0])
	check(t, err)
	check(t, os.WriteFile(files[1], b, 0o600))
	s.away.Store(false)
	sums, err := s.producer(20*time.Second, nil).Receipts(t.Context(), "")
	if !errors.Is(err, spool.ErrDamaged) || len(sums) != 1 {
		t.Errorf("%+v: %v", sums, err)
	}
}

// TestBusyGateway: one that has no room now is tried again.
func TestBusyGateway(t *testing.T) {
	s := newStudy(t, nil)
	calls := 0
	front := s.lying(func(resp *cloisterv1.SubmitResponse) (*cloisterv1.SubmitResponse, error) {
		if calls++; calls < 3 {
			return nil, status.Error(codes.ResourceExhausted, "busy")
		}
		return resp, nil
	})
	sum, err := s.producer(20*time.Second, func(c *client.Config) { c.Gateway = front }).Submit(t.Context(), submission(csvOf(10)))
	check(t, err)
	if of(sum) != (totals{10, 9, 1, 0, 0}) || calls < 3 {
		t.Errorf("%+v after %d calls", of(sum), calls)
	}
}

// TestGatewaySubmit hands over bytes that aren't an envelope any more.
func TestGatewaySubmit(t *testing.T) {
	s := newStudy(t, nil)
	c := s.producer(20*time.Second, nil)
	sealer, err := c.NewSealer(t.Context(), s.rig.Bundle, rig.Dataset, "tampered")
	check(t, err)
	defer sealer.Close()
	batches, err := client.Batches(strings.NewReader(csvOf(10)), client.CSV, &s.rig.Bundle.Datasets[0].Contract, 0)
	check(t, err)
	sealed, err := sealer.Seal(0, batches[0])
	check(t, err)
	g, err := c.Gateway()
	check(t, err)
	defer g.Close()
	if sealed.Digest != sha256.Sum256(sealed.Envelope) || sealed.Rows != 10 {
		t.Errorf("%d rows", sealed.Rows)
	}
	sealed.Envelope[len(sealed.Envelope)-100] ^= 1
	resp, err := g.Submit(t.Context(), sealed.Envelope)
	check(t, err)
	if resp.GetState() != cloisterv1.SubmitResponse_STATE_REFUSED {
		t.Errorf("%v", resp.GetState())
	}
}

// TestNoRight: the right to the dataset is the bundle's to give.
func TestNoRight(t *testing.T) {
	s := newStudy(t, func(b *bundle.Bundle) {
		second := b.Datasets[0]
		second.Contract.Dataset, second.Contract.ID = "other", "other"
		b.Datasets = append(b.Datasets, second)
	})
	job := submission(csvOf(10))
	job.Dataset = "other"
	var refused *client.NotEntitledError
	if _, err := s.producer(0, nil).Submit(t.Context(), job); !errors.As(err, &refused) || !strings.Contains(err.Error(), "no right to dataset other") {
		t.Errorf("%v", err)
	}
}

// TestSpoolErrors: each is the caller's, and says what to do.
func TestSpoolErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"full disk":  {fmt.Errorf("spool: %w", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}), "no space left for the spool in /spool: free some"},
		"quota":      {syscall.EDQUOT, "no space left for the spool in /spool"},
		"full spool": {spool.ErrFull, "cloister receipts"},
		"busy":       {spool.ErrBusy, "another process submits this stream"},
		"other":      {spool.ErrOtherInput, "another --stream NAME"},
		"damaged":    {spool.ErrDamaged, "restore it"},
		"permission": {fs.ErrPermission, "another --spool DIR"},
		"read-only":  {syscall.EROFS, "another --spool DIR"},
		"else":       {errors.New("else"), "else"},
	} {
		if err := client.SpoolError("/spool", c.err); !errors.Is(err, client.ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := client.SpoolError("/spool", nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// TestSpoolDir: a context's own, or one in the user's state directory.
func TestSpoolDir(t *testing.T) {
	s := newStudy(t, nil)
	for _, c := range []struct {
		name, state, home, spool, deployment string
		want                                 string
	}{
		{"context, relative", "/state", "/home/ada", "spool", rig.Deployment, s.file("spool")},
		{"context, absolute", "/state", "/home/ada", "/spool", rig.Deployment, "/spool"},
		{"state", "/state", "/home/ada", "", rig.Deployment, "/state/cloister/spool/colon-study"},
		{"home", "", "/home/ada", "", rig.Deployment, "/home/ada/.local/state/cloister/spool/colon-study"},
		{"relative state counts as none", "state", "/home/ada", "", rig.Deployment, "/home/ada/.local/state/cloister/spool/colon-study"},
		{"nothing", "", "", "", rig.Deployment, ""},
		{"no deployment", "/state", "/home/ada", "", "", ""},
		{"not a name", "/state", "/home/ada", "", "../up", ""},
	} {
		t.Setenv("XDG_STATE_HOME", c.state)
		t.Setenv("HOME", c.home)
		got := s.producer(0, func(config *client.Config) { config.Spool, config.Deployment = c.spool, c.deployment }).SpoolDir()
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
