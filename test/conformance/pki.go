package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/pem"
	"time"
)

// made is the documents' own time, around which everything is made.
func made() time.Time { return time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC) }

// judged is the time of verification unless a vector says otherwise.
func judged() time.Time { return made().Add(time.Second) }

const (
	region   = "test-1"
	rootName = "conformance.nitro-enclaves"
	instance = "i-0123456789abcdef0"
	module   = instance + "-enc0123456789abcdef"
	// otherModule is another enclave on the same instance.
	otherModule = instance + "-encfedcba9876543210"
)

// Levels of the Nitro PKI, from the root down.
const (
	root = iota
	regional
	zonal
	host // the instance's certificate
	leaf
	levels
)

// pki is a chain to be made: each certificate is signed by the key of the one
// before it, the first by its own.
type pki []*certificate

// newPKI is a chain with the names, lives, path lengths and key usages of the
// real one, without what identify adds, to keep the files small. The label
// chooses the keys.
func newPKI(label string) pki { return newPKIAt(label, made()) }

// newPKIAt is a chain around another moment.
func newPKIAt(label string, now time.Time) pki {
	key := func(level string) *ecdsa.PrivateKey { return newKey(elliptic.P384(), label+" "+level) }
	ca := byte(digitalSignature | keyCertSign | crlSign)
	names := []string{
		rootName, "0123456789abcdef." + region + "." + rootName, "fedcba9876543210.zonal." + region + "." + rootName,
		instance + "." + region + "." + rootName, module + "." + region + ".conformance",
	}
	began := now.Add(-4 * time.Second)
	p := pki{
		{key: key("root"), begin: time.Date(2019, 10, 28, 13, 28, 5, 0, time.UTC), end: time.Date(2049, 10, 28, 14, 28, 5, 0, time.UTC),
			ca: true, pathLen: unlimited, usage: ca},
		{key: key("regional"), begin: now.Add(-100 * time.Hour), end: now.Add(381 * time.Hour), ca: true, pathLen: 2, usage: ca},
		{key: key("zonal"), begin: now.Add(-20 * time.Hour), end: now.Add(120 * time.Hour), ca: true, pathLen: 1, usage: ca},
		{key: key("instance"), begin: now.Add(-5 * time.Hour), end: now.Add(19 * time.Hour), ca: true, pathLen: 0, usage: keyCertSign},
		{key: key("leaf"), begin: began, end: began.Add(3*time.Hour + 3*time.Second), pathLen: unlimited,
			usage: digitalSignature | nonRepudiation, usageNotCritical: true},
	}
	for i, c := range p {
		c.version, c.algorithm, c.subject, c.issuer = 3, ecdsaSHA384, names[i], names[max(0, i-1)]
		sum := sha256.Sum256([]byte(label + names[i]))
		c.serial = append([]byte{0x40}, sum[:15]...)
	}
	return p
}

// identify gives every certificate but the leaf a key identifier, and names it
// in those below, and gives addresses of CRLs, as real certificates have them.
func (p pki) identify() {
	crl := extension{id: []int{2, 5, 29, 31}, value: sequence(sequence(tlv(tagContext, tlv(tagContext,
		tlv(0x86, []byte("http://crl.conformance.invalid/"+region+".crl"))))))}
	p[regional].extra = append(p[regional].extra, crl)
	p[zonal].extra = append(p[zonal].extra, crl)
	id := func(c *certificate) []byte {
		sum := sha256.Sum256(c.key.PublicKey.X.Bytes()) //nolint:staticcheck // any bytes of the key will do
		return sum[:20]
	}
	for i, c := range p[:leaf] {
		if i > 0 {
			c.extra = append(c.extra, extension{id: []int{2, 5, 29, 35}, value: sequence(tlv(0x80, id(p[i-1])))})
		}
		c.extra = append(c.extra, extension{id: []int{2, 5, 29, 14}, value: tlv(tagOctets, id(c))})
	}
}

// ders makes the certificates, the root first.
func (p pki) ders() [][]byte {
	all := make([][]byte, len(p))
	for i, c := range p {
		all[i] = c.der(p[max(0, i-1)].key)
	}
	return all
}

// rootPEM is the root as --trust-root takes it.
func (p pki) rootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p[root].der(p[root].key)})
}

// fingerprint is the root's, as policies name it.
func (p pki) fingerprint() string {
	sum := sha256.Sum256(p[root].der(p[root].key))
	return hex.EncodeToString(sum[:])
}

// pcr is the register that was extended once, from zero, with data.
func pcr(data string) []byte {
	sum := sha512.Sum384(append(make([]byte, 48), data...))
	return sum[:]
}
