// Package genuine makes for tests what the enclave's types demand, in the only
// ways there are: batches from sealed envelopes, principals from signed tokens,
// grants' audit logs over a real state. It is trusted by nobody and linked by
// tests alone.
package genuine

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"time"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/sim/issuer"
)

const deployment = "genuine"

// Batch seals records as a producer does, and opens and judges them as the
// enclave does.
func Batch(c *contract.Contract, records []columns.Record) (*record.Batch, error) {
	v, err := contract.NewValidator(c)
	if err != nil {
		return nil, err
	}
	content, err := columns.Encode(records)
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	h := envelope.Header{
		Version: envelope.Version, Deployment: deployment, Dataset: c.Dataset, Contract: c.Version, Producer: "producer",
		Stream: "s", Codec: columns.Codec, Wrap: envelope.Wrap{Kind: envelope.WrapKMS, Key: "arn", Epoch: 1, Blob: []byte("blob")},
		Salt: [32]byte(bytes.Repeat([]byte{7}, 32)),
	}
	raw, _, err := envelope.Seal(h, key(), len(records), content, private)
	if err != nil {
		return nil, err
	}
	sealed, err := envelope.Parse(raw)
	if err != nil {
		return nil, err
	}
	authentic, err := sealed.Authenticate(public)
	if err != nil {
		return nil, err
	}
	opened, err := authentic.Open(key())
	if err != nil {
		return nil, err
	}
	b, _, err := record.Decode(opened, v)
	return b, err
}

// Principal signs somebody with these roles in, at an issuer that exists for
// this call.
func Principal(ctx context.Context, subject string, roles ...string) (*identity.Principal, error) {
	server := httptest.NewUnstartedServer(nil)
	signing, err := issuer.NewKey()
	if err != nil {
		return nil, err
	}
	url := "https://" + server.Listener.Addr().String()
	i, err := issuer.New(issuer.Config{URL: url, Audience: deployment, Key: signing, Now: time.Now})
	if err != nil {
		return nil, err
	}
	server.Config.Handler = i.Handler()
	server.StartTLS()
	defer server.Close()
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	v, err := identity.New(identity.Config{
		Issuers: []identity.Issuer{{URL: url, Audience: deployment, RolesClaim: "groups", TLSRoots: roots}},
		Dial:    new(net.Dialer).DialContext, Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	token, err := i.Mint(issuer.Claims{Subject: subject, Roles: roles})
	if err != nil {
		return nil, err
	}
	return v.Verify(ctx, token)
}

// State opens the state that the objects hold, or begins one.
func State(ctx context.Context, o state.Objects) (*state.State, error) {
	return state.Open(ctx, state.Config{Objects: o, Keys: keys{}, Deployment: deployment, Now: time.Now})
}

// keys stands for KMS: one data key, wrapped by giving it a name.
type keys struct{}

func (keys) Generate(context.Context) (secret.Bytes, []byte, error) { return key(), []byte("key"), nil }

func (keys) Decrypt(context.Context, []byte) (secret.Bytes, error) { return key(), nil }

func key() secret.Bytes { return secret.New(bytes.Repeat([]byte{0x5a}, 32)) }
