package kmssim

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/internal/secret"
)

// key is a KMS key. Only its policy ever changes, and then the whole value is
// replaced.
type key struct {
	id, arn     string
	created     time.Time
	description string
	material    secret.Bytes
	// text is the policy as it was put, and policy what it means.
	text   string
	policy *keypolicy.Document
}

// keys are all keys, in memory and in the state file.
type keys struct {
	file, region, account string

	mu   sync.RWMutex
	byID map[string]key
}

// stored is the state file. Material stands in it in clear: it protects
// simulated data only.
type stored struct {
	Version int         `json:"version"`
	Region  string      `json:"region"`
	Account string      `json:"account"`
	Keys    []storedKey `json:"keys"`
}

type storedKey struct {
	ID          string    `json:"id"`
	Created     time.Time `json:"created"`
	Description string    `json:"description"`
	Material    []byte    `json:"material"`
	Policy      string    `json:"policy"`
}

// open reads the state file; a missing one holds no key.
func open(file, region, account string) (*keys, error) {
	k := &keys{file: file, region: region, account: account, byID: map[string]key{}}
	if file == "" {
		return k, nil
	}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read it", file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: damaged", file) // the error could quote a key
	}
	if s.Version != 1 || s.Region != region || s.Account != account {
		return nil, fmt.Errorf("%s: another version, region or account", file)
	}
	for _, sk := range s.Keys {
		policy, err := keypolicy.Parse([]byte(sk.Policy))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(sk.Material) != 32 || len(sk.ID) != idLen {
			return nil, fmt.Errorf("%s: damaged", file)
		}
		k.byID[sk.ID] = key{id: sk.ID, arn: k.arn(sk.ID), created: sk.Created, description: sk.Description, material: secret.New(sk.Material), text: sk.Policy, policy: policy}
	}
	return k, nil
}

func (k *keys) arn(id string) string {
	return "arn:aws:kms:" + k.region + ":" + k.account + ":key/" + id
}

// find answers the key that a KeyId names: an id or an ARN. There are no
// aliases.
func (k *keys) find(id string) (key, *failure) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	found, ok := k.byID[strings.TrimPrefix(id, k.arn(""))]
	if !ok {
		return key{}, noKey(id)
	}
	return found, nil
}

// create adds a fresh key with a policy.
func (k *keys) create(text, description string, policy *keypolicy.Document, at time.Time) (key, error) {
	var random [16]byte
	material := make([]byte, 32)
	if _, err := rand.Read(random[:]); err != nil {
		return key{}, err
	}
	if _, err := rand.Read(material); err != nil {
		return key{}, err
	}
	id := uuid(random)
	fresh := key{id: id, arn: k.arn(id), created: at.UTC().Truncate(time.Second), description: description, material: secret.New(material), text: text, policy: policy}
	return fresh, k.put(fresh)
}

// put keeps a key: in the file first, so that what was answered is durable.
func (k *keys) put(changed key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := stored{Version: 1, Region: k.region, Account: k.account}
	for _, v := range k.byID {
		if v.id != changed.id {
			s.Keys = append(s.Keys, v.stored())
		}
	}
	s.Keys = append(s.Keys, changed.stored())
	slices.SortFunc(s.Keys, func(a, b storedKey) int { return strings.Compare(a.ID, b.ID) })
	if k.file != "" {
		if err := replace(k.file, s); err != nil {
			return err
		}
	}
	k.byID[changed.id] = changed
	return nil
}

func (k key) stored() storedKey {
	return storedKey{k.id, k.created, k.description, k.material.Expose(), k.text}
}

// replace writes the state file and leaves either the old or the new one after
// a crash. Temporary files have mode 0600.
func replace(file string, s stored) (err error) {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // fails after the rename, as it should
	_, err = tmp.Write(b)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// uuid writes random bytes as a version 4 UUID (RFC 9562, 5.4).
func uuid(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
