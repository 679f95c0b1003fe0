package conformance

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"slices"
)

// profiles are rows 25 and 26: what certificates look like.
func (s *set) profiles() {
	s.refuseChain(25, "leaf-ca", "the leaf is a CA", badChain, func(p pki) { p[leaf].ca = true })
	s.refuseChain(25, "leaf-ca-with-cert-sign", "the leaf is a CA that may sign certificates", badChain, func(p pki) {
		p[leaf].ca, p[leaf].usage = true, digitalSignature|keyCertSign
	})
	s.refuseChain(25, "leaf-cert-sign", "the leaf has keyCertSign", badChain, func(p pki) { p[leaf].usage |= keyCertSign })
	s.refuseChain(25, "leaf-no-signature", "the leaf lacks digitalSignature", badChain, func(p pki) { p[leaf].usage = nonRepudiation })
	s.refuseChain(25, "leaf-no-usage", "the leaf lacks keyUsage", badChain, func(p pki) { p[leaf].noUsage = true })
	s.refuseChain(25, "leaf-no-constraints", "the leaf lacks basicConstraints", badChain, func(p pki) { p[leaf].pathLen = none })
	s.refuseChain(25, "leaf-path-length", "the leaf is no CA and has a path length", badChain, func(p pki) { p[leaf].pathLen = 0 })
	unknown := extension{[]int{1, 3, 6, 1, 4, 1, 99999, 1}, critical(), number(1)}
	names := extension{[]int{2, 5, 29, 30}, critical(), sequence(tlv(tagContext, sequence(tlv(0x82, []byte("aws")))))}
	for level, name := range map[int]string{regional: "regional", zonal: "zonal", host: "instance", leaf: "leaf"} {
		s.refuseChain(25, name+"-critical", "the "+name+" certificate has an unknown critical extension", badChain, func(p pki) {
			p[level].extra = append(p[level].extra, unknown)
		})
	}
	s.refuseChain(25, "name-constraints", "the regional certificate has critical name constraints", badChain, func(p pki) {
		p[regional].extra = append(p[regional].extra, names)
	})
	s.refuseChain(25, "constraints-twice", "the leaf has basicConstraints twice", badField, func(p pki) {
		p[leaf].extra = append(p[leaf].extra, extension{[]int{2, 5, 29, 19}, critical(), sequence(tlv(tagBoolean, []byte{0xff}))})
	})
	s.refuseChain(25, "boolean-one", "the instance's certificate says CA with the BOOLEAN 01, which DER doesn't have", badField, func(p pki) {
		p[host].patch = replace(sequence(tlv(tagBoolean, []byte{0xff}), number(0)), sequence(tlv(tagBoolean, []byte{1}), number(0)))
	})
	s.refuseChain(25, "no-such-date", "the leaf ends on 31 June", badField, func(p pki) {
		p[leaf].patch = replace([]byte("260615145959Z"), []byte("260631145959Z"))
	})
	s.refuseChain(25, "version-1", "the leaf is of version 1", badChain, func(p pki) { p[leaf].version = 1 })
	s.refuseChain(25, "version-1-instance", "the instance's certificate is of version 1", badChain, func(p pki) { p[host].version = 1 })
	s.keys()
}

// keys is row 26.
func (s *set) keys() {
	keys := map[string]func(*certificate){
		"p256": func(c *certificate) { c.key = newKey(elliptic.P256(), "p256") },
		"p521": func(c *certificate) { c.key = newKey(elliptic.P521(), "p521") },
		"rsa":  func(c *certificate) { c.public = rsaKey() },
		"ed25519": func(c *certificate) {
			c.public = must(x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(make([]byte, 32)).Public()))
		},
	}
	for name, change := range keys {
		s.refuseChain(26, "leaf-"+name, "the leaf's key is "+name, badChain, func(p pki) { change(p[leaf]) })
	}
	s.refuseChain(26, "instance-p256", "the instance's key is on P-256", badChain, func(p pki) { keys["p256"](p[host]) })
	for level, name := range map[int]string{host: "instance", leaf: "leaf"} {
		s.refuseChain(26, name+"-sha256", "the "+name+" certificate is signed with SHA-256", badChain, func(p pki) { p[level].algorithm = ecdsaSHA256 })
	}
	s.refuse(26, "self-signed-p521", "a self-signed leaf on P-521 that is its own bundle", badChain, func(d *document) {
		p := newPKI("alone")
		keys["p521"](p[leaf])
		p[leaf].issuer, p[leaf].by = p[leaf].subject, p[leaf].key
		der := p.ders()[leaf]
		*d = *withBundle(p, [][]byte{der, der})
	})
	s.refuseChain(26, "p521-other-root", "a leaf on P-521 under another root", badChain, func(p pki) {
		copy(p, newPKI("other"))
		keys["p521"](p[leaf])
	})
	s.refuseChain(26, "point-off-curve", "the leaf's key isn't a point of the curve", badField, func(p pki) {
		public := must(x509.MarshalPKIXPublicKey(p[leaf].key.Public()))
		other := bytes.Clone(public)
		other[len(other)-1] ^= 1
		p[leaf].public = other
	})
	s.refuseChain(26, "point-at-infinity", "the leaf's key is the point at infinity", badField, func(p pki) {
		p[leaf].public = sequence(sequence(oid(1, 2, 840, 10045, 2, 1), oid(1, 3, 132, 0, 34)), bitString(0, []byte{0}))
	})
	s.refuseChain(26, "key-of-no-bits", "the leaf's key is a BIT STRING of no bits", badField, func(p pki) {
		p[leaf].public = sequence(sequence(oid(1, 2, 840, 10045, 2, 1), oid(1, 3, 132, 0, 34)), tlv(tagBitString))
	})
	s.refuseChain(26, "algorithms-differ", "the leaf names SHA-384 inside and SHA-512 outside its signed part", badField, func(p pki) {
		p[leaf].patch = func(der []byte) []byte {
			name := oid(1, 2, 840, 10045, 4, 3, ecdsaSHA384)
			i := bytes.LastIndex(der, name)
			return slices.Concat(der[:i], oid(1, 2, 840, 10045, 4, 3, 4), der[i+len(name):])
		}
	})
}
