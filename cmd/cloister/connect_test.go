package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/test/rig"
)

// connection is a `cloister connect` that runs.
type connection struct {
	// ready is its JSON.
	ready struct {
		Schema    string
		Endpoints []struct{ URI, User, Password string }
		// Verification is what `cloister verify -o json` puts out.
		Verification struct {
			Schema   string
			Verified bool
		}
	}
	stop func()
	errs *lines
}

// lines collects what a command says while it runs.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

// Write keeps.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String answers what was said so far.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// connects runs `cloister connect -o json` until the test ends or stops it.
func connects(t *testing.T, args ...string) *connection {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	c := &connection{errs: &lines{}}
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, append([]string{"connect", "-o", "json"}, args...), strings.NewReader(""), in, c.errs)
		in.Close()
		ended <- code
	}()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("exit %d: %s", code, c.errs)
		}
	})
	t.Cleanup(c.stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, c.errs)
	}
	if err := json.Unmarshal([]byte(line), &c.ready); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if c.ready.Schema != "cloister.connect/v1" || c.ready.Verification.Schema != "cloister.verify/v1" || !c.ready.Verification.Verified {
		t.Errorf("ready with %s", line)
	}
	return c
}

// count asks through database/sql.
func count(t *testing.T, address, password string) (n int64, err error) {
	t.Helper()
	db, err := sql.Open("flightsql", fmt.Sprintf("flightsql://any:%s@%s", password, address))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), text)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			return 0, err
		}
	}
	return n, rows.Err()
}

func TestConnect(t *testing.T) {
	e := rig.Serve(t)
	socket := filepath.Join(t.TempDir(), "s")
	c := connects(t, "--listen", "127.0.0.1:0", "--socket", socket, "--context", e.Context(t, e.Rig))
	if len(c.ready.Endpoints) != 2 || c.ready.Endpoints[0].URI != "grpc+unix://"+socket || c.ready.Endpoints[0].Password != "" {
		t.Fatalf("%+v", c.ready.Endpoints)
	}
	tcp := c.ready.Endpoints[1]
	address := strings.TrimPrefix(tcp.URI, "grpc://")
	if n, err := count(t, address, tcp.Password); err != nil || n != 929 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := count(t, address, tcp.Password+"x"); err == nil || !strings.Contains(err.Error(), "`cloister connect` printed") {
		t.Errorf("another password: %v", err)
	}
	if len(tcp.Password) < 26 || tcp.User != "any" || strings.Contains(c.errs.String(), tcp.Password) {
		t.Errorf("%+v, %s", tcp, c.errs)
	}
	if !strings.Contains(c.errs.String(), "verified again: simulation") {
		t.Errorf("%s", c.errs)
	}
	c.stop()
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	other := connects(t, "--listen", "127.0.0.1:0", "--context", e.Context(t, e.Rig))
	if other.ready.Endpoints[0].Password == tcp.Password {
		t.Error("two runs have one password")
	}
}

// TestConnectDefault listens where only the user gets at.
func TestConnectDefault(t *testing.T) {
	e := rig.Serve(t)
	path := e.Context(t, e.Rig)
	for name, want := range map[string]string{"": filepath.Join(filepath.Dir(path), "connect.sock"), "relative": filepath.Join(filepath.Dir(path), "connect.sock"), t.TempDir(): ""} {
		t.Setenv("XDG_RUNTIME_DIR", name)
		if want == "" {
			want = filepath.Join(name, "cloister", rig.Deployment+".sock")
		}
		c := connects(t, "--context", path)
		if c.ready.Endpoints[0].URI != "grpc+unix://"+want {
			t.Errorf("with XDG_RUNTIME_DIR=%s: %+v", name, c.ready.Endpoints)
		}
		c.stop()
	}
}

// TestConnectRefuses never says ready before the enclave is accepted, and
// leaves nothing behind.
func TestConnectRefuses(t *testing.T) {
	e := rig.Serve(t)
	socket := filepath.Join(t.TempDir(), "s")
	for name, c := range map[string]struct {
		context string
		code    int
		line    string
	}{
		"another image": {e.Context(t, rig.New(t, rig.Config{Root: e.Root, Label: "another"})), exitRefused, "cloister: REFUSED: attestation: policy mismatch: PCR0"},
		"nobody":        {nobody(t, e), exitUnreachable, "cloister: the enclave can't be reached"},
	} {
		code, out, errs := cloister(t, "connect", "--socket", socket, "--wait", "0s", "--context", c.context)
		if code != c.code || out != "" || !strings.HasPrefix(errs, c.line) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, %q, %q", name, code, out, errs)
		}
		if _, err := os.Lstat(socket); !os.IsNotExist(err) {
			t.Errorf("%s: the socket is still there: %v", name, err)
		}
	}
}

// nobody is a context whose enclave doesn't listen.
func nobody(t *testing.T, e *rig.Served) string {
	t.Helper()
	return changed(t, e.Context(t, e.Rig), e.Address, "127.0.0.1:1")
}

// changed replaces one piece of a context file.
func changed(t *testing.T, path, old, with string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(b), old) != 1 {
		t.Fatalf("%q doesn't stand once in %s", old, b)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), old, with, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestConnectText is what a person sees.
func TestConnectText(t *testing.T) {
	for name, c := range map[string]struct {
		fronts []front
		want   string
	}{
		"socket": {[]front{{uri: "grpc+unix:///run/s"}}, "ready grpc+unix:///run/s\n"},
	} {
		e := rig.Serve(t)
		config, err := client.Load(e.Context(t, e.Rig))
		if err != nil {
			t.Fatal(err)
		}
		cl, err := client.New(config)
		if err != nil {
			t.Fatal(err)
		}
		peer, err := cl.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := writeReady(&b, "text", peer, c.fronts); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(b.String(), c.want) || !strings.Contains(b.String(), "verified: simulation") {
			t.Errorf("%s: %s", name, b.String())
		}
	}
}

// TestConnectTokenWarning starts all the same: the token is read for each call.
func TestConnectTokenWarning(t *testing.T) {
	e := rig.Serve(t)
	path := e.Context(t, e.Rig)
	token := filepath.Join(filepath.Dir(path), "token")
	good, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	c := connects(t, "--listen", "127.0.0.1:0", "--context", path)
	if !strings.HasPrefix(c.errs.String(), "warning: there is no token in "+token) {
		t.Errorf("%s", c.errs)
	}
	address, password := strings.TrimPrefix(c.ready.Endpoints[0].URI, "grpc://"), c.ready.Endpoints[0].Password
	if _, err := count(t, address, password); err == nil || !strings.Contains(err.Error(), "there is no token in") {
		t.Errorf("without a token: %v", err)
	}
	if err := os.WriteFile(token, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := count(t, address, password); err != nil || n != 929 {
		t.Errorf("with one: %d, %v", n, err)
	}
}

// TestWatcher says each thing once until something else happens, and nothing
// that drives a terminal.
func TestWatcher(t *testing.T) {
	var b strings.Builder
	w := &watcher{out: &b}
	for range 3 {
		w.failed(fmt.Errorf("%w: \x1b[2J", client.ErrUnreachable))
	}
	w.failed(context.Canceled)
	w.failed(attls.ErrExchange)
	w.failed(fmt.Errorf("%w: \x1b[2J", client.ErrUnreachable))
	if got := strings.Split(strings.TrimSpace(b.String()), "\n"); len(got) != 3 || strings.Contains(b.String(), "\x1b") {
		t.Errorf("%q", got)
	}
}
