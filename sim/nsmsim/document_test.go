package nsmsim_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

func nonce() []byte { return bytes.Repeat([]byte{0x4e}, verifier.NonceSize) }

func roots(t testing.TB, root *nsmsim.Root) verifier.Roots {
	t.Helper()
	r, err := verifier.NewRoots(root.PEM())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// load makes a policy for the simulated root and one release.
func load(t testing.TB, root *nsmsim.Root, pcrs map[int]attestation.PCR) *policy.Policy {
	t.Helper()
	release := policy.FileRelease{Name: "test", PCRs: map[string]string{}}
	for i, value := range pcrs {
		release.PCRs[fmt.Sprint(i)] = value.String()
	}
	b, err := policy.File{
		Version: 1, Environment: policy.Simulation, Kind: policy.KindEnclave, Roots: []string{root.Fingerprint()},
		Bundle: policy.BundleRequired, Releases: []policy.FileRelease{release}, MaxAge: "5m",
	}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func attest(t testing.TB, d *nsmsim.Device, r nsm.Request) []byte {
	t.Helper()
	document, err := nsm.NewClient(d).Attest(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// TestEndToEnd does what an enclave does at boot and what a relying party does
// with the evidence: both verifiers and the whole policy accept.
func TestEndToEnd(t *testing.T) {
	root, measured := newRoot(t), image(t)
	d := newDevice(t, nsmsim.Config{Root: root, Image: measured})
	c := nsm.NewClient(d)
	digest := sha512.Sum384([]byte("bundle"))
	// SHA-384(48 zero bytes || SHA-384("bundle")), computed apart from PCR.Extend.
	want := attestation.PCR(sha512.Sum384(append(make([]byte, 48), digest[:]...)))
	if value, err := c.Extend(t.Context(), 16, digest[:]); err != nil || value != want {
		t.Fatalf("PCR16 is %s, %v; want %s", value, err, want)
	}
	if parsed, err := attestation.Parse(attest(t, d, nsm.Request{})); err != nil || len(parsed.PCRs()) != 16 {
		t.Fatalf("extended and not locked, a register is in the document: %d, %v", len(parsed.PCRs()), err)
	}
	if err := c.LockRange(t.Context(), 32); err != nil {
		t.Fatal(err)
	}
	document := attest(t, d, nsm.Request{UserData: []byte("user data"), Nonce: nonce(), PublicKey: []byte("public key")})
	authentic, err := verifier.Authenticate(document, roots(t, root), start)
	if err != nil {
		t.Fatal(err)
	}
	p := load(t, root, map[int]attestation.PCR{0: measured.PCR0, 1: measured.PCR1, 2: measured.PCR2, 16: want})
	result, err := verifier.Appraise(authentic, p, nonce(), start)
	if err != nil {
		t.Fatal(err)
	}
	if result.Environment() != policy.Simulation || result.Debug() || result.RootFingerprint() != root.Fingerprint() || authentic.IsAWS() {
		t.Errorf("environment %q, debug %v, root %s", result.Environment(), result.Debug(), result.RootFingerprint())
	}
	seen := authentic.Document()
	if !bytes.Equal(seen.UserData(), []byte("user data")) || !bytes.Equal(seen.Nonce(), nonce()) || !bytes.Equal(seen.PublicKey(), []byte("public key")) {
		t.Error("the document holds other fields than asked for")
	}
	if seen.ModuleID() != d.ModuleID() || !seen.Timestamp().Equal(start) || len(seen.PCRs()) != 32 {
		t.Errorf("module %s, timestamp %v, %d registers", seen.ModuleID(), seen.Timestamp(), len(seen.PCRs()))
	}
}

// TestForeign checks that nobody else's trust accepts a document.
func TestForeign(t *testing.T) {
	document := attest(t, newDevice(t, nsmsim.Config{}), nsm.Request{})
	for name, trusted := range map[string]verifier.Roots{"AWS": verifier.AWS(), "another deployment": roots(t, newRoot(t))} {
		_, err := verifier.Authenticate(document, trusted, start)
		if refused, ok := errors.AsType[*attestation.Error](err); !ok || refused.Class != attestation.UntrustedRoot {
			t.Errorf("%s: %v, want untrusted root", name, err)
		}
	}
}

// TestFraming walks over a document by hand: heads, order, nulls and sizes are
// those of real documents.
func TestFraming(t *testing.T) {
	for _, definite := range []bool{false, true} {
		d := newDevice(t, nsmsim.Config{Definite: definite, Instance: "i-0809849710bf1b61b"})
		w := walker{t, attest(t, d, nsm.Request{UserData: []byte{}})}
		w.skip("\x84\x44\xa1\x01\x38\x22\xa0\x59")
		payload := walker{t, w.take(int(binary.BigEndian.Uint16(w.take(2))))}
		w.skip("\x58\x60")
		w.take(attestation.SignatureSize)
		if len(w.rest) != 0 {
			t.Fatalf("%d bytes behind the signature", len(w.rest))
		}
		if definite {
			payload.skip("\xa9")
		} else {
			payload.skip("\xbf")
		}
		payload.skip("\x69module_id\x78\x27" + d.ModuleID() + "\x66digest\x66SHA384\x69timestamp\x1b")
		if ms := binary.BigEndian.Uint64(payload.take(8)); ms != uint64(start.UnixMilli()) || ms%1000 == 0 {
			t.Errorf("timestamp %d, want %d", ms, start.UnixMilli())
		}
		payload.skip("\x64pcrs\xb0")
		for i := range 16 {
			payload.skip(string([]byte{byte(i), 0x58, 0x30}))
			payload.take(48)
		}
		payload.skip("\x6bcertificate\x59")
		payload.take(int(binary.BigEndian.Uint16(payload.take(2))))
		payload.skip("\x68cabundle\x84")
		for range 4 {
			payload.skip("\x59")
			payload.take(int(binary.BigEndian.Uint16(payload.take(2))))
		}
		payload.skip("\x6apublic_key\xf6\x69user_data\x40\x65nonce\xf6")
		if !definite {
			payload.skip("\xff")
		}
		if len(payload.rest) != 0 {
			t.Errorf("%d bytes behind the payload's map", len(payload.rest))
		}
	}
}

// TestShortNumbers looks for signatures whose r or s is shorter than 48 bytes:
// each has its place all the same.
func TestShortNumbers(t *testing.T) {
	root := newRoot(t)
	d, trusted := newDevice(t, nsmsim.Config{Root: root}), roots(t, root)
	var r, s bool
	for range 20_000 { // one in 256 will do
		document := attest(t, d, nsm.Request{})
		signature := document[len(document)-attestation.SignatureSize:]
		if signature[0] != 0 && signature[48] != 0 {
			continue
		}
		if _, err := verifier.Authenticate(document, trusted, start); err != nil {
			t.Fatal(err)
		}
		r, s = r || signature[0] == 0, s || signature[48] == 0
		if r && s {
			return
		}
	}
	t.Error("no short number is written with a zero in front")
}

type walker struct {
	t    *testing.T
	rest []byte
}

func (w *walker) take(n int) []byte {
	w.t.Helper()
	if n > len(w.rest) {
		w.t.Fatalf("%d bytes wanted, %d left", n, len(w.rest))
	}
	b := w.rest[:n]
	w.rest = w.rest[n:]
	return b
}

func (w *walker) skip(want string) {
	w.t.Helper()
	if got := w.take(len(want)); string(got) != want {
		w.t.Fatalf("%q, want %q", got, want)
	}
}

// TestLargest makes the largest document there can be; the response must fit.
func TestLargest(t *testing.T) {
	root, err := nsmsim.NewRoot(start, strings.Repeat("n", 64))
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, nsmsim.Config{Root: root})
	if err := nsm.NewClient(d).LockRange(t.Context(), 32); err != nil {
		t.Fatal(err)
	}
	field := bytes.Repeat([]byte{0xff}, nsm.MaxField)
	document := attest(t, d, nsm.Request{UserData: field, Nonce: field, PublicKey: field})
	if _, err := verifier.Authenticate(document, roots(t, root), start); err != nil {
		t.Error(err)
	}
}

// TestFaults checks what each fault looks like to the asker and to whoever is
// shown the document.
func TestFaults(t *testing.T) {
	tests := map[string]struct {
		fault  nsmsim.Fault
		asked  error // of the client
		class  attestation.Class
		signed bool // Authenticate accepts
	}{
		"healthy":       {nsmsim.Healthy, nil, "", true},
		"failing":       {nsmsim.Failing, nsm.InternalError, "", false},
		"truncated":     {nsmsim.Truncated, nsm.ErrResponse, "", false},
		"wrong nonce":   {nsmsim.WrongNonce, nil, attestation.Nonce, true},
		"old timestamp": {nsmsim.OldTimestamp, nil, attestation.Stale, true},
		"debug":         {nsmsim.DebugPCRs, nil, attestation.Debug, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, measured, fault := newRoot(t), image(t), nsmsim.Healthy
			d := newDevice(t, nsmsim.Config{Root: root, Image: measured, Faults: func(string) nsmsim.Fault { return fault }})
			c := nsm.NewClient(d)
			if err := c.LockRange(t.Context(), 32); err != nil {
				t.Fatal(err)
			}
			pcr16 := attestation.PCR{}.Extend([]byte("x"))
			p := load(t, root, map[int]attestation.PCR{0: measured.PCR0, 1: measured.PCR1, 2: measured.PCR2, 16: pcr16})
			fault = test.fault
			document, err := c.Attest(t.Context(), nsm.Request{Nonce: nonce()})
			if !errors.Is(err, test.asked) || (err == nil) != test.signed {
				t.Fatalf("%v, want %v", err, test.asked)
			}
			if err != nil {
				return
			}
			authentic, err := verifier.Authenticate(document, roots(t, root), start)
			if err != nil {
				t.Fatalf("not authentic: %v", err)
			}
			_, err = verifier.Appraise(authentic, p, nonce(), start)
			want := test.class
			if want == "" {
				want = attestation.PolicyMismatch // PCR16 was locked at zero
			}
			if refused, ok := errors.AsType[*attestation.Error](err); !ok || refused.Class != want {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}

// TestFaultsAndState checks which faults do what was asked.
func TestFaultsAndState(t *testing.T) {
	for fault, done := range map[nsmsim.Fault]bool{nsmsim.Failing: false, nsmsim.Truncated: true} {
		current := fault
		c := nsm.NewClient(newDevice(t, nsmsim.Config{Faults: func(string) nsmsim.Fault { return current }}))
		if _, err := c.Extend(t.Context(), 16, nil); err == nil {
			t.Errorf("fault %d: no error", fault)
		}
		current = nsmsim.Healthy
		if value, _, err := c.DescribePCR(t.Context(), 16); err != nil || value.IsZero() == done {
			t.Errorf("fault %d: extended %v, %v; want %v", fault, !value.IsZero(), err, done)
		}
	}
}

// TestFaultsAreNamed checks that faults are asked for once for each request, by
// the request's name.
func TestFaultsAreNamed(t *testing.T) {
	var names []string
	c := nsm.NewClient(newDevice(t, nsmsim.Config{Faults: func(name string) nsmsim.Fault {
		names = append(names, name)
		return nsmsim.Failing
	}}))
	ctx := t.Context()
	_, attestErr := c.Attest(ctx, nsm.Request{})
	_, extendErr := c.Extend(ctx, 16, nil)
	_, describeErr := c.Describe(ctx)
	_, _, registerErr := c.DescribePCR(ctx, 0)
	_, randomErr := c.Random(ctx)
	for _, err := range []error{attestErr, extendErr, c.Lock(ctx, 16), c.LockRange(ctx, 16), describeErr, registerErr, randomErr} {
		if !errors.Is(err, nsm.InternalError) {
			t.Errorf("%v, want InternalError", err)
		}
	}
	if got, want := strings.Join(names, " "), "Attestation ExtendPCR DescribeNSM DescribePCR GetRandom LockPCR LockPCRs"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

// TestWrongNonceOfNothing checks that the fault bites without a nonce too.
func TestWrongNonceOfNothing(t *testing.T) {
	d := newDevice(t, nsmsim.Config{Faults: func(string) nsmsim.Fault { return nsmsim.WrongNonce }})
	for _, asked := range [][]byte{nil, {}, {0}, nonce()} {
		document, err := attestation.Parse(attest(t, d, nsm.Request{Nonce: asked}))
		if err != nil || bytes.Equal(document.Nonce(), asked) {
			t.Errorf("asked for %x, the document holds it; %v", asked, err)
		}
	}
}

// TestDebugMode checks a document of an enclave in debug mode.
func TestDebugMode(t *testing.T) {
	root := newRoot(t)
	d := newDevice(t, nsmsim.Config{Root: root, Debug: true, Role: "arn:aws:iam::123456789012:role/Webserver"})
	authentic, err := verifier.Authenticate(attest(t, d, nsm.Request{}), roots(t, root), start)
	if err != nil {
		t.Fatal(err)
	}
	for i, value := range authentic.Document().PCRs() {
		if value.IsZero() != (i != 3 && i != 4) {
			t.Errorf("PCR%d: zero %v", i, value.IsZero())
		}
	}
}

// TestTimestamps checks that documents have the module's own time.
func TestTimestamps(t *testing.T) {
	now := &clock{start}
	d := newDevice(t, nsmsim.Config{Now: now.now})
	for range 5 {
		now.Time = now.Add(1500 * time.Millisecond)
		if parsed, err := attestation.Parse(attest(t, d, nsm.Request{})); err != nil || !parsed.Timestamp().Equal(now.Time) {
			t.Errorf("timestamp %v, %v; want %v", parsed.Timestamp(), err, now.Time)
		}
	}
}
