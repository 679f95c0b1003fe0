package conformance

import (
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"slices"
)

// chains are rows 21, 22, 24 and 27: who issued what.
func (s *set) chains() {
	s.roots()
	bundle := func(name, about, class string, change func(bundle [][]byte) [][]byte) {
		ders := s.pki.ders()
		var all [][]byte
		for _, der := range change(ders[:leaf:leaf]) {
			all = append(all, cborBytes(der))
		}
		s.refuse(22, "bundle-"+name, about, class, func(d *document) { d.set("cabundle", cborArray(all...)) })
	}
	bundle("without-root", "cabundle begins with the regional certificate", untrustedRoot, func(b [][]byte) [][]byte { return b[1:] })
	bundle("reversed", "cabundle in reverse order, as chains in TLS are", untrustedRoot, func(b [][]byte) [][]byte {
		b = slices.Clone(b)
		slices.Reverse(b)
		return b
	})
	bundle("root-last", "the root stands last", untrustedRoot, func(b [][]byte) [][]byte { return append(slices.Clone(b[1:]), b[0]) })
	bundle("only-root", "cabundle holds the root alone", badChain, func(b [][]byte) [][]byte { return b[:1] })
	bundle("without-regional", "the regional certificate is absent", badChain, func(b [][]byte) [][]byte { return slices.Delete(slices.Clone(b), regional, regional+1) })
	bundle("without-instance", "the instance's certificate is absent", badChain, func(b [][]byte) [][]byte { return b[:host] })
	bundle("turned", "regional and zonal certificate in the other order", badChain, func(b [][]byte) [][]byte {
		return [][]byte{b[root], b[zonal], b[regional], b[host]}
	})
	bundle("twice", "the zonal certificate stands twice", badChain, func(b [][]byte) [][]byte { return slices.Insert(slices.Clone(b), zonal, b[zonal]) })
	bundle("root-twice", "the root stands twice", badChain, func(b [][]byte) [][]byte { return slices.Insert(slices.Clone(b), 1, b[root]) })
	bundle("unrelated", "a certificate of another chain at the end", badChain, func(b [][]byte) [][]byte {
		return append(slices.Clone(b), newPKI("other").ders()[zonal])
	})
	bundle("unused", "an unused certificate of the same chain's root in the middle", badChain, func(b [][]byte) [][]byte {
		p := newPKI("main")
		p[regional].key = newKey(elliptic.P384(), "second regional")
		return slices.Insert(slices.Clone(b), zonal, p.ders()[regional])
	})
	bundle("with-leaf", "the leaf stands in cabundle as well", badChain, func(b [][]byte) [][]byte { return append(slices.Clone(b), s.pki.ders()[leaf]) })
	s.issuers()
	s.names()
}

// roots are row 21: chains that end somewhere else.
func (s *set) roots() {
	other := newPKI("other") // the same names, other keys
	s.add(Vector{Row: 21, Name: "other-root", About: "the same names under another root", Class: untrustedRoot}, newDocument(other).encode())
	s.refuse(21, "true-root-in-front", "a rogue chain with the true root in place of its own", badChain, func(d *document) {
		ders := other.ders()
		ders[root] = s.pki.ders()[root]
		*d = *withBundle(other, ders)
	})
	s.refuse(21, "true-root-added", "a rogue chain with the true root in front of its own", badChain, func(d *document) {
		ders := slices.Insert(other.ders(), 0, s.pki.ders()[root])
		*d = *withBundle(other, ders)
	})
	s.refuse(21, "true-root-last", "a rogue chain with the true root at the end", untrustedRoot, func(d *document) {
		ders := slices.Insert(other.ders(), leaf, s.pki.ders()[root])
		*d = *withBundle(other, ders)
	})
	s.refuseChain(21, "self-signed-leaf", "a leaf that signed itself, with the true chain above it", badChain, func(p pki) {
		p[leaf].key = newKey(elliptic.P384(), "self-signed")
		p[leaf].issuer, p[leaf].by = p[leaf].subject, p[leaf].key
	})
	s.refuse(21, "only-a-leaf", "a self-signed leaf that is its own bundle", untrustedRoot, func(d *document) {
		p := newPKI("alone")
		p[leaf].issuer, p[leaf].by = p[leaf].subject, p[leaf].key
		der := p.ders()[leaf]
		*d = *withBundle(p, [][]byte{der, der})
	})
	s.refuseChain(21, "same-key-other-root", "another root certificate for the true root's key", untrustedRoot, func(p pki) { p[root].serial[1] ^= 1 })
	s.add(Vector{Row: 37, Name: "root-not-in-policy", About: "the root is given to the verifier, and the policy doesn't name it", Class: untrustedRoot,
		Root: "root-other.pem", EntryPoints: []string{Library, CLI}}, newDocument(other).encode())
	s.files["root-other.pem"] = other.rootPEM()
}

// withBundle is a document of a chain with other certificates, the leaf last.
func withBundle(p pki, ders [][]byte) *document {
	d := newDocument(p)
	var all [][]byte
	for _, der := range ders[:len(ders)-1] {
		all = append(all, cborBytes(der))
	}
	d.set("cabundle", cborArray(all...))
	d.set("certificate", cborBytes(ders[len(ders)-1]))
	return d
}

// issuers are row 24.
func (s *set) issuers() {
	for level, name := range map[int]string{regional: "regional", host: "instance"} {
		s.refuseChain(24, name+"-no-ca", "the "+name+" certificate isn't a CA", badChain, func(p pki) { p[level].ca, p[level].pathLen = false, unlimited })
		s.refuseChain(24, name+"-no-constraints", "the "+name+" certificate lacks basicConstraints", badChain, func(p pki) { p[level].pathLen = none })
		s.refuseChain(24, name+"-no-cert-sign", "the "+name+" certificate lacks keyCertSign", badChain, func(p pki) { p[level].usage = digitalSignature | crlSign })
		s.refuseChain(24, name+"-no-usage", "the "+name+" certificate lacks keyUsage", badChain, func(p pki) { p[level].noUsage = true })
	}
	s.refuseChain(24, "regional-path-length", "the regional certificate allows one CA below it, and there are two", badChain, func(p pki) { p[regional].pathLen = 1 })
	s.refuseChain(24, "zonal-path-length", "the zonal certificate allows no CA below it, and there is one", badChain, func(p pki) { p[zonal].pathLen = 0 })
	s.refuseChain(24, "leaf-by-leaf", "a leaf that was issued by a leaf", badChain, func(p pki) {
		p[host].ca, p[host].pathLen, p[host].usage = false, unlimited, digitalSignature|nonRepudiation
	})
	s.refuse(24, "leaf-under-leaf", "another enclave's leaf issued this one", badChain, func(d *document) {
		p := newPKI("main")
		under := *p[leaf]
		under.key, under.issuer = newKey(elliptic.P384(), "under"), p[leaf].subject
		*d = *withBundle(append(p, &under), append(p, &under).ders())
		d.key = under.key
	})
	for level, name := range map[int]string{regional: "regional", zonal: "zonal", host: "instance", leaf: "leaf"} {
		s.refuseChain(24, name+"-other-signature", "the "+name+" certificate isn't signed by its issuer", badChain, func(p pki) {
			p[level].by = newKey(elliptic.P384(), "nobody")
		})
	}
	s.refuseChain(24, "wrapped-path-length", "a path length of 2^64", badField, func(p pki) {
		p[zonal].pathLen = none
		wide := sequence(tlv(tagBoolean, []byte{0xff}), integer(new(big.Int).Lsh(big.NewInt(1), 64)))
		p[zonal].extra = append(p[zonal].extra, extension{[]int{2, 5, 29, 19}, critical(), wide})
	})
}

// names are row 27.
func (s *set) names() {
	for level, name := range map[int]string{regional: "regional", zonal: "zonal", host: "instance", leaf: "leaf"} {
		s.refuseChain(27, name+"-issuer", "the "+name+" certificate names another issuer", badChain, func(p pki) { p[level].issuer = "nobody." + p[level].issuer })
	}
	s.refuseChain(27, "issuer-in-other-case", "the leaf names its issuer in capitals", badChain, func(p pki) { p[leaf].issuer = "I-0123456789ABCDEF0." + region + "." + rootName })
	s.refuseChain(27, "key-identifiers", "the leaf names another key of its issuer", badChain, func(p pki) {
		p[host].extra = append(p[host].extra, extension{id: []int{2, 5, 29, 14}, value: tlv(tagOctets, make([]byte, 19), []byte{1})})
		p[leaf].extra = append(p[leaf].extra, extension{id: []int{2, 5, 29, 35}, value: sequence(tlv(0x80, make([]byte, 20)))})
	})
	s.refuse(28, "other-module", "the leaf was issued to another enclave of the same instance", inconsistent, func(d *document) { d.set("module_id", cborText(otherModule)) })
	s.refuse(28, "other-instance", "the module is of another instance than PCR4 measures and the leaf names", inconsistent, func(d *document) {
		d.set("module_id", cborText("i-fedcba98765432100-enc0123456789abcdef"))
	})
	pcrs := goodPCRs()
	pcrs[4] = pcr("i-fedcba98765432100")
	s.refuse(28, "other-pcr4", "PCR4 measures another instance", inconsistent, func(d *document) { d.set("pcrs", registers(pcrs)) })
	s.last().PCR = index(4)
	s.refuseChain(28, "leaf-without-name", "the leaf has an empty common name", inconsistent, func(p pki) { p[leaf].subject = "" })
}

// rsaKey is an RSA key that fits into a leaf certificate.
func rsaKey() []byte {
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	return must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}))
}
