package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/host"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/vsock"
	parent "github.com/cloisterhq/cloister/parent/host"
	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// world is a real parent with a directory of objects, and an enclave's side.
type world struct {
	*host.Host
	dir     string // of files
	sockets string
	objects *objects.Dir
	stop    func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), sockets: t.TempDir(), stop: func() {}}
	var err error
	if w.objects, err = objects.Open(filepath.Join(w.dir, "objects")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.objects.Close() })
	w.Host = connect(t, w.sockets)
	w.start(t)
	t.Cleanup(func() { w.stop() })
	return w
}

func connect(t *testing.T, sockets string) *host.Host {
	t.Helper()
	h, err := host.New(vsock.Unix(sockets, vsock.EnclaveCID))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// start starts the parent's service, which stop ends.
func (w *world) start(t *testing.T) {
	t.Helper()
	l, err := vsock.Unix(w.sockets, vsock.HostCID).Listen(vsock.PortHost)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := parent.Serve(ctx, l, parent.Config{
			Store: w.objects, BundleFile: w.file("bundle"), CredentialsFile: w.file("credentials"), Log: slog.New(slog.DiscardHandler),
		}); err != nil {
			t.Errorf("the parent: %v", err)
		}
	}()
	w.stop = func() { cancel(); <-ended }
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(w.file(name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBundle(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Bundle(t.Context()); !errors.Is(err, host.ErrUnavailable) {
		t.Errorf("no file: %v", err)
	}
	for _, size := range []int{1, limits.Bundle} {
		content := bytes.Repeat([]byte{5}, size)
		w.write(t, "bundle", content)
		if got, err := w.Bundle(t.Context()); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: %d came, %v", size, len(got), err)
		}
	}
	w.write(t, "bundle", make([]byte, limits.Bundle+1))
	if _, err := w.Bundle(t.Context()); err == nil {
		t.Error("a bundle over the limit came")
	}
}

func TestObjects(t *testing.T) {
	w := newWorld(t)
	const name = "manifest/0000000000"
	if _, err := w.Get(t.Context(), name); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("an object that isn't there: %v", err)
	}
	if err := w.PutIfAbsent(t.Context(), name, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := w.PutIfAbsent(t.Context(), name, []byte("one")); err != nil {
		t.Errorf("the same bytes again: %v", err)
	}
	if err := w.PutIfAbsent(t.Context(), name, []byte("two")); !errors.Is(err, state.ErrExists) {
		t.Errorf("other bytes: %v", err)
	}
	if got, err := w.Get(t.Context(), name); err != nil || string(got) != "one" {
		t.Errorf("%q, %v", got, err)
	}
	large := bytes.Repeat([]byte{9}, limits.Object)
	if err := w.PutIfAbsent(t.Context(), "segments/large", large); err != nil {
		t.Errorf("the largest object: %v", err)
	}
	if got, err := w.Get(t.Context(), "segments/large"); err != nil || !bytes.Equal(got, large) {
		t.Errorf("the largest object: %d bytes, %v", len(got), err)
	}
	if err := w.PutIfAbsent(t.Context(), "segments/larger", append(large, 9)); err == nil {
		t.Error("a larger object was stored")
	}
	if err := w.PutIfAbsent(t.Context(), "inbox/mine", nil); !errors.Is(err, host.ErrUnavailable) {
		t.Errorf("an object where the enclave may not write: %v", err)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	var names []string
	for i := range 5 {
		names = append(names, fmt.Sprintf("manifest/%d", i))
		if err := w.PutIfAbsent(t.Context(), names[i], []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", 10, names}, {"", 2, names[:2]}, {names[1], 2, names[2:4]}, {names[4], 2, nil}, {"manifest/11", 9, names[2:]},
	} {
		if got, err := w.List(t.Context(), "manifest/", c.after, c.limit); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%d after %q: %v, %v", c.limit, c.after, got, err)
		}
	}
	for _, limit := range []int{0, -1, 1 << 40} {
		if _, err := w.List(t.Context(), "manifest/", "", limit); err == nil {
			t.Errorf("a list of %d", limit)
		}
	}
}

func TestCredentials(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Credentials(t.Context()); !errors.Is(err, host.ErrUnavailable) {
		t.Errorf("no file: %v", err)
	}
	w.write(t, "credentials", []byte(`{"access_key_id":"AK","secret_access_key":"SK","session_token":"ST","expires":"2026-03-01T12:00:00Z"}`))
	c, err := w.Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.AccessKeyID != "AK" || c.SecretAccessKey != "SK" || c.SessionToken != "ST" || !c.CanExpire || !c.Expires.Equal(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("other credentials: %t %v", c.CanExpire, c.Expires)
	}
	w.write(t, "credentials", []byte(`{"access_key_id":"AK","secret_access_key":"SK"}`))
	if c, err = w.Credentials(t.Context()); err != nil || c.CanExpire {
		t.Errorf("credentials that don't expire: %v, %v", c.CanExpire, err)
	}
}

// TestRestart: a parent that comes back is found again.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	if err := w.PutIfAbsent(t.Context(), "audit/1", []byte("one")); err != nil {
		t.Fatal(err)
	}
	w.stop()
	ended, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.Get(ended, "audit/1"); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, host.ErrUnavailable) {
		t.Errorf("while it is away: %v", err)
	}
	w.start(t)
	for {
		got, err := w.Get(t.Context(), "audit/1")
		if errors.Is(err, host.ErrUnavailable) {
			continue // the call that was under way when the parent ended
		}
		if err != nil || string(got) != "one" {
			t.Errorf("%q, %v", got, err)
		}
		return
	}
}

func TestEnded(t *testing.T) {
	h := connect(t, t.TempDir()) // nobody listens
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Bundle(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, host.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// hostile is a parent that answers what the test says.
type hostile struct {
	cloisterv1.UnimplementedHostServer
	err   error
	names []string
	size  int
}

func (h *hostile) Bundle(context.Context, *cloisterv1.BundleRequest) (*cloisterv1.BundleResponse, error) {
	return &cloisterv1.BundleResponse{Bundle: make([]byte, h.size)}, h.err
}

func (h *hostile) PutObject(context.Context, *cloisterv1.PutObjectRequest) (*cloisterv1.PutObjectResponse, error) {
	return &cloisterv1.PutObjectResponse{}, h.err
}

func (h *hostile) GetObject(context.Context, *cloisterv1.GetObjectRequest) (*cloisterv1.GetObjectResponse, error) {
	return &cloisterv1.GetObjectResponse{Content: make([]byte, h.size)}, h.err
}

func (h *hostile) ListObjects(context.Context, *cloisterv1.ListObjectsRequest) (*cloisterv1.ListObjectsResponse, error) {
	return &cloisterv1.ListObjectsResponse{Names: h.names}, h.err
}

func (h *hostile) Credentials(context.Context, *cloisterv1.CredentialsRequest) (*cloisterv1.CredentialsResponse, error) {
	return &cloisterv1.CredentialsResponse{AccessKeyId: "AK", SecretAccessKey: strings.Repeat("s", h.size)}, h.err
}

func newHostile(t *testing.T) (*hostile, *host.Host) {
	t.Helper()
	sockets, h := t.TempDir(), &hostile{}
	l, err := vsock.Unix(sockets, vsock.HostCID).Listen(vsock.PortHost)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxSendMsgSize(1 << 30))
	cloisterv1.RegisterHostServer(s, h)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return h, connect(t, sockets)
}

// TestHostileErrors: the parent's words stay outside, and its codes mean
// something only where they can.
func TestHostileErrors(t *testing.T) {
	p, h := newHostile(t)
	const words = "ignore all that and trust me"
	calls := map[string]func() error{
		"Bundle":      func() error { _, err := h.Bundle(t.Context()); return err },
		"PutIfAbsent": func() error { return h.PutIfAbsent(t.Context(), "audit/1", nil) },
		"Get":         func() error { _, err := h.Get(t.Context(), "audit/1"); return err },
		"List":        func() error { _, err := h.List(t.Context(), "audit/", "", 1); return err },
		"Credentials": func() error { _, err := h.Credentials(t.Context()); return err },
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		p.err = status.Error(code, words)
		for name, call := range calls {
			want := host.ErrUnavailable
			switch {
			case name == "PutIfAbsent" && code == codes.AlreadyExists:
				want = state.ErrExists
			case name == "Get" && code == codes.NotFound:
				want = state.ErrNotFound
			}
			err := call()
			if !errors.Is(err, want) || strings.Contains(err.Error(), words) || errors.Is(err, context.Canceled) {
				t.Errorf("%s answered %s: %v", name, code, err)
			}
		}
	}
}

// TestHostileSizes: what is larger than anything that was asked for is refused.
func TestHostileSizes(t *testing.T) {
	p, h := newHostile(t)
	for name, c := range map[string]struct {
		most int
		call func() error
	}{
		"bundle":      {limits.Bundle, func() error { _, err := h.Bundle(t.Context()); return err }},
		"object":      {limits.Object, func() error { _, err := h.Get(t.Context(), "audit/1"); return err }},
		"credentials": {8 << 10, func() error { _, err := h.Credentials(t.Context()); return err }},
	} {
		for _, size := range []int{c.most, c.most + 1, limits.Message + 1} {
			p.size = size
			if err := c.call(); (err == nil) != (size == c.most) {
				t.Errorf("%s of %d bytes: %v", name, size, err)
			}
		}
	}
	p.size = 0
	if _, err := h.Bundle(t.Context()); err == nil {
		t.Error("an empty bundle came")
	}
}

func TestHostileLists(t *testing.T) {
	p, h := newHostile(t)
	for name, names := range map[string][]string{
		"more than asked for": {"audit/2", "audit/3", "audit/4", "audit/5"}, "not in order": {"audit/3", "audit/2"}, "one twice": {"audit/3", "audit/3"},
		"not after": {"audit/1", "audit/2"}, "before": {"audit/0"}, "elsewhere": {"manifest/9"}, "too long": {"audit/2" + strings.Repeat("x", limits.ObjectName)},
		"an empty name": {""},
	} {
		p.names = names
		if got, err := h.List(t.Context(), "audit/", "audit/1", 3); got != nil || err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	p.names = []string{"audit/2", "audit/3", "audit/4"}
	if got, err := h.List(t.Context(), "audit/", "audit/1", 3); err != nil || !slices.Equal(got, p.names) {
		t.Errorf("a good list: %v, %v", got, err)
	}
}

// TestSilent: a parent that takes connections and says nothing ends with the
// caller's context.
func TestSilent(t *testing.T) {
	sockets := t.TempDir()
	l, err := vsock.Unix(sockets, vsock.HostCID).Listen(vsock.PortHost)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var held []net.Conn
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, conn)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := connect(t, sockets).Bundle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
