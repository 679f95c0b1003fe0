package attls

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/limits"
)

// DefaultTimeout bounds a client's exchange when its Config says nothing.
const DefaultTimeout = 20 * time.Second

// errConfig is the caller's error, not the peer's.
var errConfig = errors.New("attls: roots, a policy and a clock are needed")

// Config says whom a client accepts.
type Config struct {
	// Roots are the roots under which documents are believed. Required.
	Roots verifier.Roots
	// Policy says which releases are accepted. Required.
	Policy *policy.Policy
	// Now is the client's clock. Required.
	Now func() time.Time
	// Timeout bounds one exchange besides its context; DefaultTimeout when 0.
	Timeout time.Duration
	// OnPeer is called with every verified peer before its connection is used;
	// its error refuses the peer. Optional.
	OnPeer func(*Peer) error
	// OnRefusal is called with every refusal: an *attestation.Error, or what
	// OnPeer answered. Layers above, such as gRPC, turn errors of a connection
	// into text and try again, which is of no use here. Optional.
	OnRefusal func(error)
}

// Peer is a verified enclave at the other end of a connection.
type Peer struct {
	// Result says what was established, CheckBinding and CheckBundle included.
	Result *verifier.Result
	// Bundle is the measured configuration.
	Bundle *bundle.Bundle
	// ServiceKey, IntakeKey and Genesis are those of the evidence; nil while
	// the enclave has none.
	ServiceKey ed25519.PublicKey
	IntakeKey  []byte
	Genesis    []byte
	// SPKI is the SHA-256 of the connection's public key.
	SPKI [32]byte
	// Evidence is the server's message as it came, for ReadEvidence.
	Evidence []byte
}

// Dial makes conn an attested connection: handshake, challenge, evidence,
// judgement. It closes conn unless it succeeds, also as soon as ctx ends. On a
// connection that it answers ctx has no effect.
//
// A refusal is an *attestation.Error or the error of OnPeer. A peer that
// gives no evidence is ErrExchange.
func Dial(ctx context.Context, conn net.Conn, c Config) (net.Conn, *Peer, error) {
	if c.Policy == nil || c.Now == nil || len(c.Roots.Fingerprints()) == 0 {
		conn.Close()
		return nil, nil, errConfig
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	secured := tls.Client(conn, clientTLS())
	var peer *Peer
	err := bounded(ctx, conn, func() error {
		nonce, evidence, err := challenge(ctx, secured)
		if err != nil {
			return err
		}
		peer, err = c.judge(secured.ConnectionState(), nonce, evidence)
		if err != nil && c.OnRefusal != nil {
			c.OnRefusal(err)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return secured, peer, nil
}

// clientTLS leaves nothing to choose. No session is kept, so that every
// connection has evidence of its own.
func clientTLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		NextProtos:             []string{Protocol},
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, //nolint:gosec // the evidence vouches for the key, not a certificate
	}
}

// challenge sends a fresh nonce and answers the server's message.
func challenge(ctx context.Context, conn *tls.Conn) (nonce, evidence []byte, err error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrExchange, err)
	}
	if conn.ConnectionState().NegotiatedProtocol != Protocol {
		return nil, nil, fmt.Errorf("%w: it doesn't speak %s", ErrExchange, Protocol)
	}
	nonce = make([]byte, NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, nil, fmt.Errorf("attls: %w", err)
	}
	message, err := encodeRequest(nonce)
	if err != nil {
		return nil, nil, err
	}
	if _, err := conn.Write(message); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrExchange, err)
	}
	if evidence, err = readFrame(conn, limits.Evidence); errors.Is(err, errMessage) {
		return nil, nil, malformed()
	}
	return nonce, evidence, err
}

// judge verifies the evidence for this connection and asks OnPeer.
func (c Config) judge(state tls.ConnectionState, nonce, evidence []byte) (*Peer, error) {
	peer, err := c.verify(evidence, nonce, sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo))
	if err != nil {
		return nil, err
	}
	if c.OnPeer != nil {
		if err := c.OnPeer(peer); err != nil {
			return nil, err
		}
	}
	return peer, nil
}

// bounded runs f and closes conn as soon as ctx ends, which ends f, or when f
// fails.
func bounded(ctx context.Context, conn net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := f()
	if !stop() {
		if err == nil {
			err = ErrExchange
		}
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if err != nil {
		conn.Close()
	}
	return err
}
