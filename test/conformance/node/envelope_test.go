// Package node_test holds the envelope's specification against two
// implementations: ours, and the one in JavaScript beside this file.
package node_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
)

var update = flag.Bool("update", false, "write the vectors anew")

// vectorsFile holds the envelope's byte-exact vectors, which are a part of its
// specification. Those under an intake key are for opening: HPKE seals to other
// bytes each time.
var vectorsFile = filepath.Join("..", "..", "..", "docs", "spec", "vectors", "envelope.json")

// sealed is an envelope with all that is inside. Bytes are hex.
type sealed struct {
	About    string `json:"about,omitempty"`
	Envelope string `json:"envelope"`
	Producer string `json:"producer"`
	DEK      string `json:"dek,omitempty"`
	Seed     string `json:"seed,omitempty"`
	Name     string `json:"name,omitempty"`
	Rows     int    `json:"rows,omitempty"`
	Content  string `json:"content,omitempty"`
	Report   string `json:"report,omitempty"`
}

type vectors struct {
	Envelopes []sealed `json:"envelopes"`
	KeySet    struct {
		Service string `json:"service"`
		KeySet  string `json:"key_set"`
		Key     string `json:"key"`
	} `json:"key_set"`
}

func numbers(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The fixed keys of all vectors.
func vectorSeed() secret.Bytes           { return secret.New(numbers(0x20, 32)) }
func vectorDEK() secret.Bytes            { return secret.New(numbers(0x40, 32)) }
func vectorSigner() ed25519.PrivateKey   { return ed25519.NewKeyFromSeed(numbers(0x80, 32)) }
func vectorService() ed25519.PrivateKey  { return ed25519.NewKeyFromSeed(numbers(0xa0, 32)) }
func public(k ed25519.PrivateKey) []byte { return k[32:] }

func vectorKey(t testing.TB) *intakekey.Private {
	t.Helper()
	key, err := intakekey.ParsePrivate(vectorSeed())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// intakeHeader is the header of an envelope under the vectors' intake key.
func intakeHeader(t testing.TB, stream string) envelope.Header {
	t.Helper()
	to := vectorKey(t).Public()
	blob, err := to.Wrap(vectorDEK(), envelope.IntakeInfo("colon-study", "colon", "clinic-a", stream, to.ID()))
	if err != nil {
		t.Fatal(err)
	}
	return envelope.Header{
		Version: envelope.Version, Deployment: "colon-study", Dataset: "colon", Contract: "1.0.0",
		Producer: "clinic-a", Stream: stream, Sequence: 7, Codec: 1,
		Wrap: envelope.Wrap{Kind: envelope.WrapIntake, Key: to.ID(), Blob: blob},
		Salt: [32]byte(numbers(1, 32)),
	}
}

// sealAs seals and writes down all that is inside.
func sealAs(t testing.TB, about string, h envelope.Header, rows int, content []byte) sealed {
	t.Helper()
	raw, report, err := envelope.Seal(h, vectorDEK(), rows, content, vectorSigner())
	if err != nil {
		t.Fatal(err)
	}
	name := sha256.Sum256(raw)
	s := sealed{
		About: about, Envelope: hex.EncodeToString(raw), Producer: hex.EncodeToString(public(vectorSigner())),
		Name: hex.EncodeToString(name[:]), Rows: rows, Content: hex.EncodeToString(content), Report: hex.EncodeToString(report.Expose()),
	}
	if h.Wrap.Kind == envelope.WrapIntake {
		s.Seed = hex.EncodeToString(vectorSeed().Expose())
	} else {
		s.DEK = hex.EncodeToString(vectorDEK().Expose())
	}
	return s
}

// kmsHeader is the one of the vector in docs/spec/envelope.md.
func kmsHeader(t testing.TB) envelope.Header {
	h := intakeHeader(t, "s-1")
	h.Wrap = envelope.Wrap{Kind: envelope.WrapKMS, Key: "arn:aws:kms:eu-central-1:111122223333:key/k", Epoch: 1, Blob: []byte("blob")}
	return h
}

func vectorClaims(t testing.TB) intakekey.Claims {
	return intakekey.Claims{
		Deployment: "colon-study", Genesis: [32]byte(numbers(0x60, 32)), Key: vectorKey(t).Public().Bytes(),
		Born: 1_770_000_000_000, NotAfter: 1_777_776_000_000,
	}
}

func loadVectors(t testing.TB) *vectors {
	t.Helper()
	b, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectors)
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
	return v
}

// writeVectors makes the file anew, with other encapsulations.
func writeVectors(t *testing.T) {
	t.Helper()
	var v vectors
	v.Envelopes = []sealed{
		sealAs(t, "wrap 1, AWS KMS", kmsHeader(t), 1, []byte("\xa1\x62id\x01")),
		sealAs(t, "wrap 2, intake key", intakeHeader(t, "s-1"), 1, []byte("\xa1\x62id\x01")),
		sealAs(t, "wrap 2, intake key, no content", intakeHeader(t, "s-2"), 1, nil),
	}
	set, err := intakekey.Sign(vectorClaims(t), vectorService())
	if err != nil {
		t.Fatal(err)
	}
	v.KeySet.Service, v.KeySet.KeySet = hex.EncodeToString(public(vectorService())), hex.EncodeToString(set)
	v.KeySet.Key = vectorKey(t).Public().ID()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsFile, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// openSealed opens an envelope as the enclave does: signature, data key, content.
func openSealed(raw, producer []byte, dek func(envelope.Header) (secret.Bytes, error)) (*envelope.Opened, error) {
	parsed, err := envelope.Parse(raw)
	if err != nil {
		return nil, err
	}
	authentic, err := parsed.Authenticate(producer)
	if err != nil {
		return nil, err
	}
	key, err := dek(authentic.Header())
	if err != nil {
		return nil, err
	}
	return authentic.Open(key)
}

// keyOf answers how the data key of a vector is had.
func keyOf(t testing.TB, v sealed) func(envelope.Header) (secret.Bytes, error) {
	return func(h envelope.Header) (secret.Bytes, error) {
		if v.Seed == "" {
			return secret.New(unhex(t, v.DEK)), nil
		}
		if h.Wrap.Kind != envelope.WrapIntake {
			return secret.Bytes{}, errors.New("not sealed to an intake key")
		}
		key, err := intakekey.ParsePrivate(secret.New(unhex(t, v.Seed)))
		if err != nil {
			return secret.Bytes{}, err
		}
		return key.Unwrap(h.Wrap.Blob, envelope.IntakeInfo(h.Deployment, h.Dataset, h.Producer, h.Stream, h.Wrap.Key))
	}
}

// TestEnvelopeVectors opens the vectors of the specification.
func TestEnvelopeVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	v := loadVectors(t)
	if len(v.Envelopes) < 3 || v.Envelopes[0].Seed != "" || v.Envelopes[1].Seed == "" {
		t.Fatal("a kind of wrap has no vector")
	}
	for _, e := range v.Envelopes {
		o, err := openSealed(unhex(t, e.Envelope), unhex(t, e.Producer), keyOf(t, e))
		if err != nil {
			t.Errorf("%s: %v", e.About, err)
			continue
		}
		name := o.Digest()
		if hex.EncodeToString(name[:]) != e.Name || o.Rows() != e.Rows || !bytes.Equal(o.Content(), unhex(t, e.Content)) || hex.EncodeToString(o.ReportKey().Expose()) != e.Report {
			t.Errorf("%s: something else is inside", e.About)
		}
	}
	if again := sealAs(t, v.Envelopes[0].About, kmsHeader(t), 1, []byte("\xa1\x62id\x01")); again != v.Envelopes[0] {
		t.Error("the vector under a KMS key isn't what Seal makes")
	}
	set, err := intakekey.Sign(vectorClaims(t), vectorService())
	if err != nil || hex.EncodeToString(set) != v.KeySet.KeySet || vectorKey(t).Public().ID() != v.KeySet.Key {
		t.Errorf("the key set isn't what Sign makes: %v", err)
	}
	spec, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "spec", "intake.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(spec), v.KeySet.Key) {
		t.Error("docs/spec/intake.md doesn't name the vectors' key")
	}
}
