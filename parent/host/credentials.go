package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxCredentials is the largest credentials file, in bytes.
const maxCredentials = 16 << 10

// Credentials is the credentials file, a JSON object. The parent can use what
// it holds by itself, so it must be a role that KMS gives nothing without an
// attestation document.
type Credentials struct {
	// AccessKeyID names the access key. Required.
	AccessKeyID string `json:"access_key_id"`
	// SecretAccessKey is its secret. Required.
	SecretAccessKey string `json:"secret_access_key"`
	// SessionToken comes with short-lived keys.
	SessionToken string `json:"session_token,omitempty"`
	// Expires is when short-lived keys end (RFC 3339); nil when they don't.
	Expires *time.Time `json:"expires,omitempty"`
}

// readCredentials reads and checks a credentials file.
func readCredentials(path string) (*Credentials, error) {
	if path == "" {
		return nil, errors.New("no credentials file is configured")
	}
	b, err := readFile(path, maxCredentials)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var c Credentials
	// The decoder's own words could carry a piece of the file.
	if dec.Decode(&c) != nil || !errors.Is(dec.Decode(new(json.RawMessage)), io.EOF) {
		return nil, fmt.Errorf("%s isn't a credentials file", path)
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return nil, fmt.Errorf("%s: access_key_id and secret_access_key are needed", path)
	}
	return &c, nil
}

// readFile reads a regular file of 1 to limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 || info.Size() > limit {
		return nil, fmt.Errorf("%s: not a file of 1 to %d bytes", path, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
