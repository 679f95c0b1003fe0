package nsm_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
)

// script is a device that answers every request with the same bytes and keeps
// the last request.
type script struct {
	response []byte
	err      error
	request  []byte
	calls    int
}

func (s *script) Exchange(_ context.Context, request []byte) ([]byte, error) {
	s.request, s.calls = bytes.Clone(request), s.calls+1
	return s.response, s.err
}

// unhex reads hexadecimal digits in any number of parts, and text in quotes.
func unhex(t testing.TB, parts ...string) []byte {
	t.Helper()
	var all []byte
	for _, part := range strings.Fields(strings.Join(parts, " ")) {
		if text, ok := strings.CutPrefix(part, `"`); ok {
			text = strings.TrimSuffix(text, `"`)
			all = append(append(all, 0x60|byte(len(text))), text...)
			continue
		}
		b, err := hex.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

var (
	pcrHex    = strings.Repeat("ab", attestation.PCRSize)
	pcr       = attestation.PCR(bytes.Repeat([]byte{0xab}, attestation.PCRSize))
	randomHex = strings.Repeat("5a", 256)
)

// operation is one method of the client with arguments, the bytes of its
// request, the bytes of a good response, and what it then answers.
type operation struct {
	name, request, response string
	call                    func(context.Context, *nsm.Client) (any, error)
	want                    any
}

type register struct {
	value  attestation.PCR
	locked bool
}

func operations() []operation {
	return []operation{{
		"DescribePCR", `a1 "DescribePCR" a1 "index" 00`, `a1 "DescribePCR" a2 "lock" f5 "data" 5830` + pcrHex,
		func(ctx context.Context, c *nsm.Client) (any, error) {
			value, locked, err := c.DescribePCR(ctx, 0)
			return register{value, locked}, err
		}, register{pcr, true},
	}, {
		"ExtendPCR", `a1 "ExtendPCR" a2 "index" 10 "data" 43010203`, `a1 "ExtendPCR" a1 "data" 5830` + pcrHex,
		func(ctx context.Context, c *nsm.Client) (any, error) { return c.Extend(ctx, 16, []byte{1, 2, 3}) }, pcr,
	}, {
		"LockPCR", `a1 "LockPCR" a1 "index" 181f`, `"LockPCR"`,
		func(ctx context.Context, c *nsm.Client) (any, error) { return nil, c.Lock(ctx, 31) }, nil,
	}, {
		"LockPCRs", `a1 "LockPCRs" a1 "range" 1820`, `"LockPCRs"`,
		func(ctx context.Context, c *nsm.Client) (any, error) { return nil, c.LockRange(ctx, 32) }, nil,
	}, {
		"DescribeNSM", `"DescribeNSM"`,
		`a1 "DescribeNSM" a7 "version_major" 01 "version_minor" 02 "version_patch" 03 "module_id" "i-0-enc0"
		 "max_pcrs" 1820 "locked_pcrs" 83 00 0f 1810 "digest" "SHA384"`,
		func(ctx context.Context, c *nsm.Client) (any, error) { return c.Describe(ctx) },
		nsm.Description{Major: 1, Minor: 2, Patch: 3, ModuleID: "i-0-enc0", Registers: 32, Locked: []int{0, 15, 16}},
	}, {
		"Attestation", `a1 "Attestation" a3 "user_data" 4101 "nonce" 40 "public_key" f6`, `a1 "Attestation" a1 "document" 42 d284`,
		func(ctx context.Context, c *nsm.Client) (any, error) {
			return c.Attest(ctx, nsm.Request{UserData: []byte{1}, Nonce: []byte{}})
		}, []byte{0xd2, 0x84},
	}, {
		"GetRandom", `"GetRandom"`, `a1 "GetRandom" a1 "random" 590100` + randomHex,
		func(ctx context.Context, c *nsm.Client) (any, error) { return c.Random(ctx) }, bytes.Repeat([]byte{0x5a}, 256),
	}}
}

// TestRequests holds every request byte for byte against what the module's own
// library writes, and reads its response.
func TestRequests(t *testing.T) {
	for _, o := range operations() {
		s := &script{response: unhex(t, o.response)}
		got, err := o.call(t.Context(), nsm.NewClient(s))
		if err != nil {
			t.Errorf("%s: %v", o.name, err)
			continue
		}
		if want := unhex(t, o.request); !bytes.Equal(s.request, want) {
			t.Errorf("%s: request %x, want %x", o.name, s.request, want)
		}
		if !reflect.DeepEqual(got, o.want) {
			t.Errorf("%s: %v, want %v", o.name, got, o.want)
		}
	}
}

// TestAbsentFields distinguishes fields that are absent from empty ones.
func TestAbsentFields(t *testing.T) {
	s := &script{response: unhex(t, `a1 "Attestation" a1 "document" 4184`)}
	c := nsm.NewClient(s)
	for want, r := range map[string]nsm.Request{
		`"user_data" f6 "nonce" f6 "public_key" f6`:   {},
		`"user_data" 40 "nonce" 40 "public_key" 40`:   {UserData: []byte{}, Nonce: []byte{}, PublicKey: []byte{}},
		`"user_data" f6 "nonce" 4107 "public_key" f6`: {Nonce: []byte{7}},
	} {
		if _, err := c.Attest(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if want := unhex(t, `a1 "Attestation" a3`, want); !bytes.Equal(s.request, want) {
			t.Errorf("request %x, want %x", s.request, want)
		}
	}
}

// TestOutOfBounds checks what is refused without asking the module, and that
// the largest that isn't fits.
func TestOutOfBounds(t *testing.T) {
	long, longest := make([]byte, nsm.MaxField+1), make([]byte, nsm.MaxField)
	tests := []struct {
		name string
		call func(context.Context, *nsm.Client) error
		want error
	}{
		{"extend -1", func(ctx context.Context, c *nsm.Client) error { _, err := c.Extend(ctx, -1, nil); return err }, nsm.InvalidIndex},
		{"extend 32", func(ctx context.Context, c *nsm.Client) error { _, err := c.Extend(ctx, 32, nil); return err }, nsm.InvalidIndex},
		{"extend too much", func(ctx context.Context, c *nsm.Client) error {
			_, err := c.Extend(ctx, 16, make([]byte, nsm.MaxRequest))
			return err
		}, nsm.InputTooLarge},
		{"lock 32", func(ctx context.Context, c *nsm.Client) error { return c.Lock(ctx, 32) }, nsm.InvalidIndex},
		{"lock 2^16", func(ctx context.Context, c *nsm.Client) error { return c.Lock(ctx, 1<<16) }, nsm.InvalidIndex},
		{"lock range -1", func(ctx context.Context, c *nsm.Client) error { return c.LockRange(ctx, -1) }, nsm.InvalidIndex},
		{"lock range 33", func(ctx context.Context, c *nsm.Client) error { return c.LockRange(ctx, 33) }, nsm.InvalidIndex},
		{"describe 32", func(ctx context.Context, c *nsm.Client) error { _, _, err := c.DescribePCR(ctx, 32); return err }, nsm.InvalidIndex},
		{"user data", func(ctx context.Context, c *nsm.Client) error {
			_, err := c.Attest(ctx, nsm.Request{UserData: long})
			return err
		}, nsm.InputTooLarge},
		{"nonce", func(ctx context.Context, c *nsm.Client) error {
			_, err := c.Attest(ctx, nsm.Request{Nonce: long})
			return err
		}, nsm.InputTooLarge},
		{"public key", func(ctx context.Context, c *nsm.Client) error {
			_, err := c.Attest(ctx, nsm.Request{PublicKey: long})
			return err
		}, nsm.InputTooLarge},
	}
	for _, test := range tests {
		s := &script{}
		if err := test.call(t.Context(), nsm.NewClient(s)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if s.calls != 0 {
			t.Errorf("%s: the module was asked", test.name)
		}
	}
	s := &script{response: unhex(t, `a1 "Attestation" a1 "document" 4184`)}
	if _, err := nsm.NewClient(s).Attest(t.Context(), nsm.Request{UserData: longest, Nonce: longest, PublicKey: longest}); err != nil {
		t.Errorf("three fields of 1024 bytes: %v", err)
	}
}
