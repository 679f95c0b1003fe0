package intakekey

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	// MaxFile is the largest key file, in bytes.
	MaxFile = 16 << 10
	schema  = "cloister.keys/v1"
	ed      = "ed25519:"
)

// file is a key file. What is in the key set stands in it once more for
// people's eyes, and has to agree with it.
type file struct {
	Schema     string `json:"schema"`
	Deployment string `json:"deployment"`
	Genesis    string `json:"genesis"`
	Key        string `json:"key"`
	NotAfter   string `json:"not_after"`
	ServiceKey string `json:"service_key"`
	KeySet     string `json:"key_set"`
}

// File answers the file that ParseFile reads: JSON with the signed key set and
// the service key that signed it. Same set, same bytes.
func (s *Set) File() ([]byte, error) {
	genesis := s.Genesis()
	b, err := json.MarshalIndent(file{
		Schema: schema, Deployment: s.Deployment(), Genesis: hex.EncodeToString(genesis[:]), Key: s.public.ID(),
		NotAfter:   s.NotAfter().UTC().Format(time.RFC3339),
		ServiceKey: ed + base64.StdEncoding.EncodeToString(s.service),
		KeySet:     base64.StdEncoding.EncodeToString(s.raw),
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("intakekey: %w", err)
	}
	return append(b, '\n'), nil
}

// ParseFile reads what File wrote and nothing else: a file that was edited is
// ErrMalformed. It proves that the service key in the file signed the key set,
// not whose that service key is: the file is as good as the one who wrote it,
// or as its Service is compared with verified evidence.
func ParseFile(b []byte) (*Set, error) {
	if len(b) > MaxFile {
		return nil, ErrMalformed
	}
	var f file
	if json.Unmarshal(b, &f) != nil || f.Schema != schema {
		return nil, ErrMalformed
	}
	text, ok := strings.CutPrefix(f.ServiceKey, ed)
	service, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok || err != nil {
		return nil, ErrMalformed
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(f.KeySet)
	if err != nil {
		return nil, ErrMalformed
	}
	s, err := Verify(raw, ed25519.PublicKey(service))
	if err != nil {
		return nil, err
	}
	if again, err := s.File(); err != nil || !bytes.Equal(again, b) {
		return nil, ErrMalformed
	}
	return s, nil
}
