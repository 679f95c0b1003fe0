package attestation

import (
	"encoding/asn1"
	"unicode/utf8"
)

const (
	// maxTimestamp keeps the timestamp exact in every number format.
	maxTimestamp = 1<<53 - 1
	// maxModuleID bounds the module's name, in bytes; real ones have 39.
	maxModuleID = 255
	// maxField bounds certificates and the three optional fields, in bytes.
	maxField = 1024
	// maxBundle bounds the number of certificates above the leaf; real
	// documents have 4.
	maxBundle = 8
	// digestName is the only value of digest.
	digestName = "SHA384"
)

func (p *payload) moduleID(name string) error {
	text, ok, err := p.str(majorText)
	if err != nil {
		return err
	}
	if !ok || len(text) == 0 || len(text) > maxModuleID || !utf8.Valid(text) {
		return badField(name)
	}
	p.doc.moduleID = string(text)
	return nil
}

func (p *payload) digest(name string) error {
	text, ok, err := p.str(majorText)
	if err != nil {
		return err
	}
	if !ok || string(text) != digestName {
		return badField(name)
	}
	return nil
}

// timestamp compares as an unsigned number before anything narrows it.
func (p *payload) timestamp(name string) error {
	if p.next()>>5 != majorUint {
		return badField(name)
	}
	h, err := p.head()
	if err != nil {
		return err
	}
	if h.arg == 0 || h.arg > maxTimestamp {
		return badField(name)
	}
	p.doc.timestamp = h.arg
	return nil
}

func (p *payload) pcrs(name string) error {
	if p.next()>>5 != majorMap {
		return badField(name)
	}
	h, err := p.head()
	if err != nil {
		return err
	}
	if h.arg == 0 || h.arg > PCRCount {
		return badField(name)
	}
	for range h.arg {
		if err := p.pcr(name); err != nil {
			return err
		}
	}
	return nil
}

func (p *payload) pcr(name string) error {
	if p.empty() {
		return malformed("truncated")
	}
	if p.next()>>5 != majorUint {
		return badField(name)
	}
	h, err := p.head()
	if err != nil {
		return err
	}
	if h.arg >= PCRCount {
		return badField(name)
	}
	i := int(h.arg)
	if p.doc.locked&(1<<i) != 0 {
		return NewPCRError(DuplicateKey, i, "")
	}
	value, ok, err := p.str(majorBytes)
	if err != nil {
		return err
	}
	if !ok || len(value) != PCRSize {
		return NewPCRError(BadField, i, "not 48 bytes")
	}
	p.doc.pcrs[i], p.doc.locked = PCR(value), p.doc.locked|1<<i
	return nil
}

// tpm steps over the registers of a NitroTPM, whatever their number and size:
// such a document is refused by its kind, once the rest has been read.
func (p *payload) tpm(name string) error {
	if p.next()>>5 != majorMap {
		return badField(name)
	}
	entries, err := p.head()
	if err != nil {
		return err
	}
	for range entries.arg {
		if p.next()>>5 != majorUint {
			return badField(name)
		}
		if _, err := p.head(); err != nil {
			return err
		}
		if _, ok, err := p.str(majorBytes); err != nil {
			return err
		} else if !ok {
			return badField(name)
		}
	}
	return nil
}

func (p *payload) certificate(name string) (err error) {
	p.doc.certificate, err = p.der(name)
	return err
}

func (p *payload) bundle(name string) error {
	if p.next()>>5 != majorArray {
		return badField(name)
	}
	h, err := p.head()
	if err != nil {
		return err
	}
	if h.arg == 0 || h.arg > maxBundle {
		return badField(name)
	}
	p.doc.bundle = make([][]byte, h.arg)
	for i := range p.doc.bundle {
		if p.doc.bundle[i], err = p.der(name); err != nil {
			return err
		}
	}
	return nil
}

// der reads a byte string that holds one ASN.1 SEQUENCE and nothing behind it.
func (p *payload) der(name string) ([]byte, error) {
	b, ok, err := p.str(majorBytes)
	if err != nil {
		return nil, err
	}
	if !ok || len(b) == 0 || len(b) > maxField {
		return nil, badField(name)
	}
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(b, &v)
	if err != nil || len(rest) != 0 || v.Class != asn1.ClassUniversal || v.Tag != asn1.TagSequence || !v.IsCompound {
		return nil, badField(name)
	}
	return b, nil
}

// optionalBytes reads a present public_key, user_data or nonce.
func (p *payload) optionalBytes(name string) error {
	b, ok, err := p.str(majorBytes)
	if err != nil {
		return err
	}
	if !ok || len(b) > maxField {
		return badField(name)
	}
	switch name {
	case fieldPublicKey:
		if len(b) > 0 { // an empty key is no key
			p.doc.publicKey = b
		}
	case fieldUserData:
		p.doc.userData = b
	case fieldNonce:
		p.doc.nonce = b
	}
	return nil
}

func badField(name string) *Error { return NewError(BadField, name, nil) }
