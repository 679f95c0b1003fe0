package client

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/cloisterhq/cloister/internal/attls"
)

// Dial connects to the enclave, appraises its evidence with a fresh nonce and
// answers the connection, on which HTTP/2 comes next. While nobody answers it
// tries again until Wait is over. Errors of the network are ErrUnreachable; a
// refusal is an *attestation.Error.
func (c *Client) Dial(ctx context.Context) (net.Conn, *attls.Peer, error) {
	var secured net.Conn
	var peer *attls.Peer
	err := c.retry(ctx, func() error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", c.config.Attested)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		secured, peer, err = attls.Dial(ctx, conn, c.attls)
		if errors.Is(err, attls.ErrExchange) {
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return secured, peer, nil
}
