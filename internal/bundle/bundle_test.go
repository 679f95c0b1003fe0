package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	keyA = "arn:aws:kms:eu-central-1:111122223333:key/a"
	keyS = "arn:aws:kms:eu-central-1:111122223333:key/s"
)

func at[T any](v T) *T { return &v }

func public(seed byte) ed25519.PublicKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
}

func root(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// colon is the contract of docs/spec/contract.md.
func colon() contract.Contract {
	return contract.Contract{
		Dataset: "colon", ID: "colon", Version: "1.0.0", Floor: 10, Mode: contract.Threshold,
		Fields: []contract.Field{
			{Name: "id", Type: contract.Integer, Role: contract.Unit, Required: true},
			{Name: "rx", Type: contract.String, Role: contract.Dimension, Required: true, MaxLength: at(16), Enum: []string{"Obs", "Lev", "Lev+5FU"}},
			{Name: "age", Type: contract.Integer, Role: contract.Measure, Minimum: at(int64(0)), Maximum: at(int64(120))},
			{Name: "nodes", Type: contract.Integer, Role: contract.Dimension, Minimum: at(int64(0)), Maximum: at(int64(100))},
		},
	}
}

// vector is the bundle in docs/spec/bundle.md.
func vector() *bundle.Bundle {
	return &bundle.Bundle{
		Version: bundle.Version, Deployment: "colon-study", Profile: bundle.Simulation,
		Datasets:  []bundle.Dataset{{Contract: colon(), KeyARN: keyA, KeyEpoch: 1}},
		KMS:       bundle.KMS{Region: "eu-central-1", StateKeyARN: keyS},
		Producers: []bundle.Producer{{Name: "clinic-a", Key: public(1), Datasets: []string{"colon"}}},
		Egress:    []string{"kms.eu-central-1.amazonaws.com:443"},
		Freshness: bundle.FreshnessNone,
		Limits:    bundle.DefaultLimits(),
	}
}

// whole has every field that there is.
func whole(t testing.TB) *bundle.Bundle {
	b := vector()
	visits := colon()
	visits.Dataset, visits.Description = "visits", "what happened\nwhen"
	visits.Fields = append(visits.Fields,
		contract.Field{Name: "note", Type: contract.String, Role: contract.Restricted, MinLength: at(1), Pattern: "[a-z]+", Description: "free text"},
		contract.Field{Name: "dose", Type: contract.Number, Role: contract.Measure, Minimum: at(int64(-5)), Maximum: at(int64(900)), Scale: 2},
		contract.Field{Name: "day", Type: contract.Date},
		contract.Field{Name: "at", Type: contract.Timestamp, Role: contract.Status},
		contract.Field{Name: "ok", Type: contract.Boolean, Role: contract.Dimension, Enum: []string{"true"}})
	b.Datasets = append(b.Datasets, bundle.Dataset{Contract: visits, KeyARN: keyA + "-2", KeyEpoch: 3})
	b.KMS.Endpoint, b.KMS.CA = "https://127.0.0.1:8443", root(t)
	b.Producers = append(b.Producers, bundle.Producer{Name: "clinic-b", Key: public(2), Datasets: []string{"visits", "colon"}, Retired: true})
	b.Issuers = []bundle.Issuer{
		{URL: "https://id.example.org", Audience: "colon-study", RolesClaim: "groups", TLSRoots: root(t), RequireMFA: true},
		{URL: "https://id.example.org:8443/realms/a", Audience: "https://colon", RolesClaim: "realm_access.roles", TLSRoots: append(root(t), root(t)...)},
	}
	b.Egress = append(b.Egress, "id.example.org:443", "[2001:db8::1]:443", "127.0.0.1:8443")
	return b
}

// production turns b into a bundle of that profile.
func production(b *bundle.Bundle) {
	b.Profile, b.Freshness = bundle.Production, bundle.FreshnessWitnesses
	b.KMS.Endpoint, b.KMS.CA = "", nil
	for i := range b.Datasets {
		b.Datasets[i].Contract.Mode = contract.DP
	}
}

func encode(t testing.TB, b *bundle.Bundle) []byte {
	t.Helper()
	raw, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestGolden holds the bytes and the measurements that docs/spec/bundle.md
// shows: another implementation must come to the same, and so must we tomorrow.
func TestGolden(t *testing.T) {
	spec, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "bundle.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := strings.Join(strings.Fields(string(spec)), "")
	raw := encode(t, vector())
	digest, pcr := bundle.Digest(raw), bundle.PCR16(raw)
	for what, b := range map[string][]byte{"bundle": raw, "SHA-384": digest[:], "PCR16": pcr[:]} {
		if !strings.Contains(shown, hex.EncodeToString(b)) {
			t.Errorf("the %s isn't the one in docs/spec/bundle.md: %x", what, b)
		}
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "whole.cbor"))
	if err != nil {
		t.Fatal(err)
	}
	if raw := encode(t, whole(t)); !bytes.Equal(raw, golden) {
		t.Errorf("the whole bundle's bytes changed: %x", raw)
	}
}

// TestPCR16 recomputes the register as the Nitro Secure Module extends it.
func TestPCR16(t *testing.T) {
	raw := encode(t, whole(t))
	h := sha512.New384()
	h.Write(raw)
	value := h.Sum(nil)
	h = sha512.New384()
	h.Write(make([]byte, 48))
	h.Write(value)
	if got := bundle.PCR16(raw); !bytes.Equal(got[:], h.Sum(nil)) {
		t.Errorf("PCR16 %x, want %x", got, h.Sum(nil))
	}
	other := whole(t)
	other.Datasets[0].Contract.Floor++
	if bundle.PCR16(encode(t, other)) == bundle.PCR16(raw) {
		t.Error("another floor gives the same PCR16")
	}
}

func TestRoundTrip(t *testing.T) {
	prod := whole(t)
	production(prod)
	bare := vector()
	bare.Producers, bare.Egress = nil, nil
	for name, b := range map[string]*bundle.Bundle{"vector": vector(), "whole": whole(t), "production": prod, "bare": bare} {
		raw := encode(t, b)
		got, err := bundle.Decode(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got, b) {
			t.Errorf("%s: got %+v\nwant %+v", name, got, b)
		}
		if !bytes.Equal(encode(t, got), raw) {
			t.Errorf("%s: another encoding the second time", name)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	raw := encode(t, whole(t))
	replace := func(old, with string) []byte {
		o, _ := hex.DecodeString(old)
		w, _ := hex.DecodeString(with)
		if bytes.Count(raw, o) == 0 {
			t.Fatalf("%s isn't in the bundle", old)
		}
		return bytes.Replace(raw, o, w, 1)
	}
	for name, b := range map[string][]byte{
		"nothing":                nil,
		"null":                   {0xf6},
		"an array":               {0x80},
		"an empty map":           {0xa0},
		"something behind":       append(bytes.Clone(raw), 0),
		"too large":              make([]byte, limits.Bundle+1),
		"version 2":              replace("aa0101", "aa0102"),
		"version, long form":     replace("aa0101", "aa011801"),
		"an indefinite map":      append(replace("aa0101", "bf0101"), 0xff),
		"an unknown key":         append(replace("aa0101", "ab0101"), 0x0b, 0x01),
		"a key twice":            append(replace("aa0101", "ab0101"), 0x01, 0x01),
		"a tag":                  append([]byte{0xd9, 0xd9, 0xf7}, raw...),
		"text that isn't UTF-8":  replace("6b636f6c6f6e2d7374756479", "6b636f6c6f6e2d737475ff79"),
		"a name with capitals":   replace("6b636f6c6f6e2d7374756479", "6b436f6c6f6e2d7374756479"),
		"an array of 2^31 items": replace("0482a3", "049a80000000a3"),
	} {
		got, err := bundle.Decode(b)
		if !errors.Is(err, bundle.ErrBundle) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for n := range raw {
		if _, err := bundle.Decode(raw[:n]); !errors.Is(err, bundle.ErrBundle) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	b := vector()
	b.Deployment = ""
	if raw, err := b.Encode(); !errors.Is(err, bundle.ErrBundle) || raw != nil {
		t.Errorf("%x, %v", raw, err)
	}
	// Every part within its own bound, and all of them over the bundle's.
	big := vector()
	long := strings.Repeat("long", contract.MaxDescription/4)
	for i := range 2 {
		c := colon()
		c.Dataset = "d-" + string(rune('a'+i))
		for j := len(c.Fields); j < limits.Columns; j++ {
			c.Fields = append(c.Fields, contract.Field{Name: "f" + strings.Repeat("x", j%50) + string(rune('a'+j%26)) + hex.EncodeToString([]byte{byte(j >> 8), byte(j)}), Type: contract.Date, Description: long})
		}
		big.Datasets = append(big.Datasets, bundle.Dataset{Contract: c, KeyARN: keyA})
	}
	if err := big.Check(); err != nil {
		t.Fatal(err)
	}
	if _, err := big.Encode(); !errors.Is(err, bundle.ErrBundle) || err.Error() != fmt.Sprintf("bundle: over %d bytes", limits.Bundle) {
		t.Errorf("a bundle over its limit: %v", err)
	}
}

func TestLookups(t *testing.T) {
	b := whole(t)
	if d, ok := b.Dataset("visits"); !ok || d.KeyEpoch != 3 {
		t.Errorf("visits: %v, %v", d, ok)
	}
	if d, ok := b.Dataset("Visits"); ok {
		t.Errorf("Visits: %v", d)
	}
	a, okA := b.Producer("clinic-a")
	retired, okB := b.Producer("clinic-b")
	if !okA || !okB {
		t.Fatal("a producer is missing")
	}
	if _, ok := b.Producer("clinic"); ok {
		t.Error("a producer that isn't there")
	}
	for _, c := range []struct {
		p       *bundle.Producer
		dataset string
		want    bool
	}{{a, "colon", true}, {a, "visits", false}, {a, "", false}, {retired, "visits", false}} {
		if got := c.p.May(c.dataset); got != c.want {
			t.Errorf("%s may submit to %q: %v", c.p.Name, c.dataset, got)
		}
	}
}

func TestHostPort(t *testing.T) {
	for text, want := range map[string]string{
		"https://id.example.org":           "id.example.org:443",
		"https://id.example.org:8443/x":    "id.example.org:8443",
		"https://[2001:db8::1]/realms":     "[2001:db8::1]:443",
		"https://127.0.0.1:1":              "127.0.0.1:1",
		"https://kms.eu-central-1.aws:443": "kms.eu-central-1.aws:443",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := bundle.HostPort(u); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestKeyRegion(t *testing.T) {
	for arn, want := range map[string]string{
		keyA: "eu-central-1",
		"arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-0123": "us-gov-west-1",
		"arn:aws:kms:eu-central-1:111122223333:alias/a":              "",
		"arn:aws:kms::111122223333:key/a":                            "",
		"arn:aws:s3:eu-central-1:111122223333:key/a":                 "",
		"arn:aws:kms:eu-central-1:11112222333:key/a":                 "",
		"arn:aws:kms:eu-central-1:111122223333:key/a/b":              "",
		"arn:aws:kms:eu-central-1:111122223333:key/":                 "",
		"key/a": "",
	} {
		got, err := bundle.KeyRegion(arn)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", arn, got, err)
		}
	}
}
