package kmssim

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/internal/secret"
)

// The specifications of keys that the simulator makes.
const (
	symmetric = "SYMMETRIC_DEFAULT"
	p256      = "ECC_NIST_P256"
	p384      = "ECC_NIST_P384"
)

// The usages of keys.
const (
	encryptDecrypt = "ENCRYPT_DECRYPT"
	keyAgreement   = "KEY_AGREEMENT"
	signVerify     = "SIGN_VERIFY"
)

// key is a KMS key. It is never changed; a changed one takes its place.
type key struct {
	id, arn     string
	created     time.Time
	description string
	spec, usage string
	// material is what the key was and is, oldest first: 32 bytes each, or one
	// PKCS#8 private key. The last one encrypts.
	material []secret.Bytes
	// text is the policy as it was put, and policy what it means.
	text   string
	policy *policy
	// disabled keys do nothing, and keys with a deletion time neither.
	disabled bool
	deletion time.Time
	rotating bool
}

// keys are all keys and aliases, in memory and in the state file.
type keys struct {
	file, region, account string

	mu      sync.RWMutex
	byID    map[string]key
	aliases map[string]string // alias/… to the key's id
}

func (k *keys) arn(id string) string {
	return "arn:aws:kms:" + k.region + ":" + k.account + ":key/" + id
}

// find answers the key that a KeyId names: an id or an ARN of a key, or an
// alias or its ARN. A key whose deletion time has come is gone.
func (k *keys) find(id string, at time.Time) (key, *failure) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	name := strings.TrimPrefix(id, strings.TrimSuffix(k.arn(""), "key/"))
	target := strings.TrimPrefix(id, k.arn(""))
	if strings.HasPrefix(name, "alias/") {
		target = k.aliases[name]
	}
	found, ok := k.byID[target]
	if !ok || !found.deletion.IsZero() && !at.Before(found.deletion) {
		return key{}, noKey(id)
	}
	return found, nil
}

// fresh is a new key without policy.
func (k *keys) fresh(spec, usage string, at time.Time) (key, error) {
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return key{}, err
	}
	id := uuid(random)
	material, err := newMaterial(spec)
	if err != nil {
		return key{}, err
	}
	return key{id: id, arn: k.arn(id), created: at.UTC().Truncate(time.Second), spec: spec, usage: usage, material: []secret.Bytes{material}}, nil
}

// newMaterial makes a key of a specification.
func newMaterial(spec string) (secret.Bytes, error) {
	if spec == symmetric {
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return secret.Bytes{}, err
		}
		return secret.New(b), nil
	}
	return newPairMaterial(spec)
}

// current is the material that encrypts.
func (k key) current() secret.Bytes { return k.material[len(k.material)-1] }

// materialID names the n-th material of the key, as KeyMaterialId does.
func (k key) materialID(n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", k.id, n))
	return hex.EncodeToString(sum[:])
}

// put keeps a key: in the file first, so that what was answered is durable.
func (k *keys) put(changed key) error {
	return k.change(func(byID map[string]key, _ map[string]string) { byID[changed.id] = changed })
}

// change replaces keys and aliases, in the file first.
func (k *keys) change(edit func(byID map[string]key, aliases map[string]string)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	byID, aliases := maps.Clone(k.byID), maps.Clone(k.aliases)
	edit(byID, aliases)
	if k.file != "" {
		if err := replace(k.file, k.state(byID, aliases)); err != nil {
			return err
		}
	}
	k.byID, k.aliases = byID, aliases
	return nil
}

// uuid writes random bytes as a version 4 UUID (RFC 9562, 5.4).
func uuid(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
