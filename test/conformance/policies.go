package conformance

import (
	"bytes"
	"strings"
)

// policyText adds a policy that must not load.
func (s *set) policyText(name, about, content string) {
	v := Vector{
		Row: 31, Name: "policy-" + name, About: about, Class: badPolicy, At: at(0), Document: goodFile, Root: mainRoot,
		Policy: "policies/" + name + ".json", EntryPoints: policyOnly(),
	}
	s.put(v, v.Policy, []byte(content))
}

// policyChange adds the good policy with one part replaced.
func (s *set) policyChange(name, about, old, with string) {
	good := string(newPolicy(s.pki).json())
	if !strings.Contains(good, old) {
		panic("conformance: the good policy doesn't hold " + old)
	}
	s.policyText(name, about, strings.Replace(good, old, with, 1))
}

// policies is row 31: policy files that must not load.
func (s *set) policies() {
	good := string(newPolicy(s.pki).json())
	fingerprint := s.pki.fingerprint()
	text, change := s.policyText, s.policyChange
	text("empty", "an empty file", "")
	text("empty-object", "an object without keys", "{}")
	text("null", "null", "null")
	text("list", "a list", "["+good+"]")
	text("twice", "two policies in one file", good+good)
	text("not-utf8", "a byte that isn't UTF-8", strings.Replace(good, "good", "g\xffd", 1))
	text("comment", "a comment", "// policy\n"+good)
	change("version-2", "another version", `"version": 1`, `"version": 2`)
	change("version-text", "the version as text", `"version": 1`, `"version": "1"`)
	change("version-float", "the version as 1.0", `"version": 1`, `"version": 1.0`)
	change("environment-unknown", "an unknown environment", `"other"`, `"cloud"`)
	change("environment-aws", "the environment aws with another root than AWS's", `"other"`, `"aws"`)
	change("kind-unknown", "another kind of attester", "nitro-enclave", "nitro-tpm")
	change("no-roots", "no roots", `"`+fingerprint+`"`, "")
	change("root-short", "a fingerprint of 63 digits", fingerprint, fingerprint[1:])
	change("root-twice", "the same root twice", `"`+fingerprint+`"`, `"`+fingerprint+`","`+strings.ToUpper(fingerprint)+`"`)
	change("aws-root-elsewhere", "AWS's root in the environment other", fingerprint, "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b")
	change("bundle-unknown", "an unknown word for bundle", `"required"`, `"optional"`)
	change("unknown-key", "a key that policies don't have", `"version": 1`, `"version": 1, "strict": true`)
	change("unknown-release-key", "a key that releases don't have", `"name": "good"`, `"name": "good", "note": ""`)
	change("key-twice", "allow_debug stands twice", `"version": 1`, `"version": 1, "allow_debug": true`)
	change("key-other-case", "Allow_Debug stands beside allow_debug", `"version": 1`, `"version": 1, "Allow_Debug": true`)
	change("only-other-case", "Roots in place of roots", `"roots"`, `"Roots"`)
	change("max-age-zero", "max_age of nothing", `"5m"`, `"0s"`)
	change("max-age-day", "max_age of a day, longer than a leaf lives", `"5m"`, `"24h"`)
	change("max-age-number", "max_age as a number", `"5m"`, "300")
	change("debug-text", "allow_debug as text", "false", `"false"`)
	text("without-version", "no version", strings.Replace(good, `"version": 1,`, "", 1))
	text("without-environment", "no environment", strings.Replace(good, `"environment": "other",`, "", 1))
	text("without-kind", "no kind", strings.Replace(good, `"kind": "nitro-enclave",`, "", 1))
	text("cut", "the end is missing", string(bytes.TrimRight([]byte(good), "}\n")))
	s.policyReleases()
}

// policyReleases are the policies of row 31 whose releases are wrong.
func (s *set) policyReleases() {
	pcr0 := written(goodPCRs(), 0)["0"]
	text, change := s.policyText, s.policyChange
	change("pcr-twice", "PCR0 stands twice", `"pcrs": {`, `"pcrs": {"0": "`+pcr0+`",`)
	change("pcr-leading-zero", "a register named 00", `"pcrs": {`, `"pcrs": {"00": "`+pcr0+`",`)
	change("pcr-32", "a register named 32", `"pcrs": {`, `"pcrs": {"32": "`+pcr0+`",`)
	change("pcr-name", "a register named PCR0", `"pcrs": {`, `"pcrs": {"PCR0": "`+pcr0+`",`)
	change("pcr-short", "PCR0 of 94 digits", pcr0, pcr0[2:])
	change("pcr-long", "PCR0 of 98 digits", pcr0, pcr0+"00")
	change("pcr-sha256", "PCR0 of 64 digits", pcr0, pcr0[:64])
	change("pcr-not-hex", "PCR0 with a letter that is no digit", pcr0, "g"+pcr0[1:])
	change("pcr-0x", "PCR0 with 0x in front", pcr0, "0x"+pcr0[2:])
	change("pcr-zero", "PCR0 is zero", pcr0, strings.Repeat("0", 96))
	change("pcr-empty", "PCR0 is empty", pcr0, "")
	change("pcr-null", "PCR0 is null", `"`+pcr0+`"`, "null")
	for _, name := range []string{"0", "1", "2", "16"} {
		p := newPolicy(s.pki)
		delete(p.Releases[0].PCRs, name)
		text("without-pcr"+name, "PCR"+name+" isn't named", string(p.json()))
	}
	p := newPolicy(s.pki)
	p.Releases[0].PCRs = map[string]string{}
	text("no-pcrs", "a release without registers", string(p.json()))
	p.Releases = []release{}
	text("no-releases", "no releases", string(p.json()))
	p = newPolicy(s.pki)
	p.Releases = append(p.Releases, p.Releases[0])
	text("release-twice", "two releases of one name", string(p.json()))
	change("release-unnamed", "a release without a name", `"good"`, `""`)
	change("bounds-turned", "a release that ends before it begins", `"name": "good"`, `"name": "good", "not_before": "2026-06-02T00:00:00Z", "not_after": "2026-06-01T00:00:00Z"`)
	change("bounds-no-zone", "a time without a zone", `"name": "good"`, `"name": "good", "not_before": "2026-06-02T00:00:00"`)
}
