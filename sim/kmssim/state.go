package kmssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cloisterhq/cloister/internal/secret"
)

// stored is the state file. Material stands in it in clear: it protects
// simulated data only.
type stored struct {
	Version int               `json:"version"`
	Region  string            `json:"region"`
	Account string            `json:"account"`
	Keys    []storedKey       `json:"keys"`
	Aliases map[string]string `json:"aliases,omitempty"`
}

type storedKey struct {
	ID          string    `json:"id"`
	Created     time.Time `json:"created"`
	Description string    `json:"description"`
	Material    []byte    `json:"material"`
	Policy      string    `json:"policy"`
	// Spec and Usage are empty for symmetric keys.
	Spec     string    `json:"spec,omitempty"`
	Usage    string    `json:"usage,omitempty"`
	Older    [][]byte  `json:"older,omitempty"`
	Disabled bool      `json:"disabled,omitempty"`
	Deletion time.Time `json:"deletion,omitzero"`
	Rotating bool      `json:"rotating,omitempty"`
}

// open reads the state file; a missing one holds no key.
func open(file, region, account string) (*keys, error) {
	k := &keys{file: file, region: region, account: account, byID: map[string]key{}, aliases: map[string]string{}}
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
		if k.byID[sk.ID], err = k.load(sk); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	for name, id := range s.Aliases {
		if _, ok := k.byID[id]; !ok || !aliasForm.MatchString(name) {
			return nil, fmt.Errorf("%s: damaged", file)
		}
		k.aliases[name] = id
	}
	return k, nil
}

// load makes a key of the state file's.
func (k *keys) load(sk storedKey) (key, error) {
	p, err := parsePolicy([]byte(sk.Policy))
	if err != nil {
		return key{}, err
	}
	out := key{
		id: sk.ID, arn: k.arn(sk.ID), created: sk.Created, description: sk.Description, text: sk.Policy, policy: p,
		spec: sk.Spec, usage: sk.Usage, disabled: sk.Disabled, deletion: sk.Deletion, rotating: sk.Rotating,
	}
	if out.spec == "" {
		out.spec, out.usage = symmetric, encryptDecrypt
	}
	damaged := len(sk.ID) != idLen
	for _, m := range append(slices.Clone(sk.Older), sk.Material) {
		if out.spec == symmetric {
			damaged = damaged || len(m) != 32
		} else if _, err := agreementKey(secret.New(slices.Clone(m))); err != nil {
			damaged = true
		}
		out.material = append(out.material, secret.New(m))
	}
	if damaged {
		return key{}, errors.New("damaged")
	}
	return out, nil
}

// state is the file's form of keys and aliases.
func (k *keys) state(byID map[string]key, aliases map[string]string) stored {
	s := stored{Version: 1, Region: k.region, Account: k.account, Aliases: aliases}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		v := byID[id]
		sk := storedKey{
			ID: v.id, Created: v.created, Description: v.description, Material: v.current().Expose(), Policy: v.text,
			Disabled: v.disabled, Deletion: v.deletion, Rotating: v.rotating,
		}
		if v.spec != symmetric {
			sk.Spec, sk.Usage = v.spec, v.usage
		}
		for _, m := range v.material[:len(v.material)-1] {
			sk.Older = append(sk.Older, m.Expose())
		}
		s.Keys = append(s.Keys, sk)
	}
	return s
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
