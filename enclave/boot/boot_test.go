package boot_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// epoch is when the simulated modules are.
func epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC) }

// device starts a simulated module, changed as a test wants it.
func device(t *testing.T, change func(*nsmsim.Config)) *nsmsim.Device {
	t.Helper()
	root, err := nsmsim.NewRoot(epoch(), "boot test")
	if err != nil {
		t.Fatal(err)
	}
	image, err := nsmsim.Measure(strings.NewReader("an executable"), "")
	if err != nil {
		t.Fatal(err)
	}
	c := nsmsim.Config{Root: root, Image: image, Now: epoch}
	if change != nil {
		change(&c)
	}
	d, err := nsmsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func client(t *testing.T, change func(*nsmsim.Config)) *nsm.Client {
	t.Helper()
	return nsm.NewClient(device(t, change))
}

// faulty answers a change that makes one kind of request fail.
func faulty(request string, fault nsmsim.Fault) func(*nsmsim.Config) {
	return func(c *nsmsim.Config) {
		c.Faults = func(asked string) nsmsim.Fault {
			if asked == request {
				return fault
			}
			return nsmsim.Healthy
		}
	}
}

// encoded answers the smallest bundle of a profile.
func encoded(t *testing.T, profile string) []byte {
	t.Helper()
	const key = "arn:aws:kms:eu-central-1:111122223333:key/"
	b := bundle.Bundle{
		Version: bundle.Version, Deployment: "colon-study", Profile: profile,
		Datasets: []bundle.Dataset{{
			Contract: contract.Contract{
				Dataset: "colon", ID: "colon", Version: "1.0.0", Floor: contract.DefaultFloor,
				Fields: []contract.Field{{Name: "id", Type: contract.Integer, Role: contract.Unit, Required: true}},
			},
			KeyARN: key + "colon", KeyEpoch: 1,
		}},
		KMS:       bundle.KMS{Region: "eu-central-1", StateKeyARN: key + "state"},
		Freshness: bundle.FreshnessWitnesses,
		Limits:    bundle.DefaultLimits(),
	}
	raw, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestMeasure(t *testing.T) {
	ctx := context.Background()
	c := client(t, nil)
	raw := encoded(t, bundle.Simulation)
	b, err := boot.Measure(ctx, c, raw)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Encode(); err != nil || !bytes.Equal(again, raw) {
		t.Errorf("another bundle than the measured one: %v", err)
	}
	inner := sha512.Sum384(raw)
	want := attestation.PCR(sha512.Sum384(append(make([]byte, 48), inner[:]...)))
	for i := range 32 {
		value, locked, err := c.DescribePCR(ctx, i)
		if err != nil {
			t.Fatal(err)
		}
		if !locked {
			t.Errorf("PCR%d isn't locked", i)
		}
		if i == 16 && value != want {
			t.Errorf("PCR16 is %s, want SHA384(48 zero bytes || SHA384(bundle)), %s", value, want)
		}
		if i > 16 && !value.IsZero() {
			t.Errorf("PCR%d is %s", i, value)
		}
		if _, err := c.Extend(ctx, i, []byte("more")); !errors.Is(err, nsm.ReadOnlyIndex) {
			t.Errorf("PCR%d extended afterwards: %v", i, err)
		}
	}
	if b, err := boot.Measure(ctx, c, raw); b != nil || !errors.Is(err, nsm.ReadOnlyIndex) {
		t.Errorf("measured twice: %v", err)
	}
}

// TestMeasureComesFirst holds that a bundle is measured and the registers are
// locked before a byte of it is read, by a bundle that can't be.
func TestMeasureComesFirst(t *testing.T) {
	ctx := context.Background()
	c := client(t, nil)
	b, err := boot.Measure(ctx, c, []byte("not a bundle"))
	if b != nil || !errors.Is(err, bundle.ErrBundle) {
		t.Fatalf("%v, want ErrBundle", err)
	}
	value, locked, err := c.DescribePCR(ctx, 16)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "a1cae60ddc8f094c592a6d0aa288bf06c43b908f872477922d5be696d18fa7a0a7b3427b4a45ba93b3e84f915f84bfae"
	if got := hex.EncodeToString(value[:]); got != golden || !locked {
		t.Errorf("PCR16 is %s, locked %v; want %s, locked", got, locked, golden)
	}
}

func TestMeasureRefuses(t *testing.T) {
	ctx := context.Background()
	raw := encoded(t, bundle.Simulation)
	tests := []struct {
		name   string
		before func(*nsm.Client) error
		change func(*nsmsim.Config)
		want   error
	}{
		{"extended before", func(c *nsm.Client) error { _, err := c.Extend(ctx, 16, []byte("x")); return err }, nil, boot.ErrMeasured},
		{"extended by nothing before", func(c *nsm.Client) error { _, err := c.Extend(ctx, 16, nil); return err }, nil, boot.ErrMeasured},
		{"locked before", func(c *nsm.Client) error { return c.Lock(ctx, 16) }, nil, nsm.ReadOnlyIndex},
		{"extending fails", nil, faulty("ExtendPCR", nsmsim.Failing), nsm.InternalError},
		{"half an answer to extending", nil, faulty("ExtendPCR", nsmsim.Truncated), nsm.ErrResponse},
		{"locking fails", nil, faulty("LockPCRs", nsmsim.Failing), nsm.InternalError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, tt.change)
			if tt.before != nil {
				if err := tt.before(c); err != nil {
					t.Fatal(err)
				}
			}
			if b, err := boot.Measure(ctx, c, raw); b != nil || !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v and no bundle", err, tt.want)
			}
		})
	}
}

// measured measures a bundle on a device.
func measured(t *testing.T, c *nsm.Client, raw []byte) *bundle.Bundle {
	t.Helper()
	b, err := boot.Measure(context.Background(), c, raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSelfCheck(t *testing.T) {
	tests := []struct {
		name    string
		profile string
		change  func(*nsmsim.Config)
		want    error
	}{
		{"simulation under a simulated root", bundle.Simulation, nil, nil},
		{"documents of the older form", bundle.Simulation, func(c *nsmsim.Config) { c.Definite = true }, nil},
		{"production under a simulated root", bundle.Production, nil, boot.ErrProfile},
		{"debug mode", bundle.Simulation, func(c *nsmsim.Config) { c.Debug = true }, boot.ErrDebug},
		{"documents of debug mode", bundle.Simulation, faulty("Attestation", nsmsim.DebugPCRs), boot.ErrDebug},
		{"no document", bundle.Simulation, faulty("Attestation", nsmsim.Failing), nsm.InternalError},
		{"half an answer", bundle.Simulation, faulty("Attestation", nsmsim.Truncated), nsm.ErrResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := encoded(t, tt.profile)
			c := client(t, tt.change)
			b := measured(t, c, raw)
			if err := boot.SelfCheck(context.Background(), c, b, raw); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// TestSelfCheckComparesTheDocument holds that PCR16 is judged by what relying
// parties will be shown.
func TestSelfCheckComparesTheDocument(t *testing.T) {
	ctx := context.Background()
	raw := encoded(t, bundle.Simulation)
	t.Run("another bundle", func(t *testing.T) {
		c := client(t, nil)
		b := measured(t, c, raw)
		if err := boot.SelfCheck(ctx, c, b, append(bytes.Clone(raw), 0)); !errors.Is(err, boot.ErrMeasured) {
			t.Errorf("%v, want ErrMeasured", err)
		}
	})
	t.Run("nothing measured", func(t *testing.T) {
		b, err := bundle.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := boot.SelfCheck(ctx, client(t, nil), b, raw); !errors.Is(err, boot.ErrMeasured) {
			t.Errorf("%v, want ErrMeasured", err)
		}
	})
	t.Run("a device that extends another module's registers", func(t *testing.T) {
		c := nsm.NewClient(split{"ExtendPCR", device(t, nil), device(t, nil)})
		b := measured(t, c, raw)
		if err := boot.SelfCheck(ctx, c, b, raw); !errors.Is(err, boot.ErrMeasured) {
			t.Errorf("%v, want ErrMeasured", err)
		}
	})
}

// split sends requests of one name to one module and the others to another.
type split struct {
	name       string
	its, other nsm.Device
}

func (s split) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	if bytes.Contains(request, []byte(s.name)) {
		return s.its.Exchange(ctx, request)
	}
	return s.other.Exchange(ctx, request)
}

// shows answers every request for a document with the same one, changed or
// recorded.
type shows struct {
	nsm.Device
	document []byte
}

func (s shows) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	if !bytes.Contains(request, []byte("Attestation")) {
		return s.Device.Exchange(ctx, request)
	}
	return cbor.Marshal(map[string]any{"Attestation": map[string]any{"document": s.document}})
}

// TestSelfCheckVerifies changes bytes of a good document: the enclave believes
// its own evidence no more than a relying party would.
func TestSelfCheckVerifies(t *testing.T) {
	ctx := context.Background()
	raw := encoded(t, bundle.Simulation)
	d := device(t, nil)
	c := nsm.NewClient(d)
	b := measured(t, c, raw)
	document, err := c.Attest(ctx, nsm.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if err := boot.SelfCheck(ctx, nsm.NewClient(shows{d, document}), b, raw); err != nil {
		t.Fatalf("the document as it is: %v", err)
	}
	for i := 0; i < len(document); i += len(document) / 40 {
		changed := bytes.Clone(document)
		changed[i] ^= 1
		err := boot.SelfCheck(ctx, nsm.NewClient(shows{d, changed}), b, raw)
		if err == nil {
			t.Errorf("byte %d changed, and the document is believed", i)
		}
		if _, ok := errors.AsType[*attestation.Error](err); err != nil && !ok && !strings.Contains(err.Error(), "certificate") {
			t.Errorf("byte %d: %v is no refusal of evidence", i, err)
		}
	}
}

// TestSelfCheckOnRecordedDocuments shows documents of real modules, where the
// recordings are at hand: AWS's root goes with production alone.
func TestSelfCheckOnRecordedDocuments(t *testing.T) {
	dir := os.Getenv("CLOISTER_FIXTURES")
	if dir == "" {
		t.Skip("CLOISTER_FIXTURES names no directory of recorded documents")
	}
	tests := []struct {
		file, profile string
		want          error
	}{
		{"2025-12-25-dstack-attest-indef.cbor", bundle.Simulation, boot.ErrProfile},
		{"2025-12-25-dstack-attest-indef.cbor", bundle.Production, boot.ErrMeasured},
		{"2025-11-10-fastcrypto-indef-pcr16.cbor", bundle.Production, boot.ErrMeasured},
		{"2025-12-25-dstack-debug-indef.cbor", bundle.Production, boot.ErrDebug},
	}
	for _, tt := range tests {
		document, err := os.ReadFile(filepath.Join(dir, "attestation", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		raw := encoded(t, tt.profile)
		b, err := bundle.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := boot.SelfCheck(context.Background(), nsm.NewClient(shows{nil, document}), b, raw); !errors.Is(err, tt.want) {
			t.Errorf("%s as %s: %v, want %v", tt.file, tt.profile, err, tt.want)
		}
	}
}

func TestSignedTime(t *testing.T) {
	ctx := context.Background()
	at := epoch()
	c := client(t, func(c *nsmsim.Config) { c.Now = func() time.Time { return at } })
	for range 3 {
		got, err := boot.SignedTime(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		if want := at.Truncate(time.Millisecond); !got.Equal(want) {
			t.Errorf("%v, want the module's %v", got, want)
		}
		at = at.Add(90 * time.Minute)
	}
	for name, tt := range map[string]struct {
		device nsm.Device
		want   error
	}{
		"failing":   {device(t, faulty("Attestation", nsmsim.Failing)), nsm.InternalError},
		"truncated": {device(t, faulty("Attestation", nsmsim.Truncated)), nsm.ErrResponse},
	} {
		if got, err := boot.SignedTime(ctx, nsm.NewClient(tt.device)); !got.IsZero() || !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tt.want)
		}
	}
	got, err := boot.SignedTime(ctx, nsm.NewClient(shows{nil, []byte("garbage")}))
	if refusal, ok := errors.AsType[*attestation.Error](err); !got.IsZero() || !ok || refusal.Class != attestation.Malformed {
		t.Errorf("garbage: %v, %v; want Malformed", got, err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if got, err := boot.SignedTime(cancelled, c); !got.IsZero() || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", got, err)
	}
}
