package standalone

import (
	"crypto/tls"
	"fmt"
	"os"

	"github.com/cloisterhq/cloister/sim/loopback"
)

// certificate answers the certificate that a file keeps, and writes it without
// its key for clients.
func certificate(both, ca string) (tls.Certificate, error) {
	cert, public, err := loopback.Certificate(both, "KMS")
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("kms: %w", err)
	}
	if err := os.WriteFile(ca, public, 0o644); err != nil {
		return tls.Certificate{}, fmt.Errorf("kms: %w", err)
	}
	return cert, nil
}
