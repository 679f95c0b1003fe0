package attls

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// AuthInfo is what gRPC knows of an attested connection; a call finds it in
// its peer.Peer.
type AuthInfo struct {
	credentials.CommonAuthInfo
	// Peer is the verified enclave; nil at the server, whose clients prove
	// themselves by tokens.
	Peer *Peer
}

// AuthType answers "attls".
func (AuthInfo) AuthType() string { return "attls" }

func authInfo(peer *Peer) AuthInfo {
	return AuthInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, peer}
}

// info describes the protocol to gRPC, which takes "tls" as a reason to write
// https as the scheme of requests.
func info() credentials.ProtocolInfo { return credentials.ProtocolInfo{SecurityProtocol: "tls"} }

// errSide says that credentials were used at the wrong end.
var errSide = errors.New("attls: these credentials are for the other end")

// NewClient answers gRPC credentials that run Dial on every connection, so
// that no call goes to a peer that wasn't verified. gRPC keeps only the text
// of a refusal and dials again; Config.OnRefusal learns of it.
func NewClient(c Config) credentials.TransportCredentials { return clientCredentials{c} }

type clientCredentials struct{ config Config }

// ClientHandshake runs the client's side of the exchange.
func (c clientCredentials) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, peer, err := Dial(ctx, conn, c.config)
	if err != nil {
		return nil, nil, err
	}
	return secured, authInfo(peer), nil
}

// ServerHandshake refuses.
func (clientCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn.Close()
	return nil, nil, errSide
}

// Info describes the protocol.
func (clientCredentials) Info() credentials.ProtocolInfo { return info() }

// Clone answers the same credentials, which never change.
func (c clientCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName has no effect: no name is ever judged.
func (clientCredentials) OverrideServerName(string) error { return nil }

// NewServer answers gRPC credentials that give every client evidence before
// anything else. now is the clock of TLS, attest makes the evidence, and
// timeout bounds one exchange from its first byte to its last.
func NewServer(cert tls.Certificate, now func() time.Time, attest Attest, timeout time.Duration) credentials.TransportCredentials {
	return serverCredentials{newServer(cert, now, attest, timeout)}
}

type serverCredentials struct{ server *server }

// ServerHandshake runs the server's side of the exchange.
func (s serverCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, err := s.server.accept(context.Background(), conn)
	if err != nil {
		return nil, nil, err
	}
	return secured, authInfo(nil), nil
}

// ClientHandshake refuses.
func (serverCredentials) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn.Close()
	return nil, nil, errSide
}

// Info describes the protocol.
func (serverCredentials) Info() credentials.ProtocolInfo { return info() }

// Clone answers the same credentials: all listeners share the permits.
func (s serverCredentials) Clone() credentials.TransportCredentials { return s }

// OverrideServerName has no effect: the server has no name.
func (serverCredentials) OverrideServerName(string) error { return nil }
