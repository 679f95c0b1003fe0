package policy

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cloisterhq/cloister/attestation"
)

const (
	// maxFile bounds a policy file, in bytes.
	maxFile = 1 << 20
	// maxRoots and maxReleases bound the lists of a policy.
	maxRoots, maxReleases = 16, 256
	// maxName bounds a release's name, in bytes.
	maxName = 128
	// longestAge is the longest max_age: the lifetime of a leaf certificate.
	longestAge = 3 * time.Hour
)

// Load reads a policy file, strict JSON in this form:
//
//	{"version": 1, "environment": "aws", "kind": "nitro-enclave",
//	 "roots": ["<64 hex digits>"], "bundle": "required",
//	 "releases": [{"name": "v1", "pcrs": {"0": "<96 hex digits>", "1": "…", "2": "…", "16": "…"},
//	               "not_before": "2026-01-01T00:00:00Z", "not_after": "2026-12-31T00:00:00Z"}],
//	 "max_age": "5m", "allow_debug": false}
//
// bundle, not_before, not_after, max_age and allow_debug may be left out and
// then have the strictest value. Names that are unknown, stand twice or differ
// in case, empty lists, registers that are zero (unless debug is allowed) and
// releases without PCR0, 1, 2 and 16 don't load. Errors are *[Error].
func Load(b []byte) (*Policy, error) {
	if len(b) > maxFile {
		return nil, &Error{Line: 1, Column: 1, Problem: fmt.Sprintf("more than %d bytes", maxFile)}
	}
	r, err := newReader(b)
	if err != nil {
		return nil, err
	}
	l := &loader{reader: r, policy: &Policy{bundle: BundleRequired, maxAge: DefaultMaxAge}, seen: map[string]bool{}}
	if err := l.object("", l.field); err != nil {
		return nil, err
	}
	if err := l.end(); err != nil {
		return nil, err
	}
	if err := l.whole(); err != nil {
		return nil, err
	}
	return l.policy, nil
}

// loader fills a policy in while it reads.
type loader struct {
	*reader
	policy *Policy
	seen   map[string]bool
}

// field reads one member of the policy.
func (l *loader) field(name string) (err error) {
	l.seen[name] = true
	p := l.policy
	switch name {
	case "version":
		return l.literal(name, "1")
	case "environment":
		p.environment, err = l.oneOf(name, AWS, Simulation, Other)
	case "kind":
		_, err = l.oneOf(name, KindEnclave)
	case "roots":
		return l.array(name, maxRoots, l.root)
	case "bundle":
		p.bundle, err = l.oneOf(name, BundleRequired, BundleNone)
	case "releases":
		return l.array(name, maxReleases, l.release)
	case "max_age":
		p.maxAge, err = l.age(name)
	case "allow_debug":
		p.allowDebug, err = l.boolean(name)
	default:
		return l.fail("", fmt.Sprintf("unknown key %q", name))
	}
	return err
}

func (l *loader) root(i int) error {
	where := fmt.Sprintf("roots[%d]", i)
	s, err := l.text(where)
	if err != nil {
		return err
	}
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
		return l.fail(where, "must be a SHA-256 fingerprint of 64 hexadecimal digits")
	}
	s = strings.ToLower(s)
	if l.policy.Names(s) {
		return l.fail(where, "stands twice")
	}
	l.policy.roots = append(l.policy.roots, s)
	return nil
}

func (l *loader) age(where string) (time.Duration, error) {
	s, err := l.text(where)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > longestAge {
		return 0, l.fail(where, "must be a duration above 0 and up to 3h, such as 5m")
	}
	return d, nil
}

func (l *loader) release(i int) error {
	where := fmt.Sprintf("releases[%d]", i)
	var rel Release
	err := l.object(where, func(name string) (err error) {
		at := where + "." + name
		switch name {
		case "name":
			rel.Name, err = l.name(at)
		case "pcrs":
			rel.PCRs, err = l.pcrs(at)
		case "not_before":
			rel.NotBefore, err = l.time(at)
		case "not_after":
			rel.NotAfter, err = l.time(at)
		default:
			err = l.fail(where, fmt.Sprintf("unknown key %q", name))
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case rel.Name == "":
		return l.fail(where, "has no name")
	case len(rel.PCRs) == 0:
		return l.fail(where, "names no PCR")
	case !rel.NotBefore.IsZero() && !rel.NotAfter.IsZero() && rel.NotAfter.Before(rel.NotBefore):
		return l.fail(where, "not_after lies before not_before")
	}
	l.policy.releases = append(l.policy.releases, rel)
	return nil
}

// name reads a release's name, which is printed on terminals.
func (l *loader) name(where string) (string, error) {
	s, err := l.text(where)
	if err != nil {
		return "", err
	}
	if len(s) > maxName || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return "", l.fail(where, fmt.Sprintf("must be printable and have at most %d bytes", maxName))
	}
	if slices.ContainsFunc(l.policy.releases, func(r Release) bool { return r.Name == s }) {
		return "", l.fail(where, fmt.Sprintf("a second release %q", s))
	}
	return s, nil
}

func (l *loader) time(where string) (time.Time, error) {
	s, err := l.text(where)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.IsZero() {
		return time.Time{}, l.fail(where, "must be a time such as 2026-01-31T00:00:00Z (RFC 3339)")
	}
	return t, nil
}

// pcrs reads registers; indexes are decimal numbers without leading zeros.
func (l *loader) pcrs(where string) (map[int]attestation.PCR, error) {
	all := make(map[int]attestation.PCR)
	err := l.object(where, func(name string) error {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= attestation.PCRCount || strconv.Itoa(i) != name {
			return l.fail(where, fmt.Sprintf("%q is no register: 0 to %d", name, attestation.PCRCount-1))
		}
		at := fmt.Sprintf("%s[%q]", where, name)
		s, err := l.text(at)
		if err != nil {
			return err
		}
		if all[i], err = attestation.ParsePCR(s); err != nil {
			return l.fail(at, "must be 96 hexadecimal digits")
		}
		return nil
	})
	return all, err
}

// whole checks what no single value shows.
func (l *loader) whole() error {
	p := l.policy
	for _, name := range []string{"version", "environment", "kind", "roots", "releases"} {
		if !l.seen[name] {
			return l.fail("", fmt.Sprintf("%q is missing", name))
		}
	}
	if len(p.roots) == 0 {
		return l.fail("roots", "must not be empty")
	}
	if len(p.releases) == 0 {
		return l.fail("releases", "must not be empty")
	}
	for i, root := range p.roots {
		if (root == AWSRoot) != (p.environment == AWS) {
			return l.fail(fmt.Sprintf("roots[%d]", i), fmt.Sprintf("doesn't go with the environment %q", p.environment))
		}
	}
	required := []int{0, 1, 2}
	if p.bundle == BundleRequired {
		required = append(required, BundlePCR)
	}
	for i, rel := range p.releases {
		where := fmt.Sprintf("releases[%d].pcrs", i)
		for _, index := range required {
			if _, ok := rel.PCRs[index]; !ok {
				return l.fail(where, fmt.Sprintf("PCR%d is missing", index))
			}
		}
		for index := range attestation.PCRCount {
			if pcr, ok := rel.PCRs[index]; ok && pcr.IsZero() && !p.allowDebug {
				return l.fail(where, fmt.Sprintf("PCR%d is zero, as in debug mode, and allow_debug isn't set", index))
			}
		}
	}
	return nil
}
