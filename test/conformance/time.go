package conformance

import (
	"fmt"
	"time"
)

// times are rows 23, 29, 36 and 40.
func (s *set) times() {
	for level, name := range map[int]string{root: "root", regional: "regional", zonal: "zonal", host: "instance"} {
		s.validity(name+"-expired", "the "+name+" certificate ended a second before", expired, func(p pki) { p[level].end = judged().Add(-time.Second) })
		s.validity(name+"-not-yet", "the "+name+" certificate begins a second later", notYetValid, func(p pki) { p[level].begin = judged().Add(time.Second) })
		s.validity(name+"-last-second", "the "+name+" certificate ends this very second: both bounds are inclusive", "", func(p pki) { p[level].end = judged() })
		s.validity(name+"-first-second", "the "+name+" certificate begins this very second", "", func(p pki) { p[level].begin = judged() })
	}
	s.validity("leaf-expired", "the leaf ended a second before", expired, func(p pki) { p[leaf].end = made() })
	s.validity("leaf-last-second", "the leaf ends this very second", "", func(p pki) { p[leaf].end = judged() })
	// The leaf begins with the document; the verifier's clock is behind.
	slow := func(name, about, class string, behind time.Duration) {
		p := newPKI("main")
		p[leaf].begin = made()
		t := made().Add(-behind)
		s.add(Vector{Row: 23, Name: name, About: about, Class: class, Accept: class == "", At: &t}, newDocument(p).encode())
	}
	slow("leaf-not-yet", "the leaf begins in 31 seconds, more than the clocks' skew", notYetValid, 31*time.Second)
	slow("leaf-within-skew", "the leaf begins in 30 seconds, the clocks' skew", "", 30*time.Second)
	s.age()
	good := newDocument(s.pki).encode()
	s.add(Vector{Row: 36, Name: "archived-later", About: "a good document four hours later", Class: expired, At: at(4 * time.Hour)}, good)
	s.add(Vector{Row: 36, Name: "archived-years-later", About: "a good document years later", Class: expired, At: at(5 * 365 * 24 * time.Hour)}, good)
	s.add(Vector{Row: 36, Name: "long-before", About: "a good document a year before it was made", Class: notYetValid, At: at(-365 * 24 * time.Hour)}, good)
	epoch := time.Unix(0, 0).UTC()
	s.add(Vector{Row: 40, Name: "clock-at-zero", About: "the verifier's clock stands at its beginning", Class: "clock", At: &epoch}, good)
}

// validity adds a document of a changed chain, accepted without a class. Root
// changes need a root file and a policy of their own.
func (s *set) validity(name, about, class string, change func(pki)) {
	p := newPKI("main")
	change(p)
	v := Vector{Row: 23, Name: name, About: about, Class: class, Accept: class == ""}
	if p.fingerprint() != s.pki.fingerprint() {
		v.Root, v.Policy = "root-"+name+".pem", "policy-"+name+".json"
		s.files[v.Root], s.files[v.Policy] = p.rootPEM(), newPolicy(p).json()
	}
	s.add(v, newDocument(p).encode())
}

// age is row 29.
func (s *set) age() {
	stamped := func(offset time.Duration) []byte {
		d := newDocument(s.pki)
		d.set("timestamp", wideHead(majorUint, uint64(made().Add(offset).UnixMilli())))
		return d.encode()
	}
	s.add(Vector{Row: 29, Name: "before-the-leaf", About: "made a millisecond before the leaf began", Class: stale}, stamped(-4*time.Second-time.Millisecond))
	s.add(Vector{Row: 29, Name: "with-the-leaf", About: "made as the leaf began", Accept: true}, stamped(-4*time.Second))
	for seconds, class := range map[int]string{31: "", 32: future, 3600: future} {
		s.add(Vector{Row: 29, Name: fmt.Sprintf("ahead-%d", seconds-1), About: fmt.Sprintf("made %d seconds after the time of verification", seconds-1),
			Class: class, Accept: class == ""}, stamped(time.Duration(seconds)*time.Second))
	}
	s.add(Vector{Row: 29, Name: "after-the-leaf", About: "made after the leaf ended", Class: future}, stamped(4*time.Hour))
	p := newPKI("main")
	p[leaf].end = judged()
	d := newDocument(p)
	d.set("timestamp", wideHead(majorUint, uint64(judged().Add(10*time.Second).UnixMilli())))
	s.add(Vector{Row: 29, Name: "after-the-leaf-within-skew", About: "made after the leaf ended, and within the clocks' skew", Class: future}, d.encode())
	good := newDocument(s.pki).encode()
	s.add(Vector{Row: 29, Name: "five-minutes-old", About: "as old as the policy's max_age", Accept: true, At: at(5*time.Minute - time.Second)}, good)
	s.add(Vector{Row: 29, Name: "over-five-minutes", About: "a second older than the policy's max_age, the leaf valid", Class: stale, At: at(5 * time.Minute)}, good)
	s.add(Vector{Row: 29, Name: "two-hours-old", About: "two hours old, the leaf valid", Class: stale, At: at(2 * time.Hour)}, good)
}
