package conformance

import (
	"bytes"
	"fmt"
)

// values are rows 15 to 19: fields of wrong types, sizes and values.
func (s *set) values() {
	bad := func(row int, name, about, field string, value []byte) {
		s.refuseField(row, name, about, badField, field, func(d *document) { d.set(field, value) })
	}
	bad(15, "digest-sha256", "digest is SHA256", "digest", cborText("SHA256"))
	bad(15, "digest-lower-case", "digest is sha384", "digest", cborText("sha384"))
	bad(15, "digest-bytes", "digest as a byte string", "digest", cborBytes([]byte("SHA384")))
	bad(15, "module-empty", "module_id is empty", "module_id", cborText(""))
	bad(15, "module-bytes", "module_id as a byte string", "module_id", cborBytes([]byte(module)))
	bad(15, "module-not-utf8", "module_id isn't UTF-8", "module_id", join(cborHead(majorText, 2), []byte{0xc3, 0x28}))
	for _, size := range []int{0, 31, 32, 47, 49} {
		s.refuse(15, fmt.Sprintf("pcr-of-%d", size), fmt.Sprintf("PCR1 has %d bytes", size), badField, s.pcrValue(1, cborBytes(make([]byte, size))))
		s.last().PCR = index(1)
	}
	s.refuse(15, "pcr-text", "PCR1 as text of 48 bytes", badField, s.pcrValue(1, cborText(string(bytes.Repeat([]byte("a"), 48)))))
	s.last().PCR = index(1)
	for name, index := range map[string][]byte{
		"32": cborUint(32), "minus-1": {0x20}, "text": cborText("0"), "2-32": cborUint(1 << 32), "2-64": cborUint(1<<64 - 1),
	} {
		bad(16, "index-"+name, fmt.Sprintf("a register with the index %x", index), "pcrs", cborMap(append(pairs(goodPCRs()), index, cborBytes(make([]byte, 48)))...))
	}
	bad(16, "no-registers", "pcrs is empty", "pcrs", cborMap())
	bad(16, "33-registers", "pcrs declares 33 entries", "pcrs", join(cborHead(majorMap, 33), bytes.Repeat(join(cborUint(0), cborBytes(make([]byte, 48))), 33)))
	bad(16, "registers-as-array", "pcrs as an array", "pcrs", cborArray(cborBytes(make([]byte, 48))))
	s.refuse(16, "registers-indefinite", "pcrs as a map of indefinite length", malformed, func(d *document) {
		d.set("pcrs", join(append(append([][]byte{{0xbf}}, pairs(goodPCRs())...), []byte{0xff})...))
	})
	s.timestamps()
	s.optional()
	s.bundles()
}

// pcrValue changes one register.
func (s *set) pcrValue(index int, value []byte) func(*document) {
	return func(d *document) {
		items := pairs(goodPCRs())
		items[2*index+1] = value
		d.set("pcrs", cborMap(items...))
	}
}

// timestamps are row 17.
func (s *set) timestamps() {
	for name, value := range map[string][]byte{
		"zero": cborUint(0), "negative": {0x20}, "text": cborText("1781524800000"), "float": {0xfb, 0x42, 0x79, 0xec, 0x9f, 0xf9, 0, 0, 0},
		"bignum": join([]byte{0xc2}, cborBytes([]byte{1})), "date": join([]byte{0xc1}, cborUint(1)), "2-64": cborUint(1<<64 - 1), "2-53": cborUint(1 << 53), "true": {0xf5},
	} {
		s.refuseField(17, "timestamp-"+name, fmt.Sprintf("the timestamp is %x", value), badField, "timestamp", func(d *document) { d.set("timestamp", value) })
	}
	s.refuse(17, "timestamp-seconds", "the timestamp counts seconds", stale, func(d *document) { d.set("timestamp", cborUint(uint64(made().Unix()))) })
}

// optional is row 18.
func (s *set) optional() {
	for _, name := range []string{"public_key", "user_data", "nonce"} {
		s.refuseField(18, name+"-of-1025", name+" has 1025 bytes", badField, name, func(d *document) { d.set(name, cborBytes(make([]byte, 1025))) })
		s.refuseField(18, name+"-text", name+" is text", badField, name, func(d *document) { d.set(name, cborText("text")) })
	}
	s.refuseField(18, "nonce-number", "nonce is a number", badField, "nonce", func(d *document) { d.set("nonce", cborUint(7)) })
	s.refuseField(18, "nonce-undefined", "nonce is undefined, not null", badField, "nonce", func(d *document) { d.set("nonce", []byte{0xf7}) })
	s.refuseField(18, "nonce-tagged", "nonce is a tagged byte string", badField, "nonce", func(d *document) { d.set("nonce", join([]byte{0xc2}, cborBytes([]byte{1}))) })
	s.refuse(18, "nonce-chunked", "nonce in chunks", malformed, func(d *document) { d.set("nonce", join([]byte{0x5f}, cborBytes([]byte{1}), []byte{0xff})) })
}

// bundles are row 19.
func (s *set) bundles() {
	ders := s.pki.ders()
	entries := func(change func([][]byte) [][]byte) []byte {
		var all [][]byte
		for _, der := range ders[:leaf] {
			all = append(all, cborBytes(der))
		}
		return cborArray(change(all)...)
	}
	for name, value := range map[string][]byte{
		"empty":       cborArray(),
		"empty-entry": entries(func(all [][]byte) [][]byte { all[1] = cborBytes(nil); return all }),
		"entry-of-1025": entries(func(all [][]byte) [][]byte {
			all[1] = cborBytes(sequence(make([]byte, 1021)))
			return all
		}),
		"200-entries":       cborArray(repeated(cborBytes(sequence(number(1))), 200)...),
		"9-entries":         cborArray(repeated(cborBytes(sequence(number(1))), 9)...),
		"declares-2-40":     wideHead(majorArray, 1<<40),
		"text-entry":        entries(func(all [][]byte) [][]byte { all[1] = cborText("text"); return all }),
		"null-entry":        entries(func(all [][]byte) [][]byte { all[1] = null(); return all }),
		"byte-behind":       entries(func(all [][]byte) [][]byte { all[2] = cborBytes(append(bytes.Clone(ders[zonal]), 0)); return all }),
		"map":               cborMap(cborUint(0), cborBytes(ders[root])),
		"not-a-sequence":    entries(func(all [][]byte) [][]byte { all[3] = cborBytes(tlv(tagSet, number(1))); return all }),
		"not-a-certificate": entries(func(all [][]byte) [][]byte { all[3] = cborBytes(sequence(number(1))); return all }),
	} {
		s.refuseField(19, "bundle-"+name, "cabundle: "+name, badField, "cabundle", func(d *document) { d.set("cabundle", value) })
		if name == "not-a-certificate" {
			s.last().Field = ""
		}
	}
	for name, value := range map[string][]byte{
		"byte-behind": cborBytes(append(bytes.Clone(ders[leaf]), 0)), "empty": cborBytes(nil), "of-1025": cborBytes(sequence(make([]byte, 1021))), "text": cborText("text"),
		"short-length": cborBytes(ders[leaf][:len(ders[leaf])-1]), "long-length": cborBytes(longLength(ders[leaf])),
	} {
		s.refuseField(19, "certificate-"+name, "certificate: "+name, badField, "certificate", func(d *document) { d.set("certificate", value) })
	}
}

// longLength writes the outer length of a certificate in one byte too many,
// which BER allows and DER doesn't.
func longLength(der []byte) []byte {
	return join([]byte{der[0], 0x83, 0}, der[2:])
}

func repeated(item []byte, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = item
	}
	return all
}

// index is a register that a refusal names.
func index(n int) *int { return &n }
