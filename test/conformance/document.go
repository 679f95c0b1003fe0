package conformance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"encoding/binary"
	"slices"
)

// Major types of CBOR (RFC 8949, section 3.1).
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

func null() []byte { return []byte{0xf6} }

// cborHead is a head with its argument in the fewest bytes.
func cborHead(major byte, n uint64) []byte {
	switch {
	case n < 24:
		return []byte{major<<5 | byte(n)}
	case n < 1<<8:
		return []byte{major<<5 | 24, byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{major<<5 | 25}, uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, uint32(n))
	default:
		return wideHead(major, n)
	}
}

// wideHead is a head with its argument in eight bytes, needed or not.
func wideHead(major byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{major<<5 | 27}, n)
}

func cborBytes(b []byte) []byte { return join(cborHead(majorBytes, uint64(len(b))), b) }

func cborText(s string) []byte { return join(cborHead(majorText, uint64(len(s))), []byte(s)) }

func cborUint(n uint64) []byte { return cborHead(majorUint, n) }

func cborArray(items ...[]byte) []byte {
	return join(append([][]byte{cborHead(majorArray, uint64(len(items)))}, items...)...)
}

// cborMap is a map of keys and values in turn.
func cborMap(items ...[]byte) []byte {
	return join(append([][]byte{cborHead(majorMap, uint64(len(items)/2))}, items...)...)
}

// field is one entry of the payload, encoded.
type field struct{ key, value []byte }

func named(name string, value []byte) field { return field{cborText(name), value} }

// document is one to be made. Every part may be something that no security
// module would send.
type document struct {
	front       []byte // before the array
	array       []byte // the array's head
	protected   []byte // the header as an element
	unprotected []byte
	open, shut  []byte // around the payload's fields
	fields      []field
	inside      []byte // behind the map, inside the payload
	// element is the payload as an element of the array, given its bytes.
	element func(payload []byte) []byte
	// covered answers what is signed, given the protected header's and the
	// payload's bytes.
	covered   func(protected, payload []byte) []byte
	key       *ecdsa.PrivateKey
	signature func(raw []byte) []byte // makes an element out of r || s
	behind    []byte                  // after the array
}

// es384 is the header {1: -35} (RFC 9053, section 2.1).
func es384() []byte { return []byte{0xa1, 0x01, 0x38, 0x22} }

// newDocument is a good document of a chain, in the form that real modules
// write since mid-2025: a payload of indefinite length and nulls.
func newDocument(p pki) *document {
	ders := p.ders()
	bundle := make([][]byte, 0, levels)
	for _, der := range ders[:len(ders)-1] {
		bundle = append(bundle, cborBytes(der))
	}
	return &document{
		array: []byte{0x84}, protected: cborBytes(es384()), unprotected: []byte{0xa0}, open: []byte{0xbf}, shut: []byte{0xff},
		fields: []field{
			named("module_id", cborText(module)),
			named("digest", cborText("SHA384")),
			named("timestamp", wideHead(majorUint, uint64(made().UnixMilli()))),
			named("pcrs", registers(goodPCRs())),
			named("certificate", cborBytes(ders[len(ders)-1])),
			named("cabundle", cborArray(bundle...)),
			named("public_key", cborBytes(recipient())),
			named("user_data", null()),
			named("nonce", null()),
		},
		element: cborBytes, covered: sigStructure("Signature1", nil), key: p[len(p)-1].key, signature: cborBytes,
	}
}

// sigStructure is what COSE_Sign1 signs (RFC 9052, section 4.4), with a context
// and external data to choose.
func sigStructure(context string, external []byte) func(protected, payload []byte) []byte {
	return func(protected, payload []byte) []byte {
		return cborArray(cborText(context), protected, cborBytes(external), cborBytes(payload))
	}
}

// encode makes the document.
func (d *document) encode() []byte {
	var payload bytes.Buffer
	payload.Write(d.open)
	for _, f := range d.fields {
		payload.Write(f.key)
		payload.Write(f.value)
	}
	payload.Write(d.shut)
	payload.Write(d.inside)
	raw := rawSignature(d.key, crypto.SHA384, d.covered(d.protected, payload.Bytes()))
	return join(d.front, d.array, d.protected, d.unprotected, d.element(payload.Bytes()), d.signature(raw), d.behind)
}

// place finds a field.
func (d *document) place(name string) int {
	i := slices.IndexFunc(d.fields, func(f field) bool { return bytes.Equal(f.key, cborText(name)) })
	if i < 0 {
		panic("conformance: no field " + name)
	}
	return i
}

func (d *document) set(name string, value []byte) { d.fields[d.place(name)].value = value }

func (d *document) drop(name string) {
	i := d.place(name)
	d.fields = slices.Delete(d.fields, i, i+1)
}

// before and after put a field next to another one.
func (d *document) before(name string, f field) {
	d.fields = slices.Insert(d.fields, d.place(name), f)
}
func (d *document) after(name string, f field) {
	d.fields = slices.Insert(d.fields, d.place(name)+1, f)
}

// goodPCRs are the registers of the release that the policy names, fewer than
// real documents have, to keep the files small.
func goodPCRs() map[int][]byte {
	all := map[int][]byte{3: make([]byte, 48), 8: make([]byte, 48)}
	all[0], all[1], all[2] = pcr("image"), pcr("kernel"), pcr("application")
	all[4], all[16] = pcr(instance), pcr("bundle")
	return all
}

// registers encodes registers in ascending order.
func registers(all map[int][]byte) []byte {
	var items [][]byte
	for i := range 64 {
		if value, ok := all[i]; ok {
			items = append(items, cborUint(uint64(i)), cborBytes(value))
		}
	}
	return cborMap(items...)
}
