package attls

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/limits"
)

// errBusy says that too many exchanges are in flight.
var errBusy = errors.New("attls: too many exchanges in flight")

// Attest answers the evidence for one exchange: a document with this nonce and
// with the user_data of a Binding of this connection's key.
type Attest func(ctx context.Context, nonce []byte, spki [32]byte) (Evidence, error)

// server is one listener's side of the exchange.
type server struct {
	tls     *tls.Config
	spki    [32]byte
	err     error // of the certificate; answered to every exchange
	attest  Attest
	timeout time.Duration
	// exchanges are in flight. More are turned away at once, so that strangers
	// queue neither work nor memory without bound.
	exchanges *admission.Pool
	// attesting are those of them that ask for a document at the same time.
	attesting *admission.Pool
}

func newServer(cert tls.Certificate, now func() time.Time, attest Attest, timeout time.Duration) *server {
	s := &server{
		tls: &tls.Config{
			Certificates:           []tls.Certificate{cert},
			MinVersion:             tls.VersionTLS13,
			MaxVersion:             tls.VersionTLS13,
			NextProtos:             []string{Protocol},
			SessionTicketsDisabled: true,
			Time:                   now,
		},
		attest: attest, timeout: timeout,
		exchanges: admission.New(admission.Config{Permits: limits.Exchanges}),
		attesting: admission.New(admission.Config{Permits: limits.Attesting, Queue: limits.Exchanges}),
	}
	if len(cert.Certificate) == 0 {
		s.err = errors.New("attls: the server has no certificate")
		return s
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		s.err = fmt.Errorf("attls: the server's certificate: %w", err)
		return s
	}
	s.spki = sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return s
}

// accept serves one exchange on conn and answers the secured connection. It
// closes conn unless it succeeds.
func (s *server) accept(ctx context.Context, conn net.Conn) (net.Conn, error) {
	permit, err := s.exchanges.Try("", 0)
	if err != nil {
		conn.Close()
		return nil, errBusy
	}
	defer permit.Release()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	secured := tls.Server(conn, s.tls)
	if err := bounded(ctx, conn, func() error { return s.exchange(ctx, secured) }); err != nil {
		return nil, err
	}
	return secured, nil
}

// exchange takes the client's challenge and answers it. Nothing is asked of
// the security module before a whole, well-formed request is there.
func (s *server) exchange(ctx context.Context, conn *tls.Conn) error {
	if s.err != nil {
		return s.err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("attls: %w", err)
	}
	if conn.ConnectionState().NegotiatedProtocol != Protocol {
		return fmt.Errorf("attls: the client doesn't offer %s", Protocol)
	}
	raw, err := readFrame(conn, limits.EvidenceRequest)
	if err != nil {
		return err
	}
	nonce, err := parseRequest(raw[lengthSize:])
	if err != nil {
		return err
	}
	evidence, err := s.evidence(ctx, nonce)
	if err != nil {
		return err
	}
	message, err := evidence.Encode()
	if err != nil {
		return err
	}
	if _, err := conn.Write(message); err != nil {
		return fmt.Errorf("attls: %w", err)
	}
	return nil
}

// evidence waits for its turn at the security module, but not past ctx.
func (s *server) evidence(ctx context.Context, nonce []byte) (Evidence, error) {
	permit, err := s.attesting.Acquire(ctx, "", 0)
	if err != nil {
		return Evidence{}, err
	}
	defer permit.Release()
	return s.attest(ctx, nonce, s.spki)
}
