// Package canonical reads and writes CBOR in one form only: the core
// deterministic encoding of RFC 8949 section 4.2.1. It trusts nothing: what it
// decodes is bounded, strict and byte for byte what it would itself encode, so
// that a hash or a signature over the bytes is one over the value.
package canonical

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// maxNesting bounds the depth of arrays and maps.
const maxNesting = 8

// ErrForm says that bytes aren't the one encoding of a value of the wanted
// type. It never tells what the bytes hold.
var ErrForm = errors.New("canonical: not the deterministic encoding of the expected value")

// Marshal encodes v deterministically.
func Marshal(v any) ([]byte, error) {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, fmt.Errorf("canonical: %w", err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("canonical: %w", err)
	}
	return b, nil
}

// Unmarshal decodes raw into v, a pointer, and answers ErrForm unless raw is
// exactly what Marshal makes of the result. Arrays and maps hold at most
// maxItems elements (at least 16); the caller bounds len(raw).
func Unmarshal(raw []byte, maxItems int, v any) error {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   maxNesting,
		MaxArrayElements:  max(maxItems, 16),
		MaxMapPairs:       max(maxItems, 16),
	}.DecMode()
	if err != nil {
		return fmt.Errorf("canonical: %w", err)
	}
	// The library's errors may quote what they met, so they stop here.
	if mode.Unmarshal(raw, v) != nil {
		return ErrForm
	}
	again, err := Marshal(v)
	if err != nil || !bytes.Equal(again, raw) {
		return ErrForm
	}
	return nil
}
