package rig

import (
	"encoding/pem"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/sim/issuer"
)

// Issuer vouches for analysts, and the verifier believes it.
type Issuer struct {
	*issuer.Issuer
	Verifier *identity.Verifier
	server   *httptest.Server
}

// NewIssuer starts an issuer that ends with the test.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{server: httptest.NewUnstartedServer(nil)}
	key, err := issuer.NewKey()
	must(t, err)
	url := "https://" + i.server.Listener.Addr().String()
	i.Issuer, err = issuer.New(issuer.Config{URL: url, Audience: Deployment, Key: key, Now: time.Now})
	must(t, err)
	i.server.Config.Handler = i.Handler()
	i.server.StartTLS()
	t.Cleanup(i.server.Close)
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw})
	i.Verifier, err = identity.New(identity.Config{
		Issuers: []identity.Issuer{{URL: url, Audience: Deployment, RolesClaim: "groups", TLSRoots: roots}},
		Dial:    new(net.Dialer).DialContext, Now: time.Now,
	})
	must(t, err)
	return i
}

// Token mints a token of an analyst of the rig's dataset.
func (i *Issuer) Token(t testing.TB) string {
	t.Helper()
	token, err := i.Mint(issuer.Claims{Subject: "ada", Roles: []string{"analyst"}})
	must(t, err)
	return token
}

// Close ends the issuer before the test ends.
func (i *Issuer) Close() { i.server.Close() }
