package vsock_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cloisterhq/cloister/internal/vsock"
)

// pair answers both ends of a connection from one machine to another.
func pair(t *testing.T, dir string, from, to, port uint32) (near, far net.Conn) {
	t.Helper()
	l, err := vsock.Unix(dir, to).Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	near, err = vsock.Unix(dir, from).Dial(context.Background(), to, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	far, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, far
}

func TestUnixCarriesBytesAndAddresses(t *testing.T) {
	for name, dir := range map[string]string{"short": t.TempDir(), "long": longDir(t)} {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t, dir, vsock.EnclaveCID, vsock.HostCID, vsock.PortHost)
			if cid, ok := vsock.PeerCID(far); !ok || cid != vsock.EnclaveCID {
				t.Errorf("the listener sees CID %d, %v; want %d", cid, ok, vsock.EnclaveCID)
			}
			if cid, ok := vsock.PeerCID(near); !ok || cid != vsock.HostCID {
				t.Errorf("the dialler sees CID %d, %v; want %d", cid, ok, vsock.HostCID)
			}
			if got := near.RemoteAddr().String(); got != "3:8001" || near.RemoteAddr().Network() != "vsock" {
				t.Errorf("remote address %s %s", near.RemoteAddr().Network(), got)
			}
			message := []byte("ciphertext")
			if _, err := near.Write(message); err != nil {
				t.Fatal(err)
			}
			if err := near.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(far)
			if err != nil || !bytes.Equal(got, message) {
				t.Fatalf("read %q, %v", got, err)
			}
			if _, err := far.Write(message); err != nil {
				t.Fatalf("the other direction ended with the first: %v", err)
			}
		})
	}
}

// longDir answers a directory whose path alone exceeds sun_path twice.
func longDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for range 3 {
		dir = filepath.Join(dir, strings.Repeat("d", 80))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUnixReplacesStaleSocketsOnly(t *testing.T) {
	for name, dir := range map[string]string{"short": t.TempDir(), "long": longDir(t)} {
		t.Run(name, func(t *testing.T) {
			u := vsock.Unix(dir, vsock.EnclaveCID)
			first, err := u.Listen(vsock.PortIngest)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := u.Listen(vsock.PortIngest); !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatalf("a live socket: %v, want EADDRINUSE", err)
			}
			// A process that is killed leaves its socket behind.
			first.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
			first.Close()
			path := filepath.Join(dir, "vsock-16-5001.sock")
			if _, err := os.Lstat(path); err != nil {
				t.Fatalf("no stale socket to begin with: %v", err)
			}
			second, err := u.Listen(vsock.PortIngest)
			if err != nil {
				t.Fatalf("a stale socket: %v", err)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("socket mode %v, %v; want 0600", info.Mode(), err)
			}
			second.Close()
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("closing leaves the socket behind: %v", err)
			}
		})
	}
}

func TestUnixRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vsock-3-8000.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vsock.Unix(dir, vsock.HostCID).Listen(vsock.PortEgress); err == nil {
		t.Fatal("listening replaced a file")
	}
	if got, _ := os.ReadFile(path); string(got) != "precious" {
		t.Fatal("the file is gone")
	}
}

func TestUnixDialErrors(t *testing.T) {
	ctx := context.Background()
	u := vsock.Unix(t.TempDir(), vsock.HostCID)
	if _, err := u.Dial(ctx, vsock.EnclaveCID, vsock.PortAttested); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("nobody listens: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := u.Dial(cancelled, vsock.EnclaveCID, vsock.PortAttested); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	missing := vsock.Unix(filepath.Join(t.TempDir(), strings.Repeat("m", 120)), vsock.HostCID)
	if _, err := missing.Dial(ctx, vsock.EnclaveCID, vsock.PortAttested); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing long directory: %v", err)
	}
	if _, err := missing.Listen(vsock.PortAttested); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("listen in a missing long directory: %v", err)
	}
}

func TestOnlyDropsOtherMachines(t *testing.T) {
	dir := t.TempDir()
	raw, err := vsock.Unix(dir, vsock.HostCID).Listen(vsock.PortHost)
	if err != nil {
		t.Fatal(err)
	}
	l := vsock.Only(raw, vsock.EnclaveCID)
	defer l.Close()
	ctx := context.Background()
	stranger, err := vsock.Unix(dir, 17).Dial(ctx, vsock.HostCID, vsock.PortHost)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	nameless, err := net.Dial("unix", filepath.Join(dir, "vsock-3-8001.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer nameless.Close()
	friend, err := vsock.Unix(dir, vsock.EnclaveCID).Dial(ctx, vsock.HostCID, vsock.PortHost)
	if err != nil {
		t.Fatal(err)
	}
	defer friend.Close()
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if cid, _ := vsock.PeerCID(got); cid != vsock.EnclaveCID {
		t.Errorf("accepted CID %d", cid)
	}
	for name, c := range map[string]net.Conn{"stranger": stranger, "nameless": nameless} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s still has a connection: %v", name, err)
		}
	}
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
}

// TestPeerCIDIsHonestAboutOtherConnections keeps Only from letting a TCP peer in.
func TestPeerCIDIsHonestAboutOtherConnections(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if cid, ok := vsock.PeerCID(near); ok {
		t.Errorf("a pipe has CID %d", cid)
	}
}
