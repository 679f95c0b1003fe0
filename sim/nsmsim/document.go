package nsmsim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
)

// Heads of the payload's map. Real modules write the indefinite one since
// mid-2025.
const (
	nineEntries   = 0xa9
	indefiniteMap = 0xbf
	breakByte     = 0xff
)

// protectedHeader is {1: -35}, ES384 (RFC 9053, section 2.1).
const protectedHeader = "\xa1\x01\x38\x22"

// document makes and signs one document. Errors are [nsm.Error] where the
// request is to blame.
func (d *Device) document(w wanted, fault Fault) ([]byte, error) {
	if max(len(w.userData), len(w.nonce), len(w.publicKey)) > nsm.MaxField {
		return nil, nsm.InputTooLarge
	}
	now, bank := d.config.Now(), d.bank
	if err := d.signer.renew(now); err != nil {
		return nil, err
	}
	by := d.signer.leaf
	switch fault {
	case WrongNonce:
		w.nonce = otherNonce(w.nonce)
	case DebugPCRs:
		bank = bank.debug()
	case OldTimestamp:
		// The leaf must have begun before, or the document would contradict itself.
		now = now.Add(-StaleBy)
		var err error
		if by, err = d.signer.issueLeaf(now); err != nil {
			return nil, err
		}
	}
	payload, err := d.payload(w, bank, by, now)
	if err != nil {
		return nil, err
	}
	return by.sign(payload)
}

// otherNonce answers a nonce that isn't this one.
func otherNonce(nonce []byte) []byte {
	if len(nonce) == 0 {
		return make([]byte, 32)
	}
	other := bytes.Clone(nonce)
	other[0] ^= 0xff
	return other
}

// payload writes the nine fields in the order of real documents. Absent
// optional fields are null.
func (d *Device) payload(w wanted, bank registers, by *link, now time.Time) ([]byte, error) {
	pcrs := make(map[uint16][]byte, attestation.PCRCount)
	for _, i := range bank.lockedIndexes() {
		pcrs[i] = bank.values[i][:]
	}
	fields := []any{
		"module_id", d.moduleID,
		"digest", digestName,
		"timestamp", uint64(now.UnixMilli()), //nolint:gosec // renew refuses times before the root began
		"pcrs", pcrs,
		"certificate", by.certificate.Raw,
		"cabundle", d.signer.bundle(),
		"public_key", w.publicKey,
		"user_data", w.userData,
		"nonce", w.nonce,
	}
	mode, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical}.EncMode()
	if err != nil {
		return nil, fmt.Errorf("nsmsim: %w", err)
	}
	var b bytes.Buffer
	b.WriteByte(indefiniteMap)
	encoder := mode.NewEncoder(&b)
	for _, item := range fields {
		if err := encoder.Encode(item); err != nil {
			return nil, fmt.Errorf("nsmsim: %w", err)
		}
	}
	b.WriteByte(breakByte)
	payload := b.Bytes()
	if d.config.Definite {
		payload[0] = nineEntries
		payload = payload[:len(payload)-1]
	}
	return payload, nil
}

// sign makes the untagged COSE_Sign1 message around a payload (RFC 9052,
// section 4.2 and 4.4), with the signature as r || s (RFC 9053, section 2.1).
func (l *link) sign(payload []byte) ([]byte, error) {
	covered, err := cbor.Marshal([]any{"Signature1", []byte(protectedHeader), []byte{}, payload})
	if err != nil {
		return nil, fmt.Errorf("nsmsim: %w", err)
	}
	digest := sha512.Sum384(covered)
	r, s, err := ecdsa.Sign(rand.Reader, l.key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("nsmsim: %w", err)
	}
	signature := make([]byte, attestation.SignatureSize)
	r.FillBytes(signature[:attestation.SignatureSize/2])
	s.FillBytes(signature[attestation.SignatureSize/2:])
	message, err := cbor.Marshal([]any{[]byte(protectedHeader), struct{}{}, payload, signature})
	if err != nil {
		return nil, fmt.Errorf("nsmsim: %w", err)
	}
	return message, nil
}
