package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent/host"
	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// locked is a buffer for several writers.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// world is a served directory, as an enclave sees it.
type world struct {
	t      testing.TB
	dir    string // of files that aren't objects
	store  host.Store
	log    *locked
	client cloisterv1.HostClient
}

// newWorld serves a fresh directory. wrap, when not nil, stands before it.
func newWorld(t testing.TB, wrap func(host.Store) host.Store) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: &locked{}}
	dir, err := objects.Open(filepath.Join(w.dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	w.store = dir
	if wrap != nil {
		w.store = wrap(dir)
	}
	sockets := t.TempDir()
	listener, err := vsock.Unix(sockets, vsock.HostCID).Listen(vsock.PortHost)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///parent", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return vsock.Unix(sockets, vsock.EnclaveCID).Dial(ctx, vsock.HostCID, vsock.PortHost)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(2*limits.Message), grpc.MaxCallRecvMsgSize(limits.Message)))
	if err != nil {
		t.Fatal(err)
	}
	w.client = cloisterv1.NewHostClient(conn)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- host.Serve(ctx, listener, host.Config{
			Store: w.store, BundleFile: w.file("bundle"), CredentialsFile: w.file("credentials"),
			Log: slog.New(slog.NewTextHandler(w.log, nil)),
		})
	}()
	t.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
		dir.Close()
	})
	return w
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name string, content []byte) {
	w.t.Helper()
	if err := os.WriteFile(w.file(name), content, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(name string, content []byte) error {
	_, err := w.client.PutObject(w.t.Context(), &cloisterv1.PutObjectRequest{Name: name, Content: content})
	return err
}

func (w *world) get(name string) ([]byte, error) {
	resp, err := w.client.GetObject(w.t.Context(), &cloisterv1.GetObjectRequest{Name: name})
	return resp.GetContent(), err
}

func (w *world) list(prefix, after string, limit int32) ([]string, error) {
	resp, err := w.client.ListObjects(w.t.Context(), &cloisterv1.ListObjectsRequest{Prefix: prefix, After: after, Limit: limit})
	return resp.GetNames(), err
}

// plant stores an object that isn't the enclave's to write.
func (w *world) plant(name, content string) {
	w.t.Helper()
	if err := w.store.PutIfAbsent(w.t.Context(), name, []byte(content)); err != nil {
		w.t.Fatal(err)
	}
}

func TestBundle(t *testing.T) {
	w := newWorld(t, nil)
	bundle := func() ([]byte, error) {
		resp, err := w.client.Bundle(t.Context(), &cloisterv1.BundleRequest{})
		return resp.GetBundle(), err
	}
	for name, prepare := range map[string]func(){
		"missing":   func() {},
		"empty":     func() { w.write("bundle", nil) },
		"too large": func() { w.write("bundle", make([]byte, limits.Bundle+1)) },
		"directory": func() {
			if err := errors.Join(os.RemoveAll(w.file("bundle")), os.Mkdir(w.file("bundle"), 0o700)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		prepare()
		b, err := bundle()
		if status.Code(err) != codes.Unavailable || b != nil || strings.Contains(err.Error(), w.dir) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		if err := os.RemoveAll(w.file("bundle")); err != nil {
			t.Fatal(err)
		}
	}
	// It is served as it is now, whatever it holds.
	for _, content := range [][]byte{{0}, []byte("second"), bytes.Repeat([]byte{7}, limits.Bundle)} {
		w.write("bundle", content)
		if b, err := bundle(); err != nil || !bytes.Equal(b, content) {
			t.Errorf("%d bytes: got %d, %v", len(content), len(b), err)
		}
	}
}

func TestPutNames(t *testing.T) {
	w := newWorld(t, nil)
	for name, want := range map[string]codes.Code{
		"manifest/00000000000000000001": codes.OK,
		"audit/1":                       codes.OK,
		"audit/tile/0/x001":             codes.OK,
		"segments/a":                    codes.OK,
		"keys/intake/00000000":          codes.OK,
		"inbox/a":                       codes.PermissionDenied,
		"refused/a":                     codes.PermissionDenied,
		"quarantine/a":                  codes.PermissionDenied,
		"receipts/a":                    codes.PermissionDenied,
		"other/a":                       codes.PermissionDenied,
		"manifest":                      codes.PermissionDenied,
		"manifest/":                     codes.PermissionDenied,
		"manifests/a":                   codes.PermissionDenied,
		"/manifest/a":                   codes.PermissionDenied,
		"manifest/../inbox/a":           codes.PermissionDenied,
		"manifest/../../a":              codes.PermissionDenied,
		"manifest/.tmp-a":               codes.PermissionDenied,
		"manifest//a":                   codes.PermissionDenied,
		"manifest/a\x00":                codes.PermissionDenied,
		"manifest/" + strings.Repeat("a", limits.ObjectName): codes.PermissionDenied,
		"": codes.PermissionDenied,
	} {
		if err := w.put(name, []byte("x")); status.Code(err) != want {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
		if content, err := w.get(name); want == codes.OK && (err != nil || string(content) != "x") {
			t.Errorf("%q: read back %q, %v", name, content, err)
		}
	}
}

func TestPutOnce(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		content string
		want    codes.Code
	}{
		{"first", codes.OK},
		{"first", codes.OK},
		{"second", codes.AlreadyExists},
		{"", codes.AlreadyExists},
		{"first", codes.OK},
	} {
		if err := w.put("manifest/1", []byte(tt.content)); status.Code(err) != tt.want {
			t.Errorf("%q: %v, want %v", tt.content, err, tt.want)
		}
	}
	if content, err := w.get("manifest/1"); err != nil || string(content) != "first" {
		t.Errorf("holds %q, %v", content, err)
	}
}

func TestSizes(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		size int
		want codes.Code
	}{
		{0, codes.OK},
		{limits.Object, codes.OK},
		{limits.Object + 1, codes.InvalidArgument},
		{limits.Message + 1, codes.ResourceExhausted}, // gRPC's own limit
	} {
		name := fmt.Sprintf("segments/%d", tt.size)
		content := make([]byte, tt.size)
		if err := w.put(name, content); status.Code(err) != tt.want {
			t.Errorf("put %d bytes: %v, want %v", tt.size, err, tt.want)
		}
		got, err := w.get(name)
		if tt.want == codes.OK && (err != nil || !bytes.Equal(got, content)) {
			t.Errorf("got %d bytes of %d, %v", len(got), tt.size, err)
		}
		if tt.want != codes.OK && status.Code(err) != codes.NotFound {
			t.Errorf("%d bytes are there: %v", tt.size, err)
		}
	}
}

// TestGet finds an envelope wherever the gateway has put it, and nothing else
// of the gateway's.
func TestGet(t *testing.T) {
	w := newWorld(t, nil)
	w.plant("inbox/a", "in the inbox")
	w.plant("refused/b", "refused")
	w.plant("refused/b.reason", "a reason")
	w.plant("quarantine/c", "set aside")
	w.plant("inbox/d", "in both")
	w.plant("refused/d", "in both, refused")
	w.plant("receipts/e", "a receipt")
	for name, want := range map[string]string{
		"inbox/a": "in the inbox", "inbox/b": "refused", "inbox/c": "set aside", "inbox/d": "in both",
		"inbox/e": "", "inbox/f": "", "manifest/b": "", "audit/c": "", "segments/b": "",
	} {
		content, err := w.get(name)
		if string(content) != want || (want == "") != (status.Code(err) == codes.NotFound) {
			t.Errorf("%s: %q, %v; want %q", name, content, err, want)
		}
	}
	for _, name := range []string{"refused/b", "quarantine/c", "receipts/e", "inbox/../refused/b", "inbox/.x", "inbox", "inbox/", "x/y", ""} {
		if content, err := w.get(name); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%q: %q, %v", name, content, err)
		}
	}
}

func TestList(t *testing.T) {
	w := newWorld(t, nil)
	w.plant("inbox/a", "x")
	w.plant("manifest/0000", "x")
	all := []string{"manifest/0000"}
	for i := 1; i < 1100; i++ { // quicker than a thousand durable ones
		all = append(all, fmt.Sprintf("manifest/%04d", i))
		w.write(filepath.Join("objects", all[i]), []byte("x"))
	}
	for _, tt := range []struct {
		prefix, after string
		limit         int32
		want          []string
	}{
		{"manifest/", "", 3, all[:3]},
		{"manifest/", all[2], 3, all[3:6]},
		{"manifest/", "", 1000, all[:1000]},
		{"manifest/", all[999], 1000, all[1000:]},
		{"manifest/", all[1099], 1000, nil},
		{"inbox/", "", 10, []string{"inbox/a"}},
		{"audit/", "", 10, nil},
	} {
		if got, err := w.list(tt.prefix, tt.after, tt.limit); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
	}
	for _, tt := range []struct {
		prefix string
		limit  int32
		want   codes.Code
	}{
		{"manifest/", 0, codes.InvalidArgument},
		{"manifest/", -1, codes.InvalidArgument},
		{"manifest/", 1001, codes.InvalidArgument},
		{"refused/", 1, codes.PermissionDenied},
		{"quarantine/", 1, codes.PermissionDenied},
		{"receipts/", 1, codes.PermissionDenied},
		{"", 1, codes.PermissionDenied},
		{"/", 1, codes.PermissionDenied},
		{"manifest/../", 1, codes.PermissionDenied},
		{"manifest", 1, codes.PermissionDenied},
	} {
		if got, err := w.list(tt.prefix, "", tt.limit); status.Code(err) != tt.want {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
	}
}

// broken is a store that fails in words that the enclave must not see.
type broken struct{ host.Store }

var errDisk = errors.New("disk /dev/canary failed")

func (broken) PutIfAbsent(context.Context, string, []byte) error           { return errDisk }
func (broken) Get(context.Context, string) ([]byte, error)                 { return nil, errDisk }
func (broken) List(context.Context, string, string, int) ([]string, error) { return nil, errDisk }

func TestStoreFails(t *testing.T) {
	w := newWorld(t, func(s host.Store) host.Store { return broken{s} })
	_, get := w.get("inbox/a")
	_, list := w.list("manifest/", "", 1)
	for what, err := range map[string]error{"put": w.put("manifest/1", nil), "get": get, "list": list} {
		if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", what, err)
		}
		if !strings.Contains(w.log.String(), "operation="+what) {
			t.Errorf("%s isn't logged", what)
		}
	}
}

// TestServeEnds with an error when its listener fails, with none when ctx does.
func TestServeEnds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := host.Serve(t.Context(), listener, host.Config{Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a closed listener is no error")
	}
}

func TestHeartbeat(t *testing.T) {
	log := &locked{}
	sockets := t.TempDir()
	listener, err := vsock.Unix(sockets, vsock.HostCID).Listen(vsock.PortHeartbeat)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- host.ServeHeartbeat(ctx, listener, slog.New(slog.NewTextHandler(log, nil)), nil) }()
	for _, tt := range []struct{ sent, want []byte }{
		{[]byte{0xB7}, []byte{0xB7}},
		{[]byte{0xB7, 0xB7, 1, 2}, []byte{0xB7}},
		{[]byte{0xB6}, nil},
		{[]byte("\x00\xb7"), nil},
		{nil, nil},
		{[]byte{0xB7}, []byte{0xB7}},
	} {
		c, err := vsock.Unix(sockets, vsock.EnclaveCID).Dial(t.Context(), vsock.HostCID, vsock.PortHeartbeat)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(tt.sent); err != nil {
			t.Fatal(err)
		}
		if len(tt.sent) == 0 {
			c.(interface{ CloseWrite() error }).CloseWrite()
		}
		// Bytes that nobody read may turn the end into a reset.
		if got, _ := io.ReadAll(c); !bytes.Equal(got, tt.want) {
			t.Errorf("% x was answered with % x, want % x", tt.sent, got, tt.want)
		}
		c.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if n := strings.Count(log.String(), "the enclave has booted"); n != 3 {
		t.Errorf("%d boots are logged", n)
	}
}
