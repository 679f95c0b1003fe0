package nsm

import (
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/attestation"
)

const (
	// errorName is the variant that answers any request that was refused.
	errorName = "Error"
	// digestName is the only bank of registers that is read.
	digestName = "SHA384"
	// maxModuleID bounds the module's name, in bytes; real ones have 39.
	maxModuleID = 255
	// majorText is the major type of text (RFC 8949, section 3.1).
	majorText = 3
)

// body is the fields of a response. A pointer is nil where the field is absent
// or null; cbor.ByteString takes nothing but byte strings.
type body interface {
	// complete says whether all fields are there and have possible values.
	complete() bool
}

// decode reads one response to the request of the given name. A nil b expects
// the bare name. Errors are [Error] or [ErrResponse].
func decode(response []byte, name string, b body) error {
	if len(response) == 0 || len(response) > MaxResponse {
		return ErrResponse
	}
	mode, err := strict()
	if err != nil {
		return err
	}
	if response[0]>>5 == majorText {
		var bare string
		if mode.Unmarshal(response, &bare) != nil || bare != name || b != nil {
			return ErrResponse
		}
		return nil
	}
	var variant map[string]cbor.RawMessage
	if mode.Unmarshal(response, &variant) != nil || len(variant) != 1 {
		return ErrResponse
	}
	if refusal, ok := variant[errorName]; ok {
		return decodeError(mode, refusal)
	}
	fields, ok := variant[name]
	if !ok || b == nil || mode.Unmarshal(fields, b) != nil || !b.complete() {
		return ErrResponse
	}
	return nil
}

// decodeError reads the name of a refusal. It never answers nil.
func decodeError(mode cbor.DecMode, raw []byte) error {
	var name Error
	if mode.Unmarshal(raw, &name) != nil || !name.known() {
		return ErrResponse
	}
	return name
}

// strict refuses whatever the interface doesn't have. The order of keys is
// free. The library's errors may quote what they met, so nobody prints them.
func strict() (cbor.DecMode, error) {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels:   4,
		MaxArrayElements:  attestation.PCRCount,
		MaxMapPairs:       16,
	}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	return mode, nil
}

type attestationBody struct {
	Document *cbor.ByteString `cbor:"document"`
}

func (b *attestationBody) complete() bool { return b.Document != nil && len(*b.Document) > 0 }

type extendBody struct {
	Data *cbor.ByteString `cbor:"data"`
}

func (b *extendBody) complete() bool { return isPCR(b.Data) }

type registerBody struct {
	Lock *bool            `cbor:"lock"`
	Data *cbor.ByteString `cbor:"data"`
}

func (b *registerBody) complete() bool { return b.Lock != nil && isPCR(b.Data) }

type randomBody struct {
	Random *cbor.ByteString `cbor:"random"`
}

func (b *randomBody) complete() bool { return b.Random != nil && len(*b.Random) >= minRandom }

func isPCR(b *cbor.ByteString) bool { return b != nil && len(*b) == attestation.PCRSize }

// Description is what a module says about itself.
type Description struct {
	// Major, Minor and Patch are the version of the module's interface.
	Major, Minor, Patch uint16
	// ModuleID names the enclave and its instance: i-<hex>-enc<hex>.
	ModuleID string
	// Registers is the number of registers, 32 as a rule.
	Registers int
	// Locked are the locked registers, in ascending order.
	Locked []int
}

type describeBody struct {
	Major    *uint16   `cbor:"version_major"`
	Minor    *uint16   `cbor:"version_minor"`
	Patch    *uint16   `cbor:"version_patch"`
	ModuleID *string   `cbor:"module_id"`
	MaxPCRs  *uint16   `cbor:"max_pcrs"`
	Locked   *[]uint16 `cbor:"locked_pcrs"`
	Digest   *string   `cbor:"digest"`
}

func (b *describeBody) complete() bool {
	if b.Major == nil || b.Minor == nil || b.Patch == nil || b.ModuleID == nil || b.MaxPCRs == nil || b.Locked == nil || b.Digest == nil {
		return false
	}
	if *b.ModuleID == "" || len(*b.ModuleID) > maxModuleID || *b.Digest != digestName || *b.MaxPCRs > attestation.PCRCount {
		return false
	}
	for i, index := range *b.Locked {
		if index >= *b.MaxPCRs || slices.Contains((*b.Locked)[:i], index) {
			return false
		}
	}
	return true
}

func (b *describeBody) description() Description {
	d := Description{
		Major: *b.Major, Minor: *b.Minor, Patch: *b.Patch,
		ModuleID: *b.ModuleID, Registers: int(*b.MaxPCRs), Locked: make([]int, len(*b.Locked)),
	}
	for i, index := range *b.Locked {
		d.Locked[i] = int(index)
	}
	slices.Sort(d.Locked)
	return d
}
