package policy

import (
	"encoding/json"
	"fmt"
)

// File is a policy file for programs that write one; [Load] says what its
// members mean. Only Load reads policies.
type File struct {
	Version     int           `json:"version"`
	Environment string        `json:"environment"`
	Kind        string        `json:"kind"`
	Roots       []string      `json:"roots"`
	Bundle      string        `json:"bundle,omitempty"`
	Releases    []FileRelease `json:"releases"`
	MaxAge      string        `json:"max_age,omitempty"`
	AllowDebug  bool          `json:"allow_debug"`
}

// FileRelease is one release of a [File]. PCRs go from decimal indexes to
// hexadecimal digits; the times are RFC 3339.
type FileRelease struct {
	Name      string            `json:"name"`
	PCRs      map[string]string `json:"pcrs"`
	NotBefore string            `json:"not_before,omitempty"`
	NotAfter  string            `json:"not_after,omitempty"`
}

// Marshal writes the file. A policy that [Load] would refuse isn't written.
func (f File) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	b = append(b, '\n')
	if _, err := Load(b); err != nil {
		return nil, err
	}
	return b, nil
}
