package parent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent"
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

// freeAddress answers a loopback address on which nobody listens now. Its port
// is below those of connections going out, one of which could take it.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(12000))))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// world is what a parent needs: a directory for vsock's stand-ins, and files.
type world struct {
	t       *testing.T
	sockets string
	config  parent.Config
	log     *locked
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, sockets: t.TempDir(), log: &locked{}}
	files := t.TempDir()
	for name, content := range map[string]string{
		"bundle": "the bundle", "credentials": `{"access_key_id":"A","secret_access_key":"s"}`,
	} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.config = parent.Config{
		Transport: vsock.Unix(w.sockets, vsock.HostCID), EnclaveCID: vsock.EnclaveCID, Dir: filepath.Join(files, "objects"),
		BundleFile: filepath.Join(files, "bundle"), CredentialsFile: filepath.Join(files, "credentials"),
		GatewayAddr: freeAddress(t), AttestedAddr: freeAddress(t), Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	return w
}

// up runs the parent until stop is called, and waits until it listens.
func (w *world) up() (stop func() error) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- parent.Run(ctx, w.config) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	w.t.Cleanup(func() { _ = stop() })
	parts := 5
	if w.config.NoHeartbeat {
		parts--
	}
	if w.config.AdminAddr != "" {
		parts++
	}
	for range 1000 {
		if strings.Count(w.log.String(), "parent: listening") == parts {
			return stop
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatalf("the parent doesn't listen: %v; log:\n%s", stop(), w.log)
	return nil
}

// dial connects from one machine to a port of the parent.
func (w *world) dial(cid, port uint32) net.Conn {
	w.t.Helper()
	c, err := vsock.Unix(w.sockets, cid).Dial(w.t.Context(), vsock.HostCID, port)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// echo listens and sends back what comes, on all connections.
func echo(t *testing.T, l net.Listener, err error) net.Listener {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l
}

// said sends a text and answers what comes back, as long.
func said(c net.Conn, text string) (string, error) {
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	b := make([]byte, len(text))
	n, err := io.ReadFull(c, b)
	return string(b[:n]), err
}

func connect(t *testing.T, dial func(context.Context) (net.Conn, error)) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// intake is an enclave that takes everything.
type intake struct {
	cloisterv1.UnimplementedIntakeServer
}

func (intake) Accept(context.Context, *cloisterv1.AcceptRequest) (*cloisterv1.AcceptResponse, error) {
	return &cloisterv1.AcceptResponse{Receipt: []byte("receipt"), Report: []byte("report")}, nil
}

func (intake) Health(context.Context, *cloisterv1.HealthRequest) (*cloisterv1.HealthResponse, error) {
	return &cloisterv1.HealthResponse{Phase: "ready"}, nil
}

// TestServices uses each of the five once.
func TestServices(t *testing.T) {
	w := newWorld(t)
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	echo(t, outside, err)
	w.config.EgressAllow = []string{outside.Addr().String()}
	enclave := vsock.Unix(w.sockets, vsock.EnclaveCID)
	attested, err := enclave.Listen(vsock.PortAttested)
	echo(t, attested, err)
	l, err := enclave.Listen(vsock.PortIngest)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	cloisterv1.RegisterIntakeServer(server, intake{})
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	stop := w.up()

	if got, err := said(w.dial(vsock.EnclaveCID, vsock.PortHeartbeat), "\xb7"); err != nil || got != "\xb7" {
		t.Errorf("heartbeat: %q, %v", got, err)
	}
	egress := w.dial(vsock.EnclaveCID, vsock.PortEgress)
	if _, err := egress.Write([]byte("CONNECT " + outside.Addr().String() + "\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := said(egress, "hello"); err != nil || got != "hello" {
		t.Errorf("egress: %q, %v", got, err)
	}
	host := cloisterv1.NewHostClient(connect(t, func(ctx context.Context) (net.Conn, error) {
		return enclave.Dial(ctx, vsock.HostCID, vsock.PortHost)
	}))
	bundle, err := host.Bundle(t.Context(), &cloisterv1.BundleRequest{})
	if err != nil || string(bundle.GetBundle()) != "the bundle" {
		t.Errorf("bundle: %q, %v", bundle.GetBundle(), err)
	}
	if creds, err := host.Credentials(t.Context(), &cloisterv1.CredentialsRequest{}); err != nil || creds.GetAccessKeyId() != "A" {
		t.Errorf("credentials: %v", err)
	}
	relayed, err := net.Dial("tcp", w.config.AttestedAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer relayed.Close()
	if got, err := said(relayed, "client hello"); err != nil || got != "client hello" {
		t.Errorf("relay: %q, %v", got, err)
	}
	gateway := cloisterv1.NewGatewayClient(connect(t, func(context.Context) (net.Conn, error) { return net.Dial("tcp", w.config.GatewayAddr) }))
	resp, err := gateway.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: []byte("sealed")})
	if err != nil || string(resp.GetReceipt()) != "receipt" {
		t.Errorf("gateway: %v, %v", resp, err)
	}
	// What the gateway stored is what the host serves: one store.
	object, err := host.GetObject(t.Context(), &cloisterv1.GetObjectRequest{Name: "inbox/c9d0036bed6744bcdf692fc980d8717d7e5f5a4f4e8266b4a84982602fb1cd09"})
	if err != nil || string(object.GetContent()) != "sealed" {
		t.Errorf("object: %q, %v", object.GetContent(), err)
	}
	if err := stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	w.released()
}

// released demands that a parent has given everything back.
func (w *world) released() {
	w.t.Helper()
	for _, port := range []uint32{vsock.PortHost, vsock.PortEgress, vsock.PortHeartbeat} {
		l, err := vsock.Unix(w.sockets, vsock.HostCID).Listen(port)
		if err != nil {
			w.t.Errorf("vsock port %d: %v", port, err)
			continue
		}
		l.Close()
	}
	for _, address := range []string{w.config.GatewayAddr, w.config.AttestedAddr} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			w.t.Error(err)
			continue
		}
		l.Close()
	}
	dir, err := objects.Open(w.config.Dir)
	if err != nil {
		w.t.Error(err)
		return
	}
	dir.Close()
}

// TestOtherMachines are closed at once on every vsock port.
func TestOtherMachines(t *testing.T) {
	w := newWorld(t)
	w.up()
	for _, port := range []uint32{vsock.PortHost, vsock.PortEgress, vsock.PortHeartbeat} {
		for _, cid := range []uint32{vsock.EnclaveCID + 1, vsock.HostCID, 0} {
			c := w.dial(cid, port)
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("CID %d on port %d: %d bytes, %v", cid, port, n, err)
			}
		}
	}
	if got, err := said(w.dial(vsock.EnclaveCID, vsock.PortHeartbeat), "\xb7"); err != nil || got != "\xb7" {
		t.Errorf("the enclave itself: %q, %v", got, err)
	}
}

func TestSecondParent(t *testing.T) {
	w := newWorld(t)
	stop := w.up()
	second := newWorld(t)
	second.config.Dir = w.config.Dir
	err := parent.Run(t.Context(), second.config)
	if !errors.Is(err, objects.ErrLocked) {
		t.Fatalf("got %v", err)
	}
	if want := "parent: objects: another cloister-parent has this directory: " + w.config.Dir; err.Error() != want {
		t.Errorf("says %q\nwant %q", err, want)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := second.up()(); err != nil {
		t.Error(err)
	}
}

// TestTaken has another program on each address in turn; the error names the
// part, and what was opened before it is given back.
func TestTaken(t *testing.T) {
	for _, tt := range []struct {
		part string
		take func(w *world) (net.Listener, error)
	}{
		{"host", func(w *world) (net.Listener, error) { return w.config.Transport.Listen(vsock.PortHost) }},
		{"egress", func(w *world) (net.Listener, error) { return w.config.Transport.Listen(vsock.PortEgress) }},
		{"heartbeat", func(w *world) (net.Listener, error) { return w.config.Transport.Listen(vsock.PortHeartbeat) }},
		{"gateway", func(w *world) (net.Listener, error) { return net.Listen("tcp", w.config.GatewayAddr) }},
		{"relay", func(w *world) (net.Listener, error) { return net.Listen("tcp", w.config.AttestedAddr) }},
	} {
		t.Run(tt.part, func(t *testing.T) {
			w := newWorld(t)
			taken, err := tt.take(w)
			if err != nil {
				t.Fatal(err)
			}
			err = parent.Run(t.Context(), w.config)
			if !errors.Is(err, syscall.EADDRINUSE) || !strings.HasPrefix(err.Error(), "parent: "+tt.part+": ") {
				t.Errorf("got %v", err)
			}
			taken.Close()
			w.released()
		})
	}
}

// failing is a transport one of whose listeners fails after a while.
type failing struct {
	vsock.Transport
	port uint32
}

var errDevice = errors.New("the device is gone")

func (f failing) Listen(port uint32) (net.Listener, error) {
	l, err := f.Transport.Listen(port)
	if err == nil && port == f.port {
		l = failingListener{l}
	}
	return l, err
}

type failingListener struct{ net.Listener }

func (failingListener) Accept() (net.Conn, error) { return nil, errDevice }

func TestPartFails(t *testing.T) {
	for part, port := range map[string]uint32{"host": vsock.PortHost, "egress": vsock.PortEgress, "heartbeat": vsock.PortHeartbeat} {
		t.Run(part, func(t *testing.T) {
			w := newWorld(t)
			w.config.Transport = failing{w.config.Transport, port}
			err := parent.Run(t.Context(), w.config)
			if !errors.Is(err, errDevice) || !strings.HasPrefix(err.Error(), "parent: "+part+": ") {
				t.Errorf("got %v", err)
			}
			w.released()
		})
	}
}

func TestCheck(t *testing.T) {
	good := newWorld(t).config
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(c *parent.Config){
		"no transport":          func(c *parent.Config) { c.Transport = nil },
		"no log":                func(c *parent.Config) { c.Log = nil },
		"no CID":                func(c *parent.Config) { c.EnclaveCID = 0 },
		"the parent's own CID":  func(c *parent.Config) { c.EnclaveCID = vsock.HostCID },
		"no directory":          func(c *parent.Config) { c.Dir = "" },
		"no bundle":             func(c *parent.Config) { c.BundleFile = "" },
		"no gateway address":    func(c *parent.Config) { c.GatewayAddr = "" },
		"gateway everywhere":    func(c *parent.Config) { c.GatewayAddr = ":7400" },
		"gateway without port":  func(c *parent.Config) { c.GatewayAddr = "127.0.0.1" },
		"attested everywhere":   func(c *parent.Config) { c.AttestedAddr = ":7443" },
		"attested without port": func(c *parent.Config) { c.AttestedAddr = "localhost:" },
		"egress without port":   func(c *parent.Config) { c.EgressAllow = []string{"example.org"} },
	} {
		c := good
		spoil(&c)
		if err := c.Check(); err == nil {
			t.Errorf("%s: passes", name)
		}
		if err := parent.Run(t.Context(), c); err == nil {
			t.Errorf("%s: runs", name)
		}
	}
	if _, err := os.Stat(good.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a bad configuration touched the disk: %v", err)
	}
	// Empty credentials and egress are choices.
	good.CredentialsFile, good.EgressAllow = "", nil
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

// TestNoHeartbeat starts beside nitro-cli, which has the heartbeat's port then.
func TestNoHeartbeat(t *testing.T) {
	w := newWorld(t)
	starter, err := w.config.Transport.Listen(vsock.PortHeartbeat)
	if err != nil {
		t.Fatal(err)
	}
	defer starter.Close()
	w.config.NoHeartbeat = true
	stop := w.up()
	echo(t, starter, nil)
	if got, err := said(w.dial(vsock.EnclaveCID, vsock.PortHeartbeat), "\xb7"); err != nil || got != "\xb7" {
		t.Errorf("the starter's answer: %q, %v", got, err)
	}
	if err := stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
}
