package sidecar

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/client"
)

// maxPath is the longest path of a unix socket that every system takes, in
// bytes (sun_path has 104 on some), less the directory that Unix adds.
const maxPath = 88

// probing bounds the question whether somebody listens on a socket.
const probing = time.Second

// mistake is an error of what the caller asked for: client.ErrUsage.
type mistake struct{ err error }

func (m *mistake) Error() string        { return m.err.Error() }
func (m *mistake) Unwrap() error        { return m.err }
func (m *mistake) Is(target error) bool { return target == client.ErrUsage }

// mistakef is fmt.Errorf for mistakes.
func mistakef(format string, args ...any) error { return &mistake{fmt.Errorf(format, args...)} }

// Loopback listens on host:port. Anything but this machine's loopback
// addresses is refused: what is behind it is one person's. Every user of the
// machine can connect, so that Serve needs a password. Errors are client.ErrUsage.
func Loopback(address string) (net.Listener, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, mistakef("%q isn't host:port, such as 127.0.0.1:0", address)
	}
	if strings.EqualFold(name, "localhost") {
		name = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(name)
	if err != nil || !ip.Unmap().IsLoopback() {
		return nil, mistakef("%q isn't a loopback address: the proxy is for programs on this machine; use 127.0.0.1 or ::1", name)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip.Unmap().String(), port))
	if err != nil {
		return nil, &mistake{err}
	}
	return l, nil
}

// Unix listens on a unix socket that only its owner can open. The directory is
// made when it isn't there, for its owner alone. A socket that nobody listens
// on any more is replaced. Closing the listener removes the socket. Errors are
// client.ErrUsage.
func Unix(path string) (net.Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, &mistake{err}
	}
	if len(path) > maxPath {
		return nil, mistakef("%s: the path of a socket has at most %d bytes; give a shorter --socket", path, maxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, &mistake{err}
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	l, err := bind(path)
	if err != nil {
		return nil, &mistake{err}
	}
	return l, nil
}

// vacant says whether a socket may be made at path.
func vacant(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &mistake{err}
	}
	if info.Mode().Type() != os.ModeSocket {
		return mistakef("%s is there and isn't a socket", path)
	}
	conn, err := net.DialTimeout("unix", path, probing)
	if err != nil {
		return nil
	}
	conn.Close()
	return mistakef("another program listens on %s; give another --socket", path)
}

// bind makes the socket in a directory that nobody else can enter, gives it
// its mode and moves it to its place: at no time can another user open it.
func bind(path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".cc")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		l.Close()
		return nil, err
	}
	return &socket{UnixListener: l, path: path}, nil
}

// socket is a listener that takes its socket away when it is closed.
type socket struct {
	*net.UnixListener
	path string
}

// Addr is where clients find the socket.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close ends the listener.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if err == nil {
		err = os.Remove(s.path)
	}
	return err
}
