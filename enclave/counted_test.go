package enclave_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave"
	"github.com/cloisterhq/cloister/enclave/counters"
	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
)

// vault answers as the blob says.
type vault struct{}

var answers = map[string]error{
	"good": nil, "denied": fmt.Errorf("kms: %w", kms.ErrDenied), "unavailable": fmt.Errorf("kms: %w", kms.ErrUnavailable),
	"refused": kms.ErrRefused, "wrong": kms.ErrAnswer,
}

// Decrypt unwraps a data key.
func (vault) Decrypt(_ context.Context, _ string, _ map[string]string, blob []byte) (secret.Bytes, error) {
	return secret.New(bytes.Repeat([]byte{1}, 32)), answers[string(blob)]
}

// GenerateDataKey makes one.
func (vault) GenerateDataKey(_ context.Context, arn string, _ map[string]string) (secret.Bytes, []byte, error) {
	return secret.New(bytes.Repeat([]byte{1}, 32)), []byte("good"), answers[arn]
}

// TestCountedKeys: calls by how they end, and keys that needed no call.
func TestCountedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counters.New()
		kmsOf, keys := enclave.Counted(vault{}, c, keyring.Config{
			Deployment: "d", Dataset: func(string) (string, uint64, bool) { return "arn", 1, true }, Max: 10, TTL: time.Hour, Now: time.Now,
		})
		open := func(blob string) error {
			key, err := keys.Open(t.Context(), envelope.Header{
				Deployment: "d", Dataset: "s", Producer: "p", Wrap: envelope.Wrap{Kind: envelope.WrapKMS, Key: "arn", Epoch: 1, Blob: []byte(blob)},
			})
			if err == nil {
				key.Wipe()
			}
			return err
		}
		for i := range 21 { // one call, then twenty hits
			if err := open("good"); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
		for range 9 {
			if _, _, err := kmsOf.GenerateDataKey(t.Context(), "good", nil); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			if _, _, err := kmsOf.GenerateDataKey(t.Context(), "denied", nil); !errors.Is(err, kms.ErrDenied) {
				t.Fatal(err)
			}
			for _, blob := range []string{"denied", "unavailable", "refused", "wrong"} {
				if err := open(blob); !errors.Is(err, answers[blob]) {
					t.Fatalf("%s: %v", blob, err)
				}
			}
		}
		if got := picture(t, c); got != (counters.Published{
			counters.KMSGranted: 10, counters.KMSDenied: 20, counters.KMSUnavailable: 10, counters.KeyringHit: 20,
		}) {
			t.Errorf("%v", got)
		}
	})
}
