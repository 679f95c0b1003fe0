// Package client is the relying party's side: it verifies the enclave's
// evidence on every connection, seals records to its keys, submits them
// through the untrusted gateway, and checks the signatures of receipts and
// answers. It trusts the policy file and the trust root that it is given.
package client

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
)

// Config is a context file: everything a client needs to find one deployment
// and to trust it. Relative paths are relative to the file.
type Config struct {
	Version    int    `json:"version"`
	Deployment string `json:"deployment"`
	// Gateway is the host:port that takes sealed records.
	Gateway string `json:"gateway"`
	// Attested is the host:port of attested TLS: evidence and queries.
	Attested string `json:"attested"`
	// TrustRoot is a PEM file with the root that evidence must chain to; AWS's
	// Nitro root G1 when empty.
	TrustRoot string `json:"trust_root,omitempty"`
	// Policy is the appraisal policy, a JSON file.
	Policy string `json:"policy"`
	// Genesis pins the deployment's state, 64 hex digits; empty accepts any.
	Genesis string `json:"genesis,omitempty"`
	// TokenFile holds the analyst's bearer token.
	TokenFile string   `json:"token_file,omitempty"`
	Producer  Producer `json:"producer,omitzero"`
	KMS       KMS      `json:"kms,omitzero"`
	// Bundle is the pinned bundle, for sealing while the enclave is away.
	Bundle string `json:"bundle,omitempty"`
	// Spool is the directory in which sealed batches are kept until their
	// receipts are there, and the receipts from then on; below the user's state
	// directory when empty.
	Spool string `json:"spool,omitempty"`

	dir string
}

// Producer names who submits and the file of its Ed25519 signing key.
type Producer struct {
	Name    string `json:"name"`
	KeyFile string `json:"key_file"`
}

// KMS says how the producer reaches KMS for its data keys.
type KMS struct {
	// Endpoint is a URL; AWS's own for the key's region when empty.
	Endpoint string `json:"endpoint,omitempty"`
	// CA is a PEM file with the endpoint's root; the system's roots when empty.
	CA string `json:"ca,omitempty"`
	// CredentialsFile holds {"access_key_id","secret_access_key","session_token"}.
	CredentialsFile string `json:"credentials_file,omitempty"`
}

// contextLimit is the largest context, token or key file, in bytes.
const contextLimit = 1 << 20

// Load reads a context file. Unknown keys are errors.
func Load(path string) (*Config, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c := &Config{dir: filepath.Dir(path)}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(c); err != nil {
		return nil, fmt.Errorf("%s: not a context file: %w", path, err)
	}
	if c.Version != 1 {
		return nil, fmt.Errorf("%s: context version %d; this program reads version 1", path, c.Version)
	}
	if c.Attested == "" || c.Policy == "" {
		return nil, fmt.Errorf("%s: attested and policy are needed", path)
	}
	return c, nil
}

// Save writes a context file that only its owner can read.
func (c *Config) Save(path string) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}

// path resolves a file name of the context.
func (c *Config) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// BundlePath is the file of the pinned bundle, empty when none is pinned.
func (c *Config) BundlePath() string { return c.path(c.Bundle) }

// Trust loads the trust root and the appraisal policy. A root that the policy
// doesn't name is an error.
func (c *Config) Trust() (verifier.Roots, *policy.Policy, error) {
	return LoadTrust(c.path(c.TrustRoot), c.path(c.Policy))
}

// LoadTrust reads a trust root (AWS's when the name is empty) and a policy. A
// given root that the policy doesn't name is an *attestation.Error.
func LoadTrust(root, policyFile string) (verifier.Roots, *policy.Policy, error) {
	b, err := readFile(policyFile)
	if err != nil {
		return verifier.Roots{}, nil, err
	}
	p, err := policy.Load(b)
	if err != nil {
		return verifier.Roots{}, nil, fmt.Errorf("%s: %w", policyFile, err)
	}
	if root == "" {
		return verifier.AWS(), p, nil
	}
	if b, err = readFile(root); err != nil {
		return verifier.Roots{}, nil, err
	}
	roots, err := verifier.NewRoots(b)
	if err != nil {
		return verifier.Roots{}, nil, fmt.Errorf("%s: %w", root, err)
	}
	if err := roots.NamedBy(p); err != nil {
		return verifier.Roots{}, nil, err
	}
	return roots, p, nil
}

// spoolDir is the directory of sealed batches and receipts. Without a word it is
// cloister/spool/<deployment> in the user's state directory (XDG Base Directory
// Specification, $XDG_STATE_HOME).
func (c *Config) spoolDir() (string, error) {
	if c.Spool != "" {
		return c.path(c.Spool), nil
	}
	if c.Deployment == "" {
		return "", mistakef("the context names no deployment, so there is no default for the spool: give --spool DIR")
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", mistakef("neither HOME nor XDG_STATE_HOME is set, so there is no default for the spool: give --spool DIR")
		}
		state = filepath.Join(home, ".local", "state")
	}
	if !filepath.IsLocal(c.Deployment) || filepath.Base(c.Deployment) != c.Deployment {
		return "", mistakef("the context's deployment isn't a name")
	}
	return filepath.Join(state, "cloister", "spool", c.Deployment), nil
}

// genesis is the pinned genesis id, nil when none is pinned.
func (c *Config) genesis() ([]byte, error) {
	if c.Genesis == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(c.Genesis)
	if err != nil || len(b) != 32 {
		return nil, errors.New("the context's genesis isn't 64 hex digits")
	}
	return b, nil
}

// LoadSigningKey reads a producer's Ed25519 key: PEM, PKCS #8.
func LoadSigningKey(path string) (ed25519.PrivateKey, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: not a PEM file; make a key with `cloister keygen`", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: not a private key in PKCS #8", path)
	}
	signer, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an Ed25519 key", path)
	}
	return signer, nil
}

// EncodeSigningKey writes a producer's key as LoadSigningKey reads it, and its
// public half as cloister.yaml names it.
func EncodeSigningKey(key ed25519.PrivateKey) (private []byte, public string, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, "", err
	}
	public = "ed25519:" + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), public, nil
}

// readFile reads a small file and never more than contextLimit bytes.
func readFile(path string) ([]byte, error) { return readAtMost(path, contextLimit) }

// readAtMost reads a file of at most limit bytes.
func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return b, nil
}
