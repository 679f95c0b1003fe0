package conformance

import (
	"encoding/hex"
	"maps"
	"time"
)

// policyOnly are the entry points that have a policy.
func policyOnly() []string { return []string{Library, CLI} }

// measurements are rows 30, 32 and 33: what the policy says about registers.
func (s *set) measurements() {
	add := func(row int, name, about, class string, register int, policyFile string, change func(map[int][]byte)) {
		pcrs := goodPCRs()
		change(pcrs)
		d := newDocument(s.pki)
		d.set("pcrs", registers(pcrs))
		d.drop("public_key")
		v := Vector{Row: row, Name: name, About: about, Class: class, Accept: class == "", Policy: policyFile, EntryPoints: policyOnly()}
		if register >= 0 {
			v.PCR = index(register)
		}
		s.add(v, d.encode())
	}
	zero := make([]byte, 48)
	debugged := func(pcrs map[int][]byte) { pcrs[0], pcrs[1], pcrs[2] = zero, zero, zero }
	add(30, "debug", "debug mode: PCR0, PCR1 and PCR2 are zero, PCR4 isn't", debug, 0, "", debugged)
	add(30, "pcr0-zero", "PCR0 alone is zero", debug, 0, "", func(pcrs map[int][]byte) { pcrs[0] = zero })
	add(30, "pcr1-zero", "PCR1 alone is zero", debug, 1, "", func(pcrs map[int][]byte) { pcrs[1] = zero })
	add(30, "pcr2-zero", "PCR2 alone is zero", debug, 2, "", func(pcrs map[int][]byte) { pcrs[2] = zero })
	add(30, "pcr0-absent", "PCR0 is absent", mismatch, 0, "", func(pcrs map[int][]byte) { delete(pcrs, 0) })
	add(30, "debug-allowed", "debug mode under a policy that allows it and names zeros", "", -1, s.debugPolicy(), debugged)
	add(30, "debug-allowed-mixed", "PCR1 isn't zero, and the policy that allows debug mode names zeros", mismatch, 1, s.debugPolicy(), func(pcrs map[int][]byte) {
		pcrs[0], pcrs[2] = zero, zero
	})
	for register, name := range map[int]string{0: "pcr0", 1: "pcr1", 2: "pcr2", 16: "pcr16"} {
		add(32, name+"-other", "only "+name+" is another one", mismatch, register, "", func(pcrs map[int][]byte) { pcrs[register] = pcr("other") })
		add(32, name+"-last-bit", "only the last bit of "+name+" is another one", mismatch, register, "", func(pcrs map[int][]byte) {
			pcrs[register][47] ^= 1
		})
	}
	for register, name := range map[int]string{1: "pcr1", 2: "pcr2", 16: "pcr16"} {
		add(32, name+"-absent", name+" is absent", mismatch, register, "", func(pcrs map[int][]byte) { delete(pcrs, register) })
	}
	add(32, "pcr16-zero", "PCR16 was locked and never extended", mismatch, 16, "", func(pcrs map[int][]byte) { pcrs[16] = zero })
	add(32, "swapped", "PCR1 and PCR2 in each other's place", mismatch, 1, "", func(pcrs map[int][]byte) { pcrs[1], pcrs[2] = pcrs[2], pcrs[1] })
	two := s.twoReleases()
	add(32, "mixed-releases", "PCR0 of one release and the rest of another", mismatch, 0, two, func(pcrs map[int][]byte) { pcrs[0] = pcr("image of the second") })
	add(32, "second-release", "the second release of the policy, as a whole", "", -1, two, secondRelease)
	add(32, "release-over", "a release whose not_after has passed", mismatch, -1, s.timedRelease("over", -time.Hour, -time.Second), func(map[int][]byte) {})
	add(32, "release-not-begun", "a release whose not_before hasn't come", mismatch, -1, s.timedRelease("not-begun", time.Second, time.Hour), func(map[int][]byte) {})
	add(32, "release-current", "a release within its bounds", "", -1, s.timedRelease("current", 0, 0), func(map[int][]byte) {})
	signer := s.signerPolicy()
	add(33, "pcr8-zero", "an unsigned image, and the policy names a signer", mismatch, 8, signer, func(map[int][]byte) {})
	add(33, "pcr8-other", "another signer than the policy's", mismatch, 8, signer, func(pcrs map[int][]byte) { pcrs[8] = pcr("other signer") })
	add(33, "pcr8-absent", "PCR8 is absent, and the policy names a signer", mismatch, 8, signer, func(pcrs map[int][]byte) { delete(pcrs, 8) })
	add(33, "pcr8-good", "the policy's signer", "", -1, signer, func(pcrs map[int][]byte) { pcrs[8] = pcr("signer") })
}

func (s *set) policyFile(name string, change func(*policy)) string {
	p := newPolicy(s.pki)
	change(p)
	file := "policy-" + name + ".json"
	s.files[file] = p.json()
	return file
}

func (s *set) debugPolicy() string {
	return s.policyFile("debug", func(p *policy) {
		p.AllowDebug = true
		for _, i := range []string{"0", "1", "2"} {
			p.Releases[0].PCRs[i] = hex.EncodeToString(make([]byte, 48))
		}
	})
}

func (s *set) signerPolicy() string {
	return s.policyFile("signer", func(p *policy) { p.Releases[0].PCRs["8"] = hex.EncodeToString(pcr("signer")) })
}

func secondRelease(pcrs map[int][]byte) {
	pcrs[0], pcrs[1] = pcr("image of the second"), pcr("kernel of the second")
	pcrs[2], pcrs[16] = pcr("application of the second"), pcr("bundle of the second")
}

func (s *set) twoReleases() string {
	return s.policyFile("two-releases", func(p *policy) {
		second := maps.Clone(goodPCRs())
		secondRelease(second)
		p.Releases = append(p.Releases, release{Name: "second", PCRs: written(second, 0, 1, 2, 16)})
	})
}

// timedRelease bounds the release, relative to the time of verification.
func (s *set) timedRelease(name string, from, to time.Duration) string {
	return s.policyFile(name, func(p *policy) {
		p.Releases[0].NotBefore = judged().Add(from).Format(time.RFC3339)
		p.Releases[0].NotAfter = judged().Add(to).Format(time.RFC3339)
	})
}
