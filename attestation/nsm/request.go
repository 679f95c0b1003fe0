package nsm

import (
	"context"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/attestation"
)

// Names of the requests. A response to one bears the same name.
const (
	describePCR = "DescribePCR"
	extendPCR   = "ExtendPCR"
	lockPCR     = "LockPCR"
	lockPCRs    = "LockPCRs"
	describeNSM = "DescribeNSM"
	attest      = "Attestation"
	getRandom   = "GetRandom"
)

// minRandom is how many random bytes a response must hold; modules give 256.
const minRandom = 32

// Request is what an attestation document is to hold beside the module's own
// words. A nil field is absent from the document; an empty one is there and
// empty. Each has at most [MaxField] bytes.
type Request struct {
	// UserData is the attester's statement.
	UserData []byte `cbor:"user_data"`
	// Nonce is the verifier's challenge.
	Nonce []byte `cbor:"nonce"`
	// PublicKey is a key that the enclave holds, in DER for KMS.
	PublicKey []byte `cbor:"public_key"`
}

// Attest answers a fresh attestation document: a COSE_Sign1 message, for
// package attestation to read. It holds the locked registers only.
func (c *Client) Attest(ctx context.Context, r Request) (document []byte, err error) {
	if max(len(r.UserData), len(r.Nonce), len(r.PublicKey)) > MaxField {
		return nil, refuse(attest, InputTooLarge)
	}
	var body attestationBody
	if err := c.call(ctx, attest, r, &body); err != nil {
		return nil, err
	}
	return []byte(*body.Document), nil
}

// Extend extends register index by raw data and answers its new value,
// SHA-384(old value || data). A locked register is [ReadOnlyIndex].
func (c *Client) Extend(ctx context.Context, index int, data []byte) (attestation.PCR, error) {
	if !isRegister(index) {
		return attestation.PCR{}, refuse(extendPCR, InvalidIndex)
	}
	fields := struct {
		Index int             `cbor:"index"`
		Data  cbor.ByteString `cbor:"data"`
	}{index, cbor.ByteString(data)}
	var body extendBody
	if err := c.call(ctx, extendPCR, fields, &body); err != nil {
		return attestation.PCR{}, err
	}
	return attestation.PCR([]byte(*body.Data)), nil
}

// Lock locks register index until the enclave ends, so that it appears in
// documents. A locked one is [ReadOnlyIndex].
func (c *Client) Lock(ctx context.Context, index int) error {
	if !isRegister(index) {
		return refuse(lockPCR, InvalidIndex)
	}
	return c.call(ctx, lockPCR, indexField{index}, nil)
}

// LockRange locks the registers 0 to n-1, those included that are locked.
func (c *Client) LockRange(ctx context.Context, n int) error {
	if n < 0 || n > attestation.PCRCount {
		return refuse(lockPCRs, InvalidIndex)
	}
	fields := struct {
		Range int `cbor:"range"`
	}{n}
	return c.call(ctx, lockPCRs, fields, nil)
}

// Describe answers what the module says about itself.
func (c *Client) Describe(ctx context.Context) (Description, error) {
	var body describeBody
	if err := c.call(ctx, describeNSM, nil, &body); err != nil {
		return Description{}, err
	}
	return body.description(), nil
}

// DescribePCR answers the value of register index and whether it is locked.
func (c *Client) DescribePCR(ctx context.Context, index int) (value attestation.PCR, locked bool, err error) {
	if !isRegister(index) {
		return attestation.PCR{}, false, refuse(describePCR, InvalidIndex)
	}
	var body registerBody
	if err := c.call(ctx, describePCR, indexField{index}, &body); err != nil {
		return attestation.PCR{}, false, err
	}
	return attestation.PCR([]byte(*body.Data)), *body.Lock, nil
}

// Random answers random bytes from the module, 256 as a rule and never fewer
// than 32.
func (c *Client) Random(ctx context.Context) ([]byte, error) {
	var body randomBody
	if err := c.call(ctx, getRandom, nil, &body); err != nil {
		return nil, err
	}
	return []byte(*body.Random), nil
}

type indexField struct {
	Index int `cbor:"index"`
}

// call sends a request and reads the fields of the response into b. nil fields
// make the bare name, and a nil b expects the bare name.
func (c *Client) call(ctx context.Context, name string, fields any, b body) error {
	request, err := encode(name, fields)
	if err != nil {
		return refuse(name, err)
	}
	response, err := c.exchange(ctx, request)
	if err != nil {
		return refuse(name, err)
	}
	if err := decode(response, name, b); err != nil {
		return refuse(name, err)
	}
	return nil
}

// encode writes an enum as serde does: a variant without fields as text, one
// with fields as a map of one entry.
func encode(name string, fields any) ([]byte, error) {
	var item any = name
	if fields != nil {
		item = map[string]any{name: fields}
	}
	request, err := cbor.Marshal(item)
	if err != nil {
		return nil, err
	}
	if len(request) > MaxRequest {
		return nil, InputTooLarge
	}
	return request, nil
}

func isRegister(index int) bool { return index >= 0 && index < attestation.PCRCount }

func refuse(name string, err error) error { return fmt.Errorf("nsm: %s: %w", name, err) }
