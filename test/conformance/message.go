package conformance

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"fmt"
	"math/big"
)

// Classes of refusals, by their stable texts.
const (
	malformed     = "malformed"
	algorithm     = "algorithm"
	badSignature  = "signature"
	missingField  = "missing field"
	duplicateKey  = "duplicate key"
	unknownField  = "unknown field"
	wrongType     = "wrong document type"
	badField      = "bad field"
	untrustedRoot = "untrusted root"
	badChain      = "chain"
	expired       = "expired"
	notYetValid   = "not yet valid"
	stale         = "stale"
	future        = "future"
	inconsistent  = "inconsistent"
	debug         = "debug"
	mismatch      = "policy mismatch"
	badPolicy     = "policy"
)

// messages are rows 1 to 6 and 20: the COSE_Sign1 message around the payload.
func (s *set) messages() {
	good := newDocument(s.pki).encode()
	for name, n := range map[string]int{"nothing": 0, "one-byte": 1, "half": len(good) / 2, "all-but-one": len(good) - 1} {
		s.add(Vector{Row: 1, Name: "prefix-" + name, About: fmt.Sprintf("the first %d bytes of a good document", n), Class: malformed}, good[:n])
	}
	s.refuse(2, "byte-after-array", "one byte follows the message", malformed, func(d *document) { d.behind = []byte{0} })
	s.refuse(2, "byte-in-payload", "one byte follows the payload's map, inside the signed payload", malformed, func(d *document) { d.inside = []byte{0} })
	for name, front := range map[string][]byte{
		"other": {0xd3}, "twice": {0xd2, 0xd2}, "self-described": {0xd9, 0xd9, 0xf7}, "18-in-two-bytes": {0xd8, 18},
	} {
		s.refuse(3, "tag-"+name, fmt.Sprintf("the message begins with % x", front), malformed, func(d *document) { d.front = front })
	}
	s.refuse(4, "three-elements", "an array of three: no signature", malformed, func(d *document) {
		d.array, d.signature = []byte{0x83}, func([]byte) []byte { return nil }
	})
	s.refuse(4, "five-elements", "an array of five", malformed, func(d *document) { d.array, d.behind = []byte{0x85}, null() })
	s.refuse(4, "indefinite-array", "an array of indefinite length", malformed, func(d *document) { d.array, d.behind = []byte{0x9f}, []byte{0xff} })
	s.refuse(4, "long-array-head", "the array's head in two bytes", malformed, func(d *document) { d.array = []byte{0x98, 4} })
	s.refuse(4, "chunked-payload", "the payload in two chunks", malformed, func(d *document) {
		d.element = func(p []byte) []byte {
			return join([]byte{0x5f}, cborBytes(p[:100]), cborBytes(p[100:]), []byte{0xff})
		}
	})
	s.refuse(4, "long-payload-head", "the payload's length in eight bytes", malformed, func(d *document) {
		d.element = func(p []byte) []byte { return join(wideHead(majorBytes, uint64(len(p))), p) }
	})
	s.refuse(4, "null-payload", "a detached payload", malformed, func(d *document) { d.element = func([]byte) []byte { return null() } })
	s.refuse(4, "text-payload", "the payload as text", malformed, func(d *document) {
		d.element = func(p []byte) []byte { return join(cborHead(majorText, uint64(len(p))), p) }
	})
	s.refuse(4, "map-payload", "the payload's map itself, not in a byte string", malformed, func(d *document) { d.element = bytes.Clone })
	s.refuse(4, "protected-map", "the protected header as a map", malformed, func(d *document) { d.protected = es384() })
	s.refuse(4, "array-payload", "the payload holds an array", malformed, func(d *document) {
		d.open, d.shut, d.fields = cborArray(null()), nil, nil
	})
	s.headers()
	s.hostile()
}

// headers are rows 5 and 6.
func (s *set) headers() {
	for name, header := range map[string][]byte{
		"missing":     {0xa0},
		"empty":       {},
		"es256":       {0xa1, 0x01, 0x26},
		"none":        {0xa1, 0x01, 0x00},
		"as-text":     join([]byte{0xa1, 0x01}, cborText("ES384")),
		"twice":       {0xa2, 0x01, 0x38, 0x22, 0x01, 0x38, 0x22},
		"twice-other": {0xa2, 0x01, 0x38, 0x22, 0x01, 0x26},
		"non-minimal": {0xa1, 0x01, 0x39, 0x00, 0x22},
		"with-crit":   {0xa2, 0x01, 0x38, 0x22, 0x02, 0x81, 0x01},
		"with-kid":    {0xa2, 0x01, 0x38, 0x22, 0x04, 0x41, 0x00},
		"byte-behind": {0xa1, 0x01, 0x38, 0x22, 0x00},
		"indefinite":  {0xbf, 0x01, 0x38, 0x22, 0xff},
	} {
		s.refuse(5, "alg-"+name, fmt.Sprintf("the protected header is %x, and signed", header), algorithm, func(d *document) { d.protected = cborBytes(header) })
	}
	s.refuse(5, "alg-unprotected-only", "the algorithm stands in the unprotected header alone", algorithm, func(d *document) {
		d.protected, d.unprotected = cborBytes(nil), es384()
	})
	for name, header := range map[string][]byte{
		"entry": {0xa1, 0x04, 0x41, 0x00}, "alg": es384(), "null": null(), "indefinite": {0xbf, 0xff},
	} {
		s.refuse(6, "unprotected-"+name, fmt.Sprintf("the unprotected header is %x", header), malformed, func(d *document) { d.unprotected = header })
	}
}

// hostile are the vectors of row 20: declared sizes far from the real ones.
func (s *set) hostile() {
	huge := wideHead(majorBytes, 1<<40)
	s.refuse(20, "payload-of-2-40", "the payload declares 2^40 bytes", malformed, func(d *document) {
		d.element = func(p []byte) []byte { return join(huge, p) }
	})
	s.refuse(20, "signature-of-2-40", "the signature declares 2^40 bytes", malformed, func(d *document) {
		d.signature = func(raw []byte) []byte { return join(huge, raw) }
	})
	s.refuse(20, "nonce-of-2-40", "the nonce declares 2^40 bytes", malformed, func(d *document) { d.set("nonce", huge) })
	s.refuse(20, "map-of-2-40", "the payload declares 2^40 entries", malformed, func(d *document) { d.open, d.shut = wideHead(majorMap, 1<<40), nil })
	s.refuse(20, "length-of-2-64", "the payload declares 2^64-1 bytes", malformed, func(d *document) {
		d.element = func(p []byte) []byte { return join(wideHead(majorBytes, 1<<64-1), p) }
	})
	nested := bytes.Repeat([]byte{0x81}, 15000)
	s.add(Vector{Row: 20, Name: "nested", About: "15000 arrays, one in the other", Class: malformed}, nested)
	s.refuse(20, "nested-payload", "a payload of 1000 arrays, one in the other", malformed, func(d *document) { d.open, d.shut, d.fields = nested[:1000], nil, nil })
	s.refuse(20, "payload-of-16385", "a payload of 16385 bytes", malformed, func(d *document) {
		d.open, d.shut, d.fields = make([]byte, 16385), nil, nil
	})
	s.refuse(20, "reserved-length", "a head with the reserved additional information 28", malformed, func(d *document) { d.set("nonce", []byte{0x5c}) })
	s.refuse(20, "message-of-32769", "a message of more than 32768 bytes", malformed, func(d *document) { d.behind = make([]byte, 28000) })
}

// signatures are rows 7 to 9.
func (s *set) signatures() {
	order := elliptic.P384().Params().N
	for name, change := range map[string]func(raw []byte) []byte{
		"of-64":     func(raw []byte) []byte { return raw[:64] },
		"of-95":     func(raw []byte) []byte { return raw[:95] },
		"of-97":     func(raw []byte) []byte { return append(raw, 0) },
		"empty":     func([]byte) []byte { return nil },
		"zero":      func(raw []byte) []byte { return make([]byte, 96) },
		"r-zero":    func(raw []byte) []byte { return join(make([]byte, 48), raw[48:]) },
		"s-zero":    func(raw []byte) []byte { return join(raw[:48], make([]byte, 48)) },
		"s-is-n":    func(raw []byte) []byte { return join(raw[:48], order.Bytes()) },
		"r-is-n":    func(raw []byte) []byte { return join(order.Bytes(), raw[48:]) },
		"swapped":   func(raw []byte) []byte { return join(raw[48:], raw[:48]) },
		"first-bit": func(raw []byte) []byte { raw[0] ^= 0x80; return raw },
		"last-bit":  func(raw []byte) []byte { raw[95] ^= 1; return raw },
		"der": func(raw []byte) []byte {
			return sequence(integer(new(big.Int).SetBytes(raw[:48])), integer(new(big.Int).SetBytes(raw[48:])))
		},
	} {
		s.refuse(7, "signature-"+name, "a signature that is "+name, badSignature, func(d *document) {
			d.signature = func(raw []byte) []byte { return cborBytes(change(raw)) }
		})
	}
	s.refuse(7, "signature-text", "the signature as text", malformed, func(d *document) {
		d.signature = func(raw []byte) []byte { return join(cborHead(majorText, 96), raw) }
	})
	s.refuse(7, "signature-null", "null in place of the signature", malformed, func(d *document) { d.signature = func([]byte) []byte { return null() } })
	s.refuse(8, "context-signature", `signed with the context "Signature", of COSE_Sign`, badSignature, func(d *document) { d.covered = sigStructure("Signature", nil) })
	s.refuse(8, "external-data", "signed with external data", badSignature, func(d *document) { d.covered = sigStructure("Signature1", []byte("data")) })
	s.refuse(8, "bare-payload", "signed over the payload alone", badSignature, func(d *document) {
		d.covered = func(_, payload []byte) []byte { return payload }
	})
	s.refuse(9, "by-the-instance", "signed by the key of the instance's certificate", badSignature, func(d *document) { d.key = s.pki[host].key })
	s.refuse(9, "by-a-stranger", "signed by a key that no certificate names", badSignature, func(d *document) { d.key = newKey(elliptic.P384(), "stranger") })
	s.refuse(9, "other-leaf", "the certificate is the good one of another enclave", badSignature, func(d *document) {
		p := newPKI("main")
		p[leaf].key = newKey(elliptic.P384(), "other leaf")
		d.set("certificate", cborBytes(p.ders()[leaf]))
	})
	for name, hash := range map[string]crypto.Hash{"sha256": crypto.SHA256, "sha512": crypto.SHA512} {
		d := newDocument(s.pki)
		var covered []byte
		d.covered = func(protected, payload []byte) []byte {
			covered = sigStructure("Signature1", nil)(protected, payload)
			return covered
		}
		d.signature = func([]byte) []byte { return cborBytes(rawSignature(d.key, hash, covered)) }
		s.add(Vector{Row: 9, Name: "signed-digest-" + name, About: "signed over another digest than the algorithm says: " + name, Class: badSignature}, d.encode())
	}
}
