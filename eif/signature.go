package eif

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"

	"github.com/fxamacker/cbor/v2"
)

// Signer is who signed an image, and what PCR8 is by that.
type Signer struct {
	// Certificate is the signer's. Its dates are reported and not judged here.
	Certificate *x509.Certificate
	// PCR8 is over the certificate's DER form.
	PCR8 PCR
}

// integers is how the format writes bytes: an array of numbers.
type integers []uint16

func (n integers) bytes() ([]byte, bool) {
	b := make([]byte, len(n))
	for i, v := range n {
		if v > 0xff {
			return nil, false
		}
		b[i] = byte(v)
	}
	return b, true
}

func toIntegers(b []byte) integers {
	n := make(integers, len(b))
	for i, v := range b {
		n[i] = uint16(v)
	}
	return n
}

// signed is an entry of the signature section; QEMU wants this order.
type signed struct {
	Certificate integers `cbor:"signing_certificate"`
	Signature   integers `cbor:"signature"`
}

// message is COSE_Sign1 (RFC 9052, section 4.2), untagged.
type message struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected map[int]int
	Payload     []byte
	Signature   []byte
}

// register is the signed payload.
type register struct {
	Index int      `cbor:"register_index"`
	Value integers `cbor:"register_value"`
}

// scheme is a curve with its COSE algorithm (RFC 9053, table 1).
type scheme struct {
	hash   crypto.Hash
	header string // the protected header {1: alg}
	size   int    // bytes of each half of a signature
}

func schemeOf(c elliptic.Curve) (scheme, bool) {
	switch c {
	case elliptic.P256():
		return scheme{crypto.SHA256, "\xa1\x01\x26", 32}, true
	case elliptic.P384():
		return scheme{crypto.SHA384, "\xa1\x01\x38\x22", 48}, true
	case elliptic.P521():
		return scheme{crypto.SHA512, "\xa1\x01\x38\x23", 66}, true
	}
	return scheme{}, false
}

// strict refuses what the format doesn't have: indefinite lengths, tags, names
// twice or unknown.
func strict() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels: 4, MaxArrayElements: maxSignature, MaxMapPairs: 16,
	}.DecMode()
}

// SignedBy checks the signature section against a measured PCR0, nil for an
// image without one. Whether the signer is a good one is for the caller's
// policy: a signature by itself says only that some key signed some image.
func (m *Image) SignedBy(pcr0 PCR) (*Signer, error) {
	found := m.all(Signature)
	if len(found) == 0 {
		return nil, nil
	}
	raw, err := m.small(found[0], maxSignature)
	if err != nil {
		return nil, err
	}
	dec, err := strict()
	if err != nil {
		return nil, fmt.Errorf("eif: %w", err)
	}
	var entries []signed
	if !arraysOnly(raw) || dec.Unmarshal(raw, &entries) != nil || len(entries) != 1 {
		return nil, refuse(BadSignature, "not one entry of certificate and signature, as arrays of integers")
	}
	pemText, ok1 := entries[0].Certificate.bytes()
	cose, ok2 := entries[0].Signature.bytes()
	if !ok1 || !ok2 {
		return nil, refuse(BadSignature, "a number isn't a byte")
	}
	signer, err := readCertificate(pemText)
	if err != nil {
		return nil, err
	}
	return signer, checkMessage(dec, cose, signer.Certificate, pcr0)
}

// arraysOnly says whether the section's outer values are written as arrays: a
// byte string where numbers should stand is another file to other readers.
func arraysOnly(raw []byte) bool {
	var outer []map[string]cbor.RawMessage
	dec, err := strict()
	if err != nil || dec.Unmarshal(raw, &outer) != nil {
		return false
	}
	for _, entry := range outer {
		for _, v := range entry {
			if len(v) == 0 || v[0]>>5 != 4 {
				return false
			}
		}
	}
	return true
}

// readCertificate reads one certificate in PEM and nothing beside it.
func readCertificate(text []byte) (*Signer, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) != 0 || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")) {
		return nil, refuse(BadSignature, "not exactly one certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, refuse(BadSignature, "the certificate can't be read")
	}
	digest := sha512.Sum384(block.Bytes)
	return &Signer{Certificate: c, PCR8: extend(digest[:])}, nil
}

// checkMessage checks a COSE_Sign1 over PCR0 by a certificate's key.
func checkMessage(dec cbor.DecMode, raw []byte, c *x509.Certificate, pcr0 PCR) error {
	var msg message
	if dec.Unmarshal(raw, &msg) != nil || len(msg.Unprotected) != 0 {
		return refuse(BadSignature, "not a COSE_Sign1 message with an empty unprotected header")
	}
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return refuse(BadSignature, "the certificate's key isn't ECDSA")
	}
	s, ok := schemeOf(key.Curve)
	if !ok || string(msg.Protected) != s.header || len(msg.Signature) != 2*s.size {
		return refuse(BadSignature, "the algorithm isn't that of the certificate's curve")
	}
	digest, err := toBeSigned(s, msg.Payload)
	if err != nil {
		return err
	}
	r, t := new(big.Int).SetBytes(msg.Signature[:s.size]), new(big.Int).SetBytes(msg.Signature[s.size:])
	if !ecdsa.Verify(key, digest, r, t) {
		return refuse(BadSignature, "not made by the certificate's key")
	}
	var payload register
	if dec.Unmarshal(msg.Payload, &payload) != nil || payload.Index != 0 {
		return refuse(BadSignature, "what is signed isn't register 0")
	}
	if value, ok := payload.Value.bytes(); !ok || !bytes.Equal(value, pcr0[:]) {
		return refuse(BadSignature, "what is signed is another image's PCR0")
	}
	return nil
}

// toBeSigned is the digest of the Sig_structure (RFC 9052, section 4.4).
func toBeSigned(s scheme, payload []byte) ([]byte, error) {
	b, err := cbor.Marshal([]any{"Signature1", []byte(s.header), []byte{}, payload})
	if err != nil {
		return nil, fmt.Errorf("eif: %w", err)
	}
	h := s.hash.New()
	h.Write(b)
	return h.Sum(nil), nil
}

// Sign makes the content of a signature section for an image with this PCR0.
// certificate is PEM; the key must be its ECDSA key. Keys of crypto/ecdsa sign
// deterministically (RFC 6979), so that the same image gives the same file.
func Sign(pcr0 PCR, certificate []byte, key crypto.Signer) ([]byte, error) {
	signer, err := readCertificate(certificate)
	if err != nil {
		return nil, err
	}
	public, ok := key.Public().(*ecdsa.PublicKey)
	if !ok || !public.Equal(signer.Certificate.PublicKey) {
		return nil, refuse(BadSignature, "the key isn't the certificate's")
	}
	s, ok := schemeOf(public.Curve)
	if !ok {
		return nil, refuse(BadSignature, "the curve isn't P-256, P-384 or P-521")
	}
	payload, err := cbor.Marshal(register{Value: toIntegers(pcr0[:])})
	if err != nil {
		return nil, fmt.Errorf("eif: %w", err)
	}
	digest, err := toBeSigned(s, payload)
	if err != nil {
		return nil, err
	}
	signature, err := rawSignature(key, digest, s)
	if err != nil {
		return nil, err
	}
	cose, err := cbor.Marshal(message{Protected: []byte(s.header), Unprotected: map[int]int{}, Payload: payload, Signature: signature})
	if err != nil {
		return nil, fmt.Errorf("eif: %w", err)
	}
	section, err := cbor.Marshal([]signed{{toIntegers(certificate), toIntegers(cose)}})
	if err != nil {
		return nil, fmt.Errorf("eif: %w", err)
	}
	if len(section) > maxSignature {
		return nil, refuse(BadSignature, "the section would have %d bytes; %d is the limit", len(section), maxSignature)
	}
	return section, nil
}
