package nsmsim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
)

const (
	// errorName is the variant of a refusal.
	errorName = "Error"
	// digestName is the bank's hash.
	digestName = "SHA384"
	// randomSize is how many bytes GetRandom answers. The Linux driver reads
	// byte strings of 24 bytes and more.
	randomSize = 256
)

// The version of the interface that the module says it has.
const versionMajor, versionMinor, versionPatch = 1, 0, 0

// answer reads a request and answers it, with whatever fault is due.
func (d *Device) answer(ctx context.Context, raw []byte) ([]byte, error) {
	r, err := readRequest(raw)
	if err != nil {
		return refusal(err)
	}
	fault := d.config.Faults(r.name)
	switch fault {
	case Failing:
		return refusal(nsm.InternalError)
	case Stalled:
		return nil, d.stall(ctx)
	}
	fields, err := d.do(r, fault)
	if err != nil {
		return refusal(err)
	}
	response, err := encode(r.name, fields)
	if err != nil {
		return nil, err
	}
	if fault == Truncated {
		response = response[:len(response)/2]
	}
	return response, nil
}

// do does what the request asks and answers the fields of the response, nil
// for none. Errors are [nsm.Error].
func (d *Device) do(r request, fault Fault) (fields any, err error) {
	switch r.name {
	case describePCR:
		value, locked, err := d.bank.describe(r.index)
		return registerFields{locked, value[:]}, err
	case extendPCR:
		value, err := d.bank.extend(r.index, r.data)
		return dataField{value[:]}, err
	case lockPCR:
		return nil, d.bank.lock(r.index)
	case lockPCRs:
		return nil, d.bank.lockRange(r.limit)
	case describeNSM:
		return d.description(), nil
	case attest:
		document, err := d.document(r.wanted, fault)
		return documentField{document}, err
	case getRandom:
		random := make([]byte, randomSize)
		rand.Read(random) // never fails
		return randomField{random}, nil
	default:
		return nil, nsm.InvalidOperation
	}
}

// Fields of responses, in the order in which the module writes them.
type (
	registerFields struct {
		Lock bool   `cbor:"lock"`
		Data []byte `cbor:"data"`
	}
	dataField struct {
		Data []byte `cbor:"data"`
	}
	documentField struct {
		Document []byte `cbor:"document"`
	}
	randomField struct {
		Random []byte `cbor:"random"`
	}
	descriptionFields struct {
		Major    uint16   `cbor:"version_major"`
		Minor    uint16   `cbor:"version_minor"`
		Patch    uint16   `cbor:"version_patch"`
		ModuleID string   `cbor:"module_id"`
		MaxPCRs  uint16   `cbor:"max_pcrs"`
		Locked   []uint16 `cbor:"locked_pcrs"`
		Digest   string   `cbor:"digest"`
	}
)

func (d *Device) description() descriptionFields {
	return descriptionFields{
		versionMajor, versionMinor, versionPatch, d.moduleID, attestation.PCRCount, d.bank.lockedIndexes(), digestName,
	}
}

// encode writes an enum as serde does.
func encode(name string, fields any) ([]byte, error) {
	var item any = name
	if fields != nil {
		item = map[string]any{name: fields}
	}
	response, err := cbor.Marshal(item)
	if err != nil {
		return nil, fmt.Errorf("nsmsim: %w", err)
	}
	if len(response) > nsm.MaxResponse {
		return refusal(nsm.BufferTooSmall)
	}
	return response, nil
}

// refusal is the response that says why a request was refused.
func refusal(err error) ([]byte, error) {
	name, ok := errors.AsType[nsm.Error](err)
	if !ok {
		name = nsm.InternalError
	}
	return encode(errorName, string(name))
}
