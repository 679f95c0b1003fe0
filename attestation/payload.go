package attestation

import "strings"

// Names of the payload's fields.
const (
	fieldModuleID    = "module_id"
	fieldDigest      = "digest"
	fieldTimestamp   = "timestamp"
	fieldPCRs        = "pcrs"
	fieldCertificate = "certificate"
	fieldCABundle    = "cabundle"
	fieldPublicKey   = "public_key"
	fieldUserData    = "user_data"
	fieldNonce       = "nonce"
	// fieldTPM stands in place of pcrs in documents of a NitroTPM.
	fieldTPM = "nitrotpm_pcrs"
)

const (
	// indefiniteMap is the payload's head in every document since mid-2025,
	// and the only indefinite length that is read.
	indefiniteMap = 0xbf
	// tpmMark stands in the module id of a NitroTPM.
	tpmMark = "-tpm"
)

// payload is a walk over the signed map.
type payload struct {
	cursor
	doc  *Document
	seen map[string]bool
}

// walk reads the whole payload into d.
func (d *Document) walk(b []byte) error {
	p := &payload{cursor: cursor{b}, doc: d, seen: make(map[string]bool, 10)}
	if err := p.pairs(); err != nil {
		return err
	}
	if !p.empty() {
		return malformed("trailing bytes after the payload's map")
	}
	if p.seen[fieldTPM] {
		return NewError(WrongDocumentType, "document of a NitroTPM", nil)
	}
	for _, name := range []string{fieldModuleID, fieldDigest, fieldTimestamp, fieldPCRs, fieldCertificate, fieldCABundle} {
		if !p.seen[name] {
			return NewError(MissingField, name, nil)
		}
	}
	if strings.Contains(d.moduleID, tpmMark) {
		return NewError(WrongDocumentType, "document of a NitroTPM", nil)
	}
	return nil
}

// pairs reads the map's head and its entries. Each entry is a known field
// that wasn't there before, so there are at most ten whatever the head says.
func (p *payload) pairs() error {
	if p.next() == indefiniteMap {
		p.rest = p.rest[1:]
		for !p.empty() && p.next() != breakByte {
			if err := p.pair(); err != nil {
				return err
			}
		}
		_, err := p.take(1)
		return err
	}
	h, err := p.head()
	if err != nil {
		return err
	}
	if h.major != majorMap {
		return malformed("payload isn't a map")
	}
	for range h.arg {
		if err := p.pair(); err != nil {
			return err
		}
	}
	return nil
}

// pair reads one key and its value. Keys match exactly, case included.
func (p *payload) pair() error {
	key, ok, err := p.str(majorText)
	if err != nil {
		return err
	}
	if !ok {
		return NewError(UnknownField, "a key that isn't text", nil)
	}
	name := string(key)
	if p.seen[name] {
		return NewError(DuplicateKey, name, nil)
	}
	read := p.reader(name)
	if read == nil {
		return NewError(UnknownField, "", nil)
	}
	p.seen[name] = true
	if p.seen[fieldPCRs] && p.seen[fieldTPM] {
		return NewError(UnknownField, fieldTPM+" beside "+fieldPCRs, nil)
	}
	if optional(name) {
		if p.null() {
			return nil
		}
	} else if p.next() == nullByte {
		return NewError(MissingField, name, nil)
	}
	if p.empty() {
		return malformed("truncated")
	}
	return read(name)
}

func optional(name string) bool {
	return name == fieldPublicKey || name == fieldUserData || name == fieldNonce
}

// reader answers what reads the field's value, nil for an unknown field.
func (p *payload) reader(name string) func(string) error {
	switch name {
	case fieldModuleID:
		return p.moduleID
	case fieldDigest:
		return p.digest
	case fieldTimestamp:
		return p.timestamp
	case fieldPCRs:
		return p.pcrs
	case fieldTPM:
		return p.tpm
	case fieldCertificate:
		return p.certificate
	case fieldCABundle:
		return p.bundle
	case fieldPublicKey, fieldUserData, fieldNonce:
		return p.optionalBytes
	default:
		return nil
	}
}
