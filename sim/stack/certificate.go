package stack

import (
	"crypto/tls"
	"fmt"

	"github.com/cloisterhq/cloister/sim/loopback"
)

// certificate answers the TLS certificate of a simulated service, and its PEM
// for those who pin it.
func (l Layout) certificate(role string) (tls.Certificate, []byte, error) {
	cert, ca, err := loopback.Certificate(l.sim(role+"-tls.pem"), role)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("stack: %w", err)
	}
	return cert, ca, nil
}
