package nsmsim_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// bank reads all registers of a module.
func bank(t testing.TB, c *nsm.Client) (values [attestation.PCRCount]attestation.PCR, locked [attestation.PCRCount]bool) {
	t.Helper()
	for i := range values {
		var err error
		if values[i], locked[i], err = c.DescribePCR(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	return values, locked
}

// FuzzRequest sends any bytes to a module. It always answers one well-formed
// item: a refusal, which changes nothing, or the response that the request
// names. Whatever was asked, registers that are locked keep their value and
// their lock, and only ExtendPCR changes a value.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`"DescribeNSM"`, `"GetRandom"`, `a1 "DescribePCR" a1 "index" 10`, `a1 "ExtendPCR" a2 "index" 10 "data" 4178`, `a1 "LockPCR" a1 "index" 181f`,
		`a1 "LockPCRs" a1 "range" 1820`, `a1 "Attestation" a3 "user_data" 4101 "nonce" f6 "public_key" 40`,
	} {
		f.Add(unhex(f, seed))
	}
	root, measured := newRoot(f), image(f)
	f.Fuzz(func(t *testing.T, request []byte) {
		if len(request) > nsm.MaxRequest {
			return
		}
		d, err := nsmsim.New(nsmsim.Config{Root: root, Image: measured, Now: (&clock{start}).now})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		c := nsm.NewClient(d)
		if _, err := c.Extend(t.Context(), 17, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := c.Lock(t.Context(), 17); err != nil {
			t.Fatal(err)
		}
		values, locked := bank(t, c)
		response := exchange(t, d, request)
		if len(response) > nsm.MaxResponse || cbor.Wellformed(response) != nil {
			t.Fatalf("%x isn't one item", response)
		}
		after, lockedAfter := bank(t, c)
		if bytes.HasPrefix(response, []byte("\xa1\x65Error")) {
			if after != values || lockedAfter != locked {
				t.Fatal("a refused request changed a register")
			}
			return
		}
		name := responseName(t, response)
		if !bytes.Contains(request, []byte(name)) {
			t.Fatalf("%s answers something else", name)
		}
		for i := range values {
			if locked[i] && (after[i] != values[i] || !lockedAfter[i]) {
				t.Fatalf("%s changed the locked PCR%d", name, i)
			}
			if after[i] != values[i] && name != "ExtendPCR" {
				t.Fatalf("%s changed PCR%d", name, i)
			}
			if lockedAfter[i] != locked[i] && name != "LockPCR" && name != "LockPCRs" {
				t.Fatalf("%s locked PCR%d", name, i)
			}
		}
	})
}

// responseName answers the variant of a response that isn't a refusal.
func responseName(t testing.TB, response []byte) string {
	t.Helper()
	names := []string{"DescribePCR", "ExtendPCR", "LockPCR", "LockPCRs", "DescribeNSM", "Attestation", "GetRandom"}
	var name string
	if cbor.Unmarshal(response, &name) != nil {
		var variant map[string]map[string]any
		if err := cbor.Unmarshal(response, &variant); err != nil || len(variant) != 1 {
			t.Fatalf("%x: %v", response, err)
		}
		for name = range variant {
		}
	}
	if !slices.Contains(names, name) {
		t.Fatalf("a response named %q", name)
	}
	return name
}

// FuzzLoadRoot reads any bytes as a root's file. What is read is what would be
// written, byte for byte.
func FuzzLoadRoot(f *testing.F) {
	f.Add(marshal(f, newRoot(f)))
	f.Add(newRoot(f).PEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := nsmsim.LoadRoot(b)
		if (err == nil) != (root != nil) {
			t.Fatal("an error and a root, or neither")
		}
		if err != nil {
			return
		}
		again, err := nsmsim.LoadRoot(marshal(t, root))
		if err != nil || again.Fingerprint() != root.Fingerprint() {
			t.Fatal(errors.Join(errors.New("what was read isn't what is written"), err))
		}
	})
}
