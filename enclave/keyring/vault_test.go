package keyring_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	colonKey = "arn:aws:kms:eu-central-1:111122223333:key/colon"
	lungKey  = "arn:aws:kms:eu-central-1:111122223333:key/lung"
)

// vault unwraps every blob: the key is a hash of everything that it is asked
// with, as a wrapped key opens under one KMS key and one context only.
type vault struct {
	mu    sync.Mutex
	asked []string
	gave  [][]byte // the memory of the answers
	err   error
	// gate holds calls until it is closed; nil holds none.
	gate chan struct{}
}

func request(arn string, encryption map[string]string, blob []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", arn)
	for _, k := range slices.Sorted(maps.Keys(encryption)) {
		fmt.Fprintf(&b, " %q=%q", k, encryption[k])
	}
	fmt.Fprintf(&b, " %x", blob)
	return b.String()
}

// Decrypt answers the key of a blob.
func (v *vault) Decrypt(ctx context.Context, arn string, encryption map[string]string, blob []byte) (secret.Bytes, error) {
	v.mu.Lock()
	asked := request(arn, encryption, blob)
	v.asked = append(v.asked, asked)
	gate, err := v.gate, v.err
	v.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if err != nil {
		return secret.Bytes{}, err
	}
	if err := ctx.Err(); err != nil {
		return secret.Bytes{}, err
	}
	key := sha256.Sum256([]byte(asked))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gave = append(v.gave, key[:])
	return secret.New(key[:]), nil
}

func (v *vault) calls() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.asked)
}

// forgotten says whether all memory that was given away is wiped.
func (v *vault) forgotten() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !slices.ContainsFunc(v.gave, func(b []byte) bool { return !bytes.Equal(b, make([]byte, len(b))) })
}

// datasets are those of the bundle.
func datasets(name string) (arn string, epoch uint64, ok bool) {
	switch name {
	case "colon":
		return colonKey, 1, true
	case "lung":
		return lungKey, 7, true
	default:
		return "", 0, false
	}
}

func newKeyring(t *testing.T, v *vault, most int, ttl time.Duration) *keyring.Keyring {
	t.Helper()
	k := keyring.New(keyring.Config{KMS: v, Deployment: "study", Dataset: datasets, Max: most, TTL: ttl, Now: time.Now})
	t.Cleanup(k.Close)
	return k
}

// header is an envelope's header for the dataset colon.
func header(blob string) envelope.Header {
	return envelope.Header{
		Version: envelope.Version, Deployment: "study", Dataset: "colon", Producer: "clinic-a",
		Wrap: envelope.Wrap{Kind: envelope.WrapKMS, Key: colonKey, Epoch: 1, Blob: []byte(blob)},
	}
}

// want is the key of a header as the vault gives it.
func want(h envelope.Header) secret.Bytes {
	key := sha256.Sum256([]byte(request(h.Wrap.Key, envelope.KMSContext("study", h.Dataset, h.Producer, h.Wrap.Epoch), h.Wrap.Blob)))
	return secret.New(key[:])
}

// open opens and holds the key against the vault's.
func open(t *testing.T, k *keyring.Keyring, h envelope.Header) secret.Bytes {
	t.Helper()
	key, err := k.Open(t.Context(), h)
	if err != nil || !key.Equal(want(h)) {
		t.Errorf("another key than KMS's: %v", err)
	}
	return key
}
