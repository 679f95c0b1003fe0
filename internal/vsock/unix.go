package vsock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// sunPath is the longest socket path that every system takes, in bytes
	// (sun_path of unix(7) is 108 with its final zero, 104 elsewhere).
	sunPath = 103
	// probe bounds the question whether somebody listens on an old socket.
	probe = time.Second
	// abstract begins the unbound names of dialling ends: prefix, CID, dash,
	// random letters. They leave no file behind.
	abstract = "@cloister-vsock-"
)

// Unix answers a transport for simulation that stands in for AF_VSOCK: a
// connection to (cid, port) is one to the unix socket vsock-<cid>-<port>.sock
// in dir. localCID is this side's identifier. The directory's mode decides who
// may connect; the CID of a peer is that peer's own word, as nothing stronger
// exists between processes of one user.
func Unix(dir string, localCID uint32) Transport { return unix{dir, localCID} }

type unix struct {
	dir string
	cid uint32
}

// Listen accepts connections to a port. A socket that a dead process left is
// replaced; a live one is an error that wraps syscall.EADDRINUSE.
func (u unix) Listen(port uint32) (net.Listener, error) {
	at, err := u.open(u.cid, port)
	if err != nil {
		return nil, err
	}
	if err := at.clear(); err != nil {
		at.close()
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at.path, Net: "unix"})
	if err != nil {
		at.close()
		return nil, fmt.Errorf("vsock: listen on %s: %w", at.name, err)
	}
	if err := os.Chmod(at.path, 0o600); err != nil {
		l.Close()
		at.close()
		return nil, fmt.Errorf("vsock: %w", err)
	}
	return &listener{l, at, Addr{u.cid, port}}, nil
}

// Dial connects to a port of the machine cid.
func (u unix) Dial(ctx context.Context, cid, port uint32) (net.Conn, error) {
	at, err := u.open(cid, port)
	if err != nil {
		return nil, err
	}
	defer at.close()
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	name := abstract + strconv.FormatUint(uint64(u.cid), 10) + "-" + hex.EncodeToString(random[:])
	d := net.Dialer{LocalAddr: &net.UnixAddr{Name: name, Net: "unix"}}
	c, err := d.DialContext(ctx, "unix", at.path)
	if err != nil {
		return nil, fmt.Errorf("vsock: dial %s: %w", at.name, err)
	}
	return &conn{c.(*net.UnixConn), Addr{CID: u.cid}, Addr{cid, port}}, nil
}

// socket names a socket file by a path that fits into sun_path.
type socket struct {
	path string
	name string   // the file's name, for errors
	dir  *os.File // held open when path goes through it
}

// open names the socket of an address. When the directory's own path is too
// long it goes through /proc/self/fd.
func (u unix) open(cid, port uint32) (*socket, error) {
	name := fmt.Sprintf("vsock-%d-%d.sock", cid, port)
	path := filepath.Join(u.dir, name)
	if len(path) <= sunPath {
		return &socket{path: path, name: name}, nil
	}
	dir, err := os.Open(u.dir)
	if err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	return &socket{path: filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), name), name: name, dir: dir}, nil
}

func (s *socket) close() {
	if s.dir != nil {
		s.dir.Close()
	}
}

// clear removes a socket that nobody listens on any more.
func (s *socket) clear() error {
	info, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("vsock: %s is there and isn't a socket", s.name)
	}
	c, err := net.DialTimeout("unix", s.path, probe)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("vsock: another process listens on %s: %w", s.name, syscall.EADDRINUSE)
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("vsock: %w", err)
	}
	return nil
}

// listener accepts connections that know their CIDs.
type listener struct {
	*net.UnixListener
	at   *socket
	addr Addr
}

// Accept answers the next connection.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return &conn{c, l.addr, peer(c.RemoteAddr())}, nil
}

// Addr answers the listener's vsock address.
func (l *listener) Addr() net.Addr { return l.addr }

// Close stops listening and removes the socket.
func (l *listener) Close() error {
	defer l.at.close()
	return l.UnixListener.Close()
}

// peer reads the CID out of a dialling end's name; 0 when there is none.
func peer(a net.Addr) Addr {
	if a == nil {
		return Addr{}
	}
	rest, ok := strings.CutPrefix(a.String(), abstract)
	if !ok {
		return Addr{}
	}
	digits, _, _ := strings.Cut(rest, "-")
	cid, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return Addr{}
	}
	return Addr{CID: uint32(cid)}
}

// conn is a unix connection with vsock addresses. CloseWrite is the embedded
// connection's.
type conn struct {
	*net.UnixConn
	local, remote Addr
}

// LocalAddr answers this end.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr answers the other end.
func (c *conn) RemoteAddr() net.Addr { return c.remote }
