package egress_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/parent/egress"
)

// pipeListener accepts the far ends of pipes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// dial is the enclave's side of a new connection.
func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

// watched is a connection that tells when it was closed.
type watched struct {
	net.Conn
	closed func()
}

func (c watched) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// world is an egress whose hosts are pipes: what is dialled is noted, and
// whoever is reached sends everything back in upper case.
type world struct {
	*pipeListener
	log *bytes.Buffer // to be read after stop
	// stop ends the egress and everything that it carries.
	stop func()

	mu      sync.Mutex
	dialled []string
	away    bool
}

const allowed = "kms.example.org:443"

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{pipeListener: newPipes(), log: &bytes.Buffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	c := egress.Config{
		Allow: []string{"id.example.org:8443", allowed}, Dial: w.host,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	go func() { ended <- egress.Serve(ctx, w, c) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) host(_ context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialled = append(w.dialled, address)
	if w.away {
		return nil, errors.New("no route")
	}
	near, far := net.Pipe()
	// A pipe holds nothing, and a host takes what comes before somebody reads.
	answers := make(chan []byte, 64)
	go func() {
		defer close(answers)
		for {
			b := make([]byte, 64)
			n, err := far.Read(b)
			if err != nil {
				return
			}
			answers <- bytes.ToUpper(b[:n])
		}
	}()
	go func() {
		defer far.Close()
		for b := range answers {
			if _, err := far.Write(b); err != nil {
				break
			}
		}
		for range answers { // so that the reader ends
		}
	}()
	return near, nil
}

// reached answers what was dialled so far.
func (w *world) reached() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string{}, w.dialled...)
}

// exchange sends pieces one by one and reads an answer of n bytes.
func exchange(c net.Conn, n int, pieces ...string) (string, error) {
	go func() {
		for _, p := range pieces {
			if _, err := c.Write([]byte(p)); err != nil {
				return
			}
		}
	}()
	answer := make([]byte, n)
	got, err := io.ReadFull(c, answer)
	return string(answer[:got]), err
}

func TestCarries(t *testing.T) {
	line := "CONNECT " + allowed + "\n"
	for name, pieces := range map[string][]string{
		"line, then bytes":         {line, "hello"},
		"bytes behind the line":    {line + "hello"},
		"some of them":             {line + "he", "llo"},
		"line in pieces":           {line[:3], line[3:20], line[20:], "hello"},
		"byte by byte":             strings.Split(line+"hello", ""),
		"a line end in the bytes":  {line + "hel\n", "o"},
		"another line in the rest": {line + "CONNE"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.dial()
			defer c.Close()
			want := strings.ToUpper(strings.TrimPrefix(strings.Join(pieces, ""), line))
			if got, err := exchange(c, 5, pieces...); err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
			if got := w.reached(); len(got) != 1 || got[0] != allowed {
				t.Errorf("dialled %v", got)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	for name, line := range map[string]string{
		"another host":       "CONNECT example.com:443\n",
		"another port":       "CONNECT kms.example.org:80\n",
		"no port":            "CONNECT kms.example.org\n",
		"capitals":           "CONNECT KMS.example.org:443\n",
		"a dot more":         "CONNECT kms.example.org.:443\n",
		"a name inside":      "CONNECT evil.kms.example.org:443\n",
		"a beginning":        "CONNECT kms.example.org:4434\n",
		"carriage return":    "CONNECT " + allowed + "\r\n",
		"space before":       "CONNECT  " + allowed + "\n",
		"space behind":       "CONNECT " + allowed + " \n",
		"HTTP":               "CONNECT " + allowed + " HTTP/1.1\r\n\r\n",
		"small letters":      "connect " + allowed + "\n",
		"another verb":       "GET " + allowed + "\n",
		"address alone":      allowed + "\n",
		"nothing":            "\n",
		"nobody":             "CONNECT \n",
		"zero":               "CONNECT " + allowed + "\x00\n",
		"two":                "CONNECT " + allowed + ",id.example.org:8443\n",
		"an endless line":    "CONNECT " + strings.Repeat("a", 512),
		"a line of 513":      "CONNECT " + strings.Repeat("a", 504) + "\n",
		"TLS without a line": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.dial()
			defer c.Close()
			if got, err := exchange(c, 1, line); err == nil {
				t.Errorf("answered %q", got)
			}
			if got := w.reached(); len(got) != 0 {
				t.Errorf("dialled %v", got)
			}
		})
	}
}

func TestEarlyEnd(t *testing.T) {
	w := newWorld(t)
	for _, piece := range []string{"C", "CONNECT " + allowed} {
		c := w.dial()
		if _, err := c.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if got := w.reached(); len(got) != 0 {
		t.Errorf("dialled %v for half a line", got)
	}
}

func TestHostAway(t *testing.T) {
	w := newWorld(t)
	w.away = true
	c := w.dial()
	defer c.Close()
	if got, err := exchange(c, 1, "CONNECT "+allowed+"\nsecret"); err == nil {
		t.Errorf("answered %q", got)
	}
	w.stop()
	if log := w.log.String(); !strings.Contains(log, allowed) || strings.Contains(log, "secret") {
		t.Errorf("the log says %s", log)
	}
}

// TestSlowLine ends a connection that doesn't say where it wants to go.
func TestSlowLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.dial()
		defer c.Close()
		if _, err := c.Write([]byte("CONNECT ")); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = c.Read(make([]byte, 1))
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("it may wait for ever")
		}
	})
}

// TestLongConnection lives on after the time for its first line.
func TestLongConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.dial()
		defer c.Close()
		if got, err := exchange(c, 5, "CONNECT "+allowed+"\nhello"); err != nil || got != "HELLO" {
			t.Fatalf("got %q, %v", got, err)
		}
		for range 10 {
			time.Sleep(time.Minute)
			if got, err := exchange(c, 5, "again"); err != nil || got != "AGAIN" {
				t.Fatalf("got %q, %v", got, err)
			}
		}
	})
}

func TestMaxConnections(t *testing.T) {
	w := newWorld(t)
	var all []net.Conn
	for range 64 {
		c := w.dial()
		defer c.Close()
		if got, err := exchange(c, 1, "CONNECT "+allowed+"\na"); err != nil || got != "A" {
			t.Fatalf("connection %d: %q, %v", len(all), got, err)
		}
		all = append(all, c)
	}
	over := w.dial()
	defer over.Close()
	if got, err := exchange(over, 1, "CONNECT "+allowed+"\na"); err == nil {
		t.Errorf("one too many was answered %q", got)
	}
	if got, err := exchange(all[0], 1, "b"); err != nil || got != "B" {
		t.Errorf("the first: %q, %v", got, err)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		allow []string
		ok    bool
	}{
		{nil, true},
		{[]string{"kms.eu-central-1.amazonaws.com:443", "127.0.0.1:1", "[::1]:443"}, true},
		{[]string{"example.org"}, false},
		{[]string{"example.org:"}, false},
		{[]string{":443"}, false},
		{[]string{""}, false},
		{[]string{"a:1", "b"}, false},
		{[]string{"a b:443"}, false},
		{[]string{"a:443\nCONNECT b:443"}, false},
		{[]string{"::1:443"}, false},
		{[]string{strings.Repeat("a", 499) + ":443"}, true},
		{[]string{strings.Repeat("a", 500) + ":443"}, false},
	} {
		if err := egress.Check(tt.allow); (err == nil) != tt.ok {
			t.Errorf("%.40q: %v", tt.allow, err)
		}
	}
}

func TestBadListServesNothing(t *testing.T) {
	l := newPipes()
	err := egress.Serve(t.Context(), l, egress.Config{Allow: []string{"example.org"}, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Fatal("served")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error("the listener is open")
	}
}

// TestPlainDial reaches a host over TCP when no other way is configured.
func TestPlainDial(t *testing.T) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go func() {
		c, err := host.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	}()
	l := newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- egress.Serve(ctx, l, egress.Config{Allow: []string{host.Addr().String()}, Log: slog.New(slog.DiscardHandler)})
	}()
	c := l.dial()
	defer c.Close()
	if got, err := exchange(c, 5, "CONNECT "+host.Addr().String()+"\n", "hello"); err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// FuzzLine checks that a host is reached exactly when the bytes begin with a
// line that names it.
func FuzzLine(f *testing.F) {
	f.Add([]byte("CONNECT " + allowed + "\nrest"))
	f.Add([]byte("CONNECT id.example.org:8443\n"))
	f.Add([]byte("CONNECT example.com:443\n"))
	f.Add([]byte("CONNECT " + allowed + "\r\n"))
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		before := len(w.reached())
		c, served := net.Pipe()
		over := make(chan struct{})
		w.conns <- watched{served, sync.OnceFunc(func() { close(over) })}
		go func() {
			_, _ = c.Write(b)
			c.Close()
		}()
		_, _ = io.Copy(io.Discard, c)
		<-over // whoever is dialled was dialled before
		line, _, whole := bytes.Cut(b, []byte{'\n'})
		want := ""
		if address := strings.TrimPrefix(string(line), "CONNECT "); whole && (address == allowed || address == "id.example.org:8443") && strings.HasPrefix(string(line), "CONNECT ") {
			want = address
		}
		got := w.reached()[before:]
		if len(got) > 1 || strings.Join(got, "") != want {
			t.Errorf("dialled %v, want %q", got, want)
		}
	})
}
