package nsmsim

import (
	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/attestation/nsm"
)

// Names of the requests, which their responses bear as well.
const (
	describePCR = "DescribePCR"
	extendPCR   = "ExtendPCR"
	lockPCR     = "LockPCR"
	lockPCRs    = "LockPCRs"
	describeNSM = "DescribeNSM"
	attest      = "Attestation"
	getRandom   = "GetRandom"
)

// Major types (RFC 8949, section 3.1).
const (
	majorText = 3
	majorMap  = 5
)

// request is one request as it was read. Its fields are those of its name.
type request struct {
	name string
	// index is the register of DescribePCR, ExtendPCR and LockPCR.
	index uint16
	// limit is the range of LockPCRs.
	limit uint16
	// data is what ExtendPCR extends by.
	data []byte
	// wanted is what an Attestation is to hold.
	wanted wanted
}

// wanted is what a document is asked to hold; a nil field is absent.
type wanted struct{ userData, nonce, publicKey []byte }

// readRequest reads an enum as serde writes it: a variant without fields as
// text, one with fields as a map of one entry. Errors are [nsm.Error].
func readRequest(raw []byte) (request, error) {
	mode, err := strict()
	if err != nil || len(raw) == 0 {
		return request{}, nsm.InvalidOperation
	}
	if raw[0]>>5 == majorText {
		var name string
		if mode.Unmarshal(raw, &name) != nil || name != describeNSM && name != getRandom {
			return request{}, nsm.InvalidOperation
		}
		return request{name: name}, nil
	}
	var variant map[string]cbor.RawMessage
	if mode.Unmarshal(raw, &variant) != nil || len(variant) != 1 {
		return request{}, nsm.InvalidOperation
	}
	for name, fields := range variant {
		if fields[0]>>5 == majorMap { // the library takes null for a struct too
			return readFields(mode, name, fields)
		}
	}
	return request{}, nsm.InvalidOperation
}

// readFields reads the fields of a variant. A pointer stays nil where a field
// is absent or null; cbor.ByteString takes nothing but byte strings.
func readFields(mode cbor.DecMode, name string, raw []byte) (request, error) {
	r, ok := request{name: name}, false
	switch name {
	case describePCR, lockPCR:
		var f struct {
			Index *uint16 `cbor:"index"`
		}
		if ok = mode.Unmarshal(raw, &f) == nil && f.Index != nil; ok {
			r.index = *f.Index
		}
	case extendPCR:
		var f struct {
			Index *uint16          `cbor:"index"`
			Data  *cbor.ByteString `cbor:"data"`
		}
		if ok = mode.Unmarshal(raw, &f) == nil && f.Index != nil && f.Data != nil; ok {
			r.index, r.data = *f.Index, optional(f.Data)
		}
	case lockPCRs:
		var f struct {
			Range *uint16 `cbor:"range"`
		}
		if ok = mode.Unmarshal(raw, &f) == nil && f.Range != nil; ok {
			r.limit = *f.Range
		}
	case attest:
		var f struct {
			UserData  *cbor.ByteString `cbor:"user_data"`
			Nonce     *cbor.ByteString `cbor:"nonce"`
			PublicKey *cbor.ByteString `cbor:"public_key"`
		}
		if ok = mode.Unmarshal(raw, &f) == nil; ok {
			r.wanted = wanted{optional(f.UserData), optional(f.Nonce), optional(f.PublicKey)}
		}
	}
	if !ok {
		return request{}, nsm.InvalidOperation
	}
	return r, nil
}

// optional answers the bytes of a string that is there, and nil otherwise.
func optional(s *cbor.ByteString) []byte {
	if s == nil {
		return nil
	}
	return append([]byte{}, *s...)
}

// strict refuses whatever the interface doesn't have. The order of keys is free.
func strict() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels:   4,
		MaxArrayElements:  16,
		MaxMapPairs:       16,
	}.DecMode()
}
