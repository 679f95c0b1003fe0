package conformance

import (
	"fmt"
	"maps"
	"slices"
)

// mandatory are the fields that no document may lack.
func mandatory() []string {
	return []string{"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"}
}

// payloads are rows 11 to 14: the fields of the signed map.
func (s *set) payloads() {
	for _, name := range mandatory() {
		s.refuseField(11, "no-"+name, name+" is absent", missingField, name, func(d *document) { d.drop(name) })
		s.refuseField(11, "null-"+name, name+" is null", missingField, name, func(d *document) { d.set(name, null()) })
	}
	s.refuseField(11, "empty-payload", "a payload without any field", missingField, "module_id", func(d *document) { d.fields = nil })
	s.duplicates()
	s.unknown()
	s.refuse(14, "nitrotpm", "the document of a NitroTPM, under the trusted root", wrongType, func(d *document) {
		d.set("module_id", cborText(instance+"-tpm0000000000000000"))
		d.fields[d.place("pcrs")].key = cborText("nitrotpm_pcrs")
	})
	s.refuse(14, "nitrotpm-registers", "nitrotpm_pcrs in place of pcrs", wrongType, func(d *document) {
		d.fields[d.place("pcrs")].key = cborText("nitrotpm_pcrs")
	})
	s.refuse(14, "nitrotpm-sha256", "nitrotpm_pcrs of another bank", wrongType, func(d *document) {
		d.fields[d.place("pcrs")] = named("nitrotpm_pcrs", cborMap(cborUint(0), cborBytes(make([]byte, 32))))
	})
	s.refuse(14, "nitrotpm-module", "the module id of a NitroTPM", wrongType, func(d *document) { d.set("module_id", cborText(instance+"-tpm0000000000000000")) })
	s.refuse(14, "no-enclave-module", "a module id that is no enclave's", wrongType, func(d *document) { d.set("module_id", cborText(instance+"-box0123456789abcdef")) })
	s.refuse(14, "bare-instance", "a module id without an enclave", wrongType, func(d *document) { d.set("module_id", cborText(instance)) })
}

// duplicates are row 12.
func (s *set) duplicates() {
	hostile := make(map[int][]byte)
	maps.Copy(hostile, goodPCRs())
	hostile[0] = pcr("hostile image")
	s.refuseField(12, "pcrs-twice-hostile-last", "pcrs stands twice, the hostile one last", duplicateKey, "pcrs", func(d *document) {
		d.after("pcrs", named("pcrs", registers(hostile)))
	})
	s.refuseField(12, "pcrs-twice-hostile-first", "pcrs stands twice, the hostile one first", duplicateKey, "pcrs", func(d *document) {
		d.before("pcrs", named("pcrs", registers(hostile)))
	})
	s.refuseField(12, "nonce-twice", "nonce stands twice, null first", duplicateKey, "nonce", func(d *document) {
		d.after("nonce", named("nonce", cborBytes([]byte("nonce"))))
	})
	s.refuseField(12, "key-in-long-form", "user_data stands twice, once with the key's length in eight bytes", duplicateKey, "user_data", func(d *document) {
		d.after("user_data", field{join(wideHead(majorText, 9), []byte("user_data")), cborBytes([]byte("other"))})
	})
	s.refuseField(12, "timestamp-far-apart", "timestamp stands first and last", duplicateKey, "timestamp", func(d *document) {
		d.after("nonce", named("timestamp", cborUint(1)))
	})
	for name, index := range map[string][]byte{"": cborUint(0), "-in-two-bytes": {0x18, 0}, "-in-nine-bytes": wideHead(majorUint, 0)} {
		s.refuse(12, "pcr-twice"+name, fmt.Sprintf("PCR0 stands twice, the second time with the index %x", index), duplicateKey, func(d *document) {
			items := pairs(goodPCRs())
			d.set("pcrs", cborMap(append(items, index, cborBytes(pcr("hostile image")))...))
		})
		s.last().PCR = new(int)
	}
}

// unknown is row 13.
func (s *set) unknown() {
	s.refuse(13, "other-case", "PCRS in place of pcrs", unknownField, func(d *document) { d.fields[d.place("pcrs")].key = cborText("PCRS") })
	s.refuse(13, "other-case-behind", "PCRS behind pcrs", unknownField, func(d *document) { d.after("pcrs", named("PCRS", registers(goodPCRs()))) })
	s.refuse(13, "other-case-before", "Nonce before nonce", unknownField, func(d *document) { d.before("nonce", named("Nonce", cborBytes([]byte("nonce")))) })
	s.refuse(13, "long-s", "u\u017fer_data, which folds to user_data", unknownField, func(d *document) { d.after("user_data", named("u\u017fer_data", null())) })
	s.refuse(13, "byte-key", "the key nonce as a byte string", unknownField, func(d *document) { d.fields[d.place("nonce")].key = cborBytes([]byte("nonce")) })
	s.refuse(13, "number-key", "a key that is a number", unknownField, func(d *document) { d.fields[d.place("nonce")].key = cborUint(1) })
	s.refuse(13, "unknown-key", "a tenth field", unknownField, func(d *document) { d.after("nonce", named("extra", null())) })
	s.refuse(13, "empty-key", "a field without a name", unknownField, func(d *document) { d.after("nonce", named("", null())) })
	s.refuse(13, "padded-key", "a key with a zero byte at its end", unknownField, func(d *document) { d.after("nonce", named("nonce\x00", null())) })
	s.refuse(13, "both-kinds", "nitrotpm_pcrs behind pcrs", unknownField, func(d *document) { d.after("pcrs", named("nitrotpm_pcrs", registers(goodPCRs()))) })
	s.refuse(13, "both-kinds-turned", "nitrotpm_pcrs before pcrs", unknownField, func(d *document) { d.before("pcrs", named("nitrotpm_pcrs", registers(goodPCRs()))) })
	s.refuse(13, "chunked-key", "a key in chunks", malformed, func(d *document) {
		d.fields[d.place("nonce")].key = join([]byte{0x7f}, cborText("non"), cborText("ce"), []byte{0xff})
	})
}

// pairs are the registers' keys and values in turn.
func pairs(all map[int][]byte) (items [][]byte) {
	for _, i := range slices.Sorted(maps.Keys(all)) {
		items = append(items, cborUint(uint64(i)), cborBytes(all[i]))
	}
	return items
}
