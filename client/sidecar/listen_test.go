package sidecar_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/client/sidecar"
	"github.com/cloisterhq/cloister/internal/secret"
)

func TestLoopback(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "localhost:0", "LOCALHOST:0", "127.1.2.3:0", "[::ffff:127.0.0.1]:0"} {
		l, err := sidecar.Loopback(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if ip := l.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
			t.Errorf("%s: listens on %s", address, ip)
		}
		l.Close()
	}
	for _, address := range []string{
		"", ":0", "0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0", "10.0.0.1:0", "169.254.1.1:0", "example.org:0", "localhost.example.org:0",
		"127.0.0.1", "127.1:0", "2130706433:0", "127.0.0.1:0:0", "127.0.0.1:http/2", "127.0.0.1:70000",
	} {
		if l, err := sidecar.Loopback(address); !errors.Is(err, client.ErrUsage) {
			t.Errorf("%q: %v", address, err)
			if err == nil {
				l.Close()
			}
		}
	}
}

func TestUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "made", "s.sock")
	l, err := sidecar.Unix(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{path: fs.ModeSocket | 0o600, filepath.Dir(path): fs.ModeDir | 0o700} {
		if info, err := os.Lstat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if l.Addr().String() != path {
		t.Errorf("listens on %s", l.Addr())
	}
	if _, err := sidecar.Unix(path); !errors.Is(err, client.ErrUsage) || !strings.Contains(err.Error(), "another program listens") {
		t.Errorf("twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}

	// One that a killed process left behind.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if l, err = sidecar.Unix(path); err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	l.Close()

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a file": file, "a directory": dir, "below a file": filepath.Join(file, "s"), "long": filepath.Join(dir, strings.Repeat("s", 100)),
	} {
		if _, err := sidecar.Unix(path); !errors.Is(err, client.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := os.ReadFile(file); string(b) != "mine" {
		t.Errorf("the file: %q, %v", b, err)
	}
}

// TestUnixSocket asks through a socket, as ADBC does with grpc+unix.
func TestUnixSocket(t *testing.T) {
	w := start(t, loopback{})
	path := filepath.Join(t.TempDir(), "s")
	l, err := sidecar.Unix(path)
	if err != nil {
		t.Fatal(err)
	}
	w.serve(t, l, secret.Bytes{})
	if n, err := ask(t.Context(), w.clientOf(t, "unix://"+path), "q"); err != nil || n != records*rowsEach {
		t.Errorf("%d rows, %v", n, err)
	}
}
