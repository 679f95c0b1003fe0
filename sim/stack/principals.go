package stack

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cloisterhq/cloister/sim/kmssim"
)

// The simulated account's roles. The host's role is what the enclave calls KMS
// with: it proves only the parent, and attestation does the rest.
const (
	owner    = "data-owner"
	producer = "producer"
	host     = "enclave-host"
)

// principal is a role's access key.
type principal struct {
	ID     string `json:"access_key_id"`
	Secret string `json:"secret_access_key"`
}

// roleARN names a role of the simulated account.
func roleARN(role string) string { return "arn:aws:iam::" + account + ":role/" + role }

// principals loads the access keys of all roles, or makes them, and writes the
// two credentials files that others read.
func (l Layout) principals() (map[string]principal, error) {
	b, err := l.keep("principals.json", func() ([]byte, error) {
		all := map[string]principal{}
		for _, role := range []string{owner, producer, host} {
			var id [8]byte
			var secret [20]byte
			if _, err := rand.Read(id[:]); err != nil {
				return nil, err
			}
			if _, err := rand.Read(secret[:]); err != nil {
				return nil, err
			}
			all[role] = principal{ID: "AKIASIM" + strings.ToUpper(hex.EncodeToString(id[:])), Secret: hex.EncodeToString(secret[:])}
		}
		return json.MarshalIndent(all, "", "  ")
	})
	if err != nil {
		return nil, err
	}
	all := map[string]principal{}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("stack: principals.json: %w", err)
	}
	for role, path := range map[string]string{producer: l.file("producer-credentials.json"), host: l.hostCredentials()} {
		b, err := json.Marshal(all[role])
		if err != nil {
			return nil, err
		}
		if err := write(path, append(b, '\n')); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// hostCredentials is the file that the parent hands on to the enclave.
func (l Layout) hostCredentials() string { return l.file("parent-credentials.json") }

// kmsPrincipals is the principals as the KMS simulator knows them.
func kmsPrincipals(all map[string]principal) map[string]kmssim.Principal {
	out := map[string]kmssim.Principal{}
	for role, p := range all {
		out[p.ID] = kmssim.Principal{Secret: p.Secret, ARN: roleARN(role)}
	}
	return out
}
