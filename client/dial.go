package client

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/cloisterhq/cloister/internal/attls"
)

// Dial connects to the enclave, appraises its evidence with a fresh nonce and
// answers the connection, on which HTTP/2 comes next. While nobody answers, or
// the enclave has no keys yet, it tries again until Wait is over: without keys
// there is no genesis to compare with the pinned one, and evidence says nothing
// of later. Errors of the network are ErrUnreachable, an enclave without keys is
// ErrLocked, a refusal is an *attestation.Error.
func (c *Client) Dial(ctx context.Context) (net.Conn, *attls.Peer, error) {
	var conn net.Conn
	var peer *attls.Peer
	err := c.retry(ctx, func() error {
		var err error
		if conn, peer, err = c.dial(ctx); err != nil {
			return err
		}
		if peer.ServiceKey == nil {
			conn.Close()
			return ErrLocked
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return conn, peer, nil
}

// dial connects and verifies once, whether the enclave has keys or not.
func (c *Client) dial(ctx context.Context) (net.Conn, *attls.Peer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.config.Attested)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	secured, peer, err := attls.Dial(ctx, conn, c.attls)
	if errors.Is(err, attls.ErrExchange) {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return secured, peer, err
}
