// Package vsock is the seam between the enclave and its parent: who listens
// where, and the two transports that carry it, AF_VSOCK and unix sockets. It
// trusts neither side: an address says which virtual machine a connection
// comes from, never who speaks on it.
package vsock

import (
	"context"
	"fmt"
	"net"

	mdvsock "github.com/mdlayher/vsock"
)

// Context identifiers, the addresses of virtual machines.
const (
	// HostCID is the parent as a Nitro enclave sees it (AWS Nitro Enclaves
	// user guide, "Nitro Enclaves concepts", local communication channel).
	HostCID uint32 = 3
	// EnclaveCID is the enclave unless a deployment runs several on one parent.
	EnclaveCID uint32 = 16
)

// Ports, all of them.
const (
	// PortAttested is the enclave's attested TLS: Flight SQL and evidence.
	PortAttested uint32 = 5000
	// PortIngest is the enclave's record path, for the gateway alone.
	PortIngest uint32 = 5001
	// PortEgress is the parent's way out: one CONNECT line, then opaque bytes.
	PortEgress uint32 = 8000
	// PortHost is the parent's bundle, objects and credentials.
	PortHost uint32 = 8001
	// PortHeartbeat is where Nitro's boot heartbeat arrives at the parent.
	PortHeartbeat uint32 = 9000
)

// Transport opens and accepts connections between virtual machines. Its
// connections can be closed for writing alone: they have a CloseWrite method.
type Transport interface {
	// Listen accepts connections to a port of this machine. The listener drops
	// nobody by itself; see Only.
	Listen(port uint32) (net.Listener, error)
	// Dial connects to a port of the machine cid. It gives up when ctx ends,
	// which has no effect on a connection that is there.
	Dial(ctx context.Context, cid, port uint32) (net.Conn, error)
}

// Addr is the address of one end of a connection.
type Addr struct {
	// CID is the machine, 0 when unknown.
	CID uint32
	// Port is the port, 0 for the dialling end of a unix transport.
	Port uint32
}

// Network answers "vsock".
func (Addr) Network() string { return "vsock" }

// String answers "cid:port".
func (a Addr) String() string { return fmt.Sprintf("%d:%d", a.CID, a.Port) }

// Host answers the AF_VSOCK transport of this machine. Nothing is opened
// before the first call, so that a missing device is that call's error and
// never a reason to fall back.
func Host() Transport { return host{} }

type host struct{}

// anyCID binds to whatever identifier this machine has (VMADDR_CID_ANY of
// vsock(7)), so that listening needs no /dev/vsock.
const anyCID = 0xffffffff

// Listen accepts connections to a port of this machine.
func (host) Listen(port uint32) (net.Listener, error) {
	l, err := mdvsock.ListenContextID(anyCID, port, nil)
	if err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	return l, nil
}

// Dial connects to a port of the machine cid.
func (host) Dial(ctx context.Context, cid, port uint32) (net.Conn, error) {
	conn, err := mdvsock.DialContext(ctx, cid, port, nil)
	if err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	return conn, nil
}

// PeerCID answers the machine at the other end of a connection, or false when
// the connection isn't one of this package's transports.
func PeerCID(conn net.Conn) (uint32, bool) {
	switch a := conn.RemoteAddr().(type) {
	case Addr:
		return a.CID, true
	case *mdvsock.Addr:
		return a.ContextID, true
	default:
		return 0, false
	}
}

// Only answers a listener that closes every connection from another machine
// than cid at once. Whoever serves one known peer uses it: on a shared parent
// every process can reach the enclave's ports, and every enclave the parent's.
func Only(l net.Listener, cid uint32) net.Listener { return only{l, cid} }

type only struct {
	net.Listener
	cid uint32
}

// Accept answers the next connection from the right machine.
func (o only) Accept() (net.Conn, error) {
	for {
		conn, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if cid, ok := PeerCID(conn); ok && cid == o.cid {
			return conn, nil
		}
		conn.Close()
	}
}
