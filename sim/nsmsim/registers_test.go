package nsmsim_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// Values of registers from real documents and from AWS's documentation.
const (
	instanceGolden = "d8a8e8eee96d81b77a251410b7a9b180787653f125d1dbca79685c93fb885b335e0b8d172c9821a862515a603cc33ab2"
	roleGolden     = "78fce75db17cd4e0a3fb8dad3ad128ca5e77edbb2b2c7f75329dccd99aa5f6ef4fc1f1a452e315b9e98f9e312e6921e6"
	emptyGolden    = "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"
	// emptyDigest is SHA-384 of nothing.
	emptyDigest = "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b"
)

// TestBootRegisters checks what an enclave finds, in both modes.
func TestBootRegisters(t *testing.T) {
	measured := image(t)
	measured.PCR8 = attestation.PCR{8}
	config := nsmsim.Config{Image: measured, Instance: "i-0809849710bf1b61b", Role: "arn:aws:iam::123456789012:role/Webserver"}
	want := map[int]string{
		0: measured.PCR0.String(), 1: measured.PCR1.String(), 2: measured.PCR2.String(), 3: roleGolden, 4: instanceGolden, 8: measured.PCR8.String(),
	}
	for _, debug := range []bool{false, true} {
		config.Debug = debug
		c := nsm.NewClient(newDevice(t, config))
		for i := range attestation.PCRCount {
			value, locked, err := c.DescribePCR(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			expected, ok := want[i]
			if !ok || debug && (i <= 2 || i == 8) {
				expected = zeroPCR
			}
			if value.String() != expected || locked != (i < 16) {
				t.Errorf("debug %v: PCR%d is %s, locked %v", debug, i, value, locked)
			}
		}
	}
}

// TestAsNSMCheck asks what AWS's own nsm-check asks and expects what it
// asserts (aws/aws-nitro-enclaves-nsm-api, nsm-test/src/bin/nsm-check.rs).
func TestAsNSMCheck(t *testing.T) {
	ctx := t.Context()
	c := nsm.NewClient(newDevice(t, nsmsim.Config{}))
	d, err := c.Describe(ctx)
	if err != nil || d.Registers != 32 || d.ModuleID == "" || !reflect.DeepEqual(d.Locked, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}) {
		t.Fatalf("%+v, %v", d, err)
	}
	for i := range 32 {
		if value, _, err := c.DescribePCR(ctx, i); err != nil || value.IsZero() != (i == 3 || i > 4) {
			t.Errorf("PCR%d: zero %v, %v", i, value.IsZero(), err)
		}
	}
	for i := range 16 {
		if err := c.Lock(ctx, i); !errors.Is(err, nsm.ReadOnlyIndex) {
			t.Errorf("lock PCR%d: %v", i, err)
		}
	}
	for range 10 {
		for i := 16; i < 32; i++ {
			if value, err := c.Extend(ctx, i, []byte{1, 2, 3}); err != nil || value.IsZero() {
				t.Errorf("extend PCR%d: %v", i, err)
			}
		}
	}
	for i := 16; i < 32; i++ {
		if err := c.Lock(ctx, i); err != nil {
			t.Errorf("lock PCR%d: %v", i, err)
		}
	}
	if err := c.LockRange(ctx, 32); err != nil {
		t.Errorf("lock 32: %v", err)
	}
	for i := range 32 {
		if _, err := c.Extend(ctx, i, []byte{1, 2, 3}); !errors.Is(err, nsm.ReadOnlyIndex) {
			t.Errorf("extend locked PCR%d: %v", i, err)
		}
		if value, locked, err := c.DescribePCR(ctx, i); err != nil || !locked || value.IsZero() != (i == 3 || i > 4 && i < 16) {
			t.Errorf("PCR%d: zero %v, locked %v, %v", i, value.IsZero(), locked, err)
		}
	}
	field := bytes.Repeat([]byte{128}, 1024)
	for _, r := range []nsm.Request{{}, {UserData: field}, {UserData: field, Nonce: field}, {UserData: field, Nonce: field, PublicKey: field}} {
		if document, err := c.Attest(ctx, r); err != nil || len(document) == 0 {
			t.Errorf("attest: %v", err)
		}
	}
}

// TestAgainstModel does random things to a module and to a model of it.
func TestAgainstModel(t *testing.T) {
	ctx, random := t.Context(), rand.New(rand.NewPCG(1, 2))
	for range 5 {
		c := nsm.NewClient(newDevice(t, nsmsim.Config{}))
		var values [32]attestation.PCR
		var locked [32]bool
		for i := range values {
			var err error
			if values[i], locked[i], err = c.DescribePCR(ctx, i); err != nil {
				t.Fatal(err)
			}
		}
		for range 300 {
			i := random.IntN(32)
			var want error
			if locked[i] {
				want = nsm.ReadOnlyIndex
			}
			switch random.IntN(20) {
			default:
				data := []byte(strings.Repeat("d", random.IntN(100)))
				value, err := c.Extend(ctx, i, data)
				if !errors.Is(err, want) {
					t.Fatalf("extend PCR%d: %v, want %v", i, err, want)
				}
				if want == nil {
					values[i] = values[i].Extend(data)
					if value != values[i] {
						t.Fatalf("extend PCR%d: another value than the model's", i)
					}
				}
			case 0:
				if err := c.Lock(ctx, i); !errors.Is(err, want) {
					t.Fatalf("lock PCR%d: %v, want %v", i, err, want)
				}
				locked[i] = true
			case 1:
				n := random.IntN(20)
				if err := c.LockRange(ctx, n); err != nil {
					t.Fatal(err)
				}
				for i := range n {
					locked[i] = true
				}
			}
		}
		for i := range values {
			if value, lock, err := c.DescribePCR(ctx, i); err != nil || value != values[i] || lock != locked[i] {
				t.Fatalf("PCR%d differs from the model: %v", i, err)
			}
		}
	}
}

func TestMeasure(t *testing.T) {
	measure := func(executable, label string) nsmsim.Image {
		i, err := nsmsim.Measure(strings.NewReader(executable), label)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	plain := measure("", "")
	if plain.PCR0.String() != emptyDigest {
		t.Errorf("PCR0 is %s, want the executable's SHA-384", plain.PCR0)
	}
	// printf 'cloister simulation: no kernel' | sha384sum, and the other label.
	if got := plain.PCR1.String(); got != "4961b1c6f2aaca41fd69f07992372049d27c82392c8ffe45cafa876febe4505c07754ea89c9941c178538c3c15038d73" {
		t.Errorf("PCR1 is %s", got)
	}
	if got := plain.PCR2.String(); got != "e1440637ed7bf0a624579b0d10164a621d4b69b026598459cd09c615c79ccb403c5baf5c42389de94f9f5008e07a9e72" {
		t.Errorf("PCR2 is %s", got)
	}
	seen := map[attestation.PCR]string{}
	for _, form := range [][2]string{{"", ""}, {"", "x"}, {"x", ""}, {"x", "x"}, {"x", "y"}, {"xx", ""}, {"", "xx"}} {
		i := measure(form[0], form[1])
		if i.PCR1 != plain.PCR1 || i.PCR2 != plain.PCR2 || !i.PCR8.IsZero() {
			t.Errorf("%q: other registers than PCR0 depend on the executable", form)
		}
		if other, ok := seen[i.PCR0]; ok {
			t.Errorf("%q and %q measure alike", form, other)
		}
		seen[i.PCR0] = form[0] + "/" + form[1]
	}
	broken := errors.New("broken")
	if i, err := nsmsim.Measure(errorReader{broken}, ""); !errors.Is(err, broken) || i != (nsmsim.Image{}) {
		t.Errorf("an unreadable executable: %v", err)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }
