package conformance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"slices"
	"time"
)

// The algorithms that certificates name (RFC 5758, section 3.2).
const (
	ecdsaSHA256 = 2
	ecdsaSHA384 = 3
)

// Bits of KeyUsage (RFC 5280, section 4.2.1.3), the first one highest.
const (
	digitalSignature = 0x80
	nonRepudiation   = 0x40
	keyCertSign      = 0x04
	crlSign          = 0x02
)

// unlimited is a CA without a path length, and without one is a certificate
// without the extension basicConstraints.
const (
	unlimited = -1
	none      = -2
)

// newKey makes the key that a label stands for, always the same.
func newKey(curve elliptic.Curve, label string) *ecdsa.PrivateKey {
	seed := sha512.Sum512([]byte("cloister conformance key " + label))
	wide := append(seed[:], seed[:]...)
	order := new(big.Int).Sub(curve.Params().N, big.NewInt(1))
	d := new(big.Int).SetBytes(wide)
	d.Mod(d, order).Add(d, big.NewInt(1))
	size := (curve.Params().BitSize + 7) / 8
	return must(ecdsa.ParseRawPrivateKey(curve, d.FillBytes(make([]byte, size))))
}

// certificate is one to be made. Every field may be set to something that no
// authority would sign.
type certificate struct {
	version          int // 3
	serial           []byte
	subject, issuer  string // common names
	begin, end       time.Time
	key              *ecdsa.PrivateKey
	public           []byte // SubjectPublicKeyInfo; that of key when nil
	ca               bool
	pathLen          int // unlimited or none are special
	usage            byte
	noUsage          bool
	usageNotCritical bool
	extra            []extension
	algorithm        int               // ecdsaSHA384
	by               *ecdsa.PrivateKey // whose signature it is; the issuer's when nil
	patch            func(der []byte) []byte
}

type extension struct {
	id       []int
	critical []byte // the BOOLEAN, encoded; nil is false by default
	value    []byte
}

func critical() []byte { return tlv(tagBoolean, []byte{0xff}) }

// der makes the certificate, signed by the issuer's key.
func (c *certificate) der(issuer *ecdsa.PrivateKey) []byte {
	algorithm := sequence(oid(1, 2, 840, 10045, 4, 3, c.algorithm))
	public := c.public
	if public == nil {
		public = must(x509.MarshalPKIXPublicKey(c.key.Public()))
	}
	parts := [][]byte{
		tlv(tagContext, number(int64(c.version-1))),
		tlv(tagInteger, c.serial),
		algorithm,
		distinguished(c.issuer),
		sequence(instant(c.begin), instant(c.end)),
		distinguished(c.subject),
		public,
	}
	if c.version == 1 {
		parts = parts[1:]
	}
	if extensions := c.extensions(); len(extensions) > 0 {
		parts = append(parts, tlv(tagContext+3, sequence(extensions...)))
	}
	body := sequence(parts...)
	hash := crypto.SHA384
	if c.algorithm == ecdsaSHA256 {
		hash = crypto.SHA256
	}
	if c.by != nil {
		issuer = c.by
	}
	der := sequence(body, algorithm, bitString(0, sign(issuer, hash, body)))
	if c.patch != nil {
		der = c.patch(der)
	}
	return der
}

// extensions writes basicConstraints, keyUsage and the extra ones.
func (c *certificate) extensions() (all [][]byte) {
	add := func(e extension) {
		all = append(all, sequence(oid(e.id...), e.critical, tlv(tagOctets, e.value)))
	}
	if c.version < 3 {
		return nil
	}
	if c.pathLen != none {
		var content [][]byte
		if c.ca {
			content = append(content, tlv(tagBoolean, []byte{0xff}))
		}
		if c.pathLen >= 0 {
			content = append(content, number(int64(c.pathLen)))
		}
		add(extension{[]int{2, 5, 29, 19}, critical(), sequence(content...)})
	}
	if !c.noUsage {
		e := extension{[]int{2, 5, 29, 15}, critical(), bitString(unusedBits(c.usage), []byte{c.usage})}
		if c.usageNotCritical {
			e.critical = nil
		}
		add(e)
	}
	for _, e := range c.extra {
		add(e)
	}
	return all
}

// unusedBits counts the zero bits at the end, which DER leaves out.
func unusedBits(usage byte) byte {
	var n byte
	for ; n < 7 && usage&(1<<n) == 0; n++ {
	}
	return n
}

// sign makes the one signature that key, hash and message have (RFC 6979).
func sign(key *ecdsa.PrivateKey, hash crypto.Hash, message []byte) []byte {
	h := hash.New()
	h.Write(message)
	return must(key.Sign(nil, h.Sum(nil), hash))
}

// rawSignature is r || s, each of the curve's size (RFC 9053, section 2.1).
func rawSignature(key *ecdsa.PrivateKey, hash crypto.Hash, message []byte) []byte {
	var rs struct{ R, S *big.Int }
	must(asn1.Unmarshal(sign(key, hash, message), &rs))
	size := (key.Curve.Params().BitSize + 7) / 8
	return slices.Concat(rs.R.FillBytes(make([]byte, size)), rs.S.FillBytes(make([]byte, size)))
}

// replace answers a patch that replaces the first place of old, of the same
// length, in a finished certificate. It must be there.
func replace(old, with []byte) func([]byte) []byte {
	return func(der []byte) []byte {
		if len(old) != len(with) || !bytes.Contains(der, old) {
			panic("conformance: a patch that doesn't fit")
		}
		return bytes.Replace(der, old, with, 1)
	}
}
