package conformance

import (
	"encoding/asn1"
	"math/big"
	"time"
)

// Tags of ASN.1 (X.690), as far as certificates use them.
const (
	tagBoolean     = 0x01
	tagInteger     = 0x02
	tagBitString   = 0x03
	tagOctets      = 0x04
	tagUTF8        = 0x0c
	tagUTCTime     = 0x17
	tagGeneralized = 0x18
	tagSequence    = 0x30
	tagSet         = 0x31
	tagContext     = 0xa0 // + number, constructed
)

// tlv is one element around the parts.
func tlv(tag byte, parts ...[]byte) []byte {
	content := join(parts...)
	n := len(content)
	switch {
	case n < 0x80:
		return join([]byte{tag, byte(n)}, content)
	case n < 0x100:
		return join([]byte{tag, 0x81, byte(n)}, content)
	default:
		return join([]byte{tag, 0x82, byte(n >> 8), byte(n)}, content)
	}
}

func sequence(parts ...[]byte) []byte { return tlv(tagSequence, parts...) }

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func oid(id ...int) []byte { return must(asn1.Marshal(asn1.ObjectIdentifier(id))) }

func integer(n *big.Int) []byte { return must(asn1.Marshal(n)) }

func number(n int64) []byte { return integer(big.NewInt(n)) }

func bitString(unused byte, b []byte) []byte { return tlv(tagBitString, []byte{unused}, b) }

func instant(t time.Time) []byte {
	t = t.UTC()
	if t.Year() >= 2050 { // RFC 5280, section 4.1.2.5
		return tlv(tagGeneralized, []byte(t.Format("20060102150405Z")))
	}
	return tlv(tagUTCTime, []byte(t.Format("060102150405Z")))
}

// distinguished is a distinguished name like those of the Nitro PKI.
func distinguished(commonName string) []byte {
	attribute := func(last int, value string) []byte {
		return tlv(tagSet, sequence(oid(2, 5, 4, last), tlv(tagUTF8, []byte(value))))
	}
	return sequence(attribute(6, "US"), attribute(10, "Cloister"), attribute(11, "Conformance"), attribute(3, commonName))
}

// must is for encodings of constants, which can't fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic("conformance: " + err.Error())
	}
	return v
}
