package deployment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/bundle"
)

const (
	// MaxFacts is the largest facts file, in bytes.
	MaxFacts = 1 << 20
	// maxFactsDepth is the deepest nesting: file, list, entry, list, name.
	maxFactsDepth = 5
)

// factsFile is Facts as JSON. Certificates are PEM and producers' keys are
// written as in cloister.yaml.
type factsFile struct {
	Version int `json:"version"`
	KMS     struct {
		Region   string `json:"region"`
		StateKey string `json:"state_key"`
		Endpoint string `json:"endpoint"`
		CA       string `json:"ca"`
	} `json:"kms"`
	Keys      map[string]string `json:"keys"`
	Producers []struct {
		Name     string   `json:"name"`
		Key      string   `json:"key"`
		Datasets []string `json:"datasets"`
		Retired  bool     `json:"retired"`
	} `json:"producers"`
	Issuers []struct {
		Issuer     string `json:"issuer"`
		Audience   string `json:"audience"`
		RolesClaim string `json:"roles_claim"`
		TLSRoots   string `json:"tls_roots"`
		RequireMFA *bool  `json:"require_mfa"`
	} `json:"issuers"`
	Egress    []string `json:"egress"`
	Freshness string   `json:"freshness"`
}

// ReadFacts reads a facts file: strict JSON, described in docs/spec/bundle.md.
// Unknown names, names that stand twice and anything behind the object are
// errors. Whether the facts fit a deployment is for Config.Bundle to say.
func ReadFacts(b []byte) (Facts, error) {
	var file factsFile
	if err := strictJSON(b, &file); err != nil {
		return Facts{}, fmt.Errorf("facts: %w", err)
	}
	if file.Version != Version {
		return Facts{}, fmt.Errorf("facts: version: %d is the only one known", Version)
	}
	f := Facts{
		KMS:  bundle.KMS{Region: file.KMS.Region, Endpoint: file.KMS.Endpoint, StateKeyARN: file.KMS.StateKey},
		Keys: file.Keys, Egress: file.Egress, Freshness: file.Freshness,
	}
	if file.KMS.CA != "" {
		f.KMS.CA = []byte(file.KMS.CA)
	}
	for i, p := range file.Producers {
		key, err := decodeKey(p.Key)
		if err != nil {
			return Facts{}, fmt.Errorf("facts: producer %d: key: %w", i+1, err)
		}
		f.Producers = append(f.Producers, bundle.Producer{Name: p.Name, Key: key, Datasets: p.Datasets, Retired: p.Retired})
	}
	for _, s := range file.Issuers {
		f.Issuers = append(f.Issuers, bundle.Issuer{
			URL: s.Issuer, Audience: s.Audience, RolesClaim: s.RolesClaim, TLSRoots: []byte(s.TLSRoots),
			RequireMFA: s.RequireMFA == nil || *s.RequireMFA,
		})
	}
	return f, nil
}

// strictJSON decodes one JSON value. Package json alone would take names in
// any case and let the last of two equal ones win.
func strictJSON(b []byte, into any) error {
	switch {
	case len(b) > MaxFacts:
		return fmt.Errorf("larger than %d bytes", MaxFacts)
	case !utf8.Valid(b):
		return errors.New("not UTF-8")
	}
	names := json.NewDecoder(bytes.NewReader(b))
	if err := walk(names, maxFactsDepth); err != nil {
		return position(b, names.InputOffset(), err)
	}
	if _, err := names.Token(); !errors.Is(err, io.EOF) {
		return position(b, names.InputOffset(), errors.New("something follows the object"))
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
		switch {
		case !ok:
			return errors.New(strings.TrimPrefix(err.Error(), "json: "))
		case wrong.Field == "":
			return errors.New("not a JSON object")
		}
		kind, _, _ := strings.Cut(wrong.Value, " ")
		return position(b, wrong.Offset, fmt.Errorf("%s can't be of type %s", wrong.Field, kind))
	}
	return nil
}

// walk reads one value and refuses names that stand twice, and names with other
// characters than ours have: package json takes some of them for letters.
func walk(dec *json.Decoder, depth int) error {
	token, err := dec.Token()
	if err != nil {
		return notJSON(err)
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == 0 {
		return errors.New("nested too deep")
	}
	seen := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			token, err := dec.Token()
			if err != nil {
				return notJSON(err)
			}
			name, _ := token.(string)
			switch {
			case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "":
				return fmt.Errorf("name %q: names are of a-z, 0-9, - and _", name)
			case seen[name]:
				return fmt.Errorf("name %q stands twice", name)
			}
			seen[name] = true
		}
		if err := walk(dec, depth-1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return notJSON(err)
	}
	return nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("not JSON: it ends too early")
	}
	return fmt.Errorf("not JSON: %w", err)
}

// position puts line and column before an error.
func position(b []byte, offset int64, err error) error {
	before := b[:min(max(offset, 0), int64(len(b)))]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Errorf("%d:%d: %w", line, column, err)
}
