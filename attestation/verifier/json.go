package verifier

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
)

// Schema names the JSON form of a [Result], an [Archived] and a [Refusal];
// docs/spec/verify.schema.json describes it.
const Schema = "cloister.verify/v1"

// timeFormat is RFC 3339 in UTC with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// Values of "mode" and "freshness".
const (
	modeLive      = "live"
	modeArchived  = "archived"
	established   = "established"
	unestablished = "not established"
)

// errNothing says that there is no verdict to write.
var errNothing = errors.New("verifier: no result to write")

// resultJSON is the form cloister.verify/v1 of a document that was accepted.
type resultJSON struct {
	Schema         string            `json:"schema"`
	Verified       bool              `json:"verified"`
	Mode           string            `json:"mode"`
	Freshness      string            `json:"freshness"`
	VerifiedAt     string            `json:"verified_at"`
	Environment    string            `json:"environment"`
	Kind           string            `json:"kind"`
	Release        string            `json:"release"`
	MatchedPCRs    []int             `json:"matched_pcrs"`
	Debug          bool              `json:"debug"`
	Root           string            `json:"root"`
	ModuleID       string            `json:"module_id"`
	Timestamp      string            `json:"timestamp"`
	Leaf           lifeJSON          `json:"leaf"`
	PCRs           map[string]string `json:"pcrs"`
	Binding        bindingJSON       `json:"binding"`
	Checks         []Check           `json:"checks"`
	NotEstablished []string          `json:"not_established"`
}

// lifeJSON is how long the leaf certificate is valid.
type lifeJSON struct {
	NotBefore string `json:"not_before"`
	NotAfter  string `json:"not_after"`
}

// bindingJSON is what the document says of its maker's keys, in hexadecimal
// digits, null when the field is absent, and whether it was compared.
type bindingJSON struct {
	Established bool    `json:"established"`
	UserData    *string `json:"user_data"`
	PublicKey   *string `json:"public_key"`
	Nonce       *string `json:"nonce"`
}

// MarshalJSON writes the form cloister.verify/v1. It lists PCR0, PCR1, PCR2
// and every other register that isn't zero. The zero Result has no JSON.
func (r *Result) MarshalJSON() ([]byte, error) {
	if r == nil {
		return nil, errNothing
	}
	return r.json(modeLive, established)
}

// MarshalJSON writes the form cloister.verify/v1, with the mode "archived" and
// the freshness "not established". The zero Archived has no JSON.
func (r *Archived) MarshalJSON() ([]byte, error) {
	if r == nil {
		return nil, errNothing
	}
	return r.json(modeArchived, unestablished)
}

func (v *verdict) json(mode, freshness string) ([]byte, error) {
	if v.authentic == nil {
		return nil, errNothing
	}
	d, leaf := v.authentic.document, v.authentic.chain.leaf()
	pcrs := make(map[string]string)
	for i, pcr := range d.PCRs() {
		if i <= 2 || !pcr.IsZero() {
			pcrs[strconv.Itoa(i)] = pcr.String()
		}
	}
	return json.Marshal(resultJSON{
		Schema: Schema, Verified: true, Mode: mode, Freshness: freshness, VerifiedAt: v.at.Format(timeFormat),
		Environment: v.policy.Environment(), Kind: policy.KindEnclave,
		Release: v.release.Name, MatchedPCRs: slices.Sorted(maps.Keys(v.release.PCRs)), Debug: v.debug,
		Root: v.authentic.chain.root, ModuleID: d.ModuleID(), Timestamp: d.Timestamp().Format(timeFormat),
		Leaf: lifeJSON{leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339)},
		PCRs: pcrs,
		Binding: bindingJSON{
			Established: v.notes(CheckBinding),
			UserData:    hexOrNull(d.UserData()), PublicKey: hexOrNull(d.PublicKey()), Nonce: hexOrNull(d.Nonce()),
		},
		Checks: v.checks, NotEstablished: v.gaps(),
	})
}

func hexOrNull(b []byte) *string {
	if b == nil {
		return nil
	}
	s := hex.EncodeToString(b)
	return &s
}

// Refusal is the JSON form of a refusal. It holds nothing of the document.
type Refusal struct {
	// Err says which check refused, and why. Required.
	Err *attestation.Error
	// Fix is what to do about it, for people; may be empty.
	Fix string
}

// refusalJSON is the form cloister.verify/v1 of a document that was refused.
type refusalJSON struct {
	Schema   string            `json:"schema"`
	Verified bool              `json:"verified"`
	Class    attestation.Class `json:"class"`
	PCR      *int              `json:"pcr,omitempty"`
	Detail   string            `json:"detail"`
	Fix      string            `json:"fix,omitempty"`
	Checks   []Check           `json:"checks"`
}

// MarshalJSON writes the form cloister.verify/v1 with "verified" false and the
// one check that refused. Checks that passed before it aren't listed: a document
// that is refused has no good sides.
func (r Refusal) MarshalJSON() ([]byte, error) {
	if r.Err == nil {
		return nil, errNothing
	}
	form := refusalJSON{Schema: Schema, Class: r.Err.Class, Detail: r.Err.Error(), Fix: r.Fix, Checks: []Check{}}
	if r.Err.Index >= 0 {
		form.PCR = &r.Err.Index
	}
	if r.Err.Check != "" {
		form.Checks = append(form.Checks, Check{Name: r.Err.Check, Detail: r.Err.Error()})
	}
	return json.Marshal(form)
}
