package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation/policy"
)

var (
	root  = strings.Repeat("1a", 32)
	value = strings.Repeat("2b", 48)
	zero  = strings.Repeat("00", 48)
)

// file is a policy file that loads.
func file() policy.File {
	return policy.File{
		Version: 1, Environment: policy.Simulation, Kind: policy.KindEnclave, Roots: []string{root}, Bundle: policy.BundleRequired,
		Releases: []policy.FileRelease{{
			Name: "v1", PCRs: map[string]string{"0": value, "1": value, "2": value, "16": value},
			NotBefore: "2026-01-01T00:00:00Z", NotAfter: "2026-12-31T00:00:00+01:00",
		}},
		MaxAge: "90s",
	}
}

// text writes a file without loading it.
func text(t testing.TB, f policy.File) string {
	t.Helper()
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLoad(t *testing.T) {
	p, err := policy.Load([]byte(text(t, file())))
	if err != nil {
		t.Fatal(err)
	}
	if p.Environment() != policy.Simulation || p.Bundle() != policy.BundleRequired || p.MaxAge() != 90*time.Second || p.AllowDebug() {
		t.Errorf("%+v", p)
	}
	if !slices.Equal(p.Roots(), []string{root}) || !p.Names(root) || p.Names(policy.AWSRoot) || p.Names("") {
		t.Errorf("roots %v", p.Roots())
	}
	if len(p.Releases()) != 1 {
		t.Fatalf("%d releases", len(p.Releases()))
	}
	r := p.Releases()[0]
	if r.Name != "v1" || len(r.PCRs) != 4 || r.PCRs[16].String() != value {
		t.Errorf("%+v", r)
	}
	begin, end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 12, 30, 23, 0, 0, 0, time.UTC)
	for at, want := range map[time.Time]bool{begin.Add(-1): false, begin: true, end: true, end.Add(1): false} {
		if r.Current(at) != want {
			t.Errorf("current at %v: %v", at, !want)
		}
	}
}

// TestDefaults: what is left out has the strictest value.
func TestDefaults(t *testing.T) {
	f := file()
	f.Bundle, f.MaxAge = "", ""
	f.Releases[0].NotBefore, f.Releases[0].NotAfter = "", ""
	p, err := policy.Load([]byte(strings.Replace(text(t, f), `,
  "allow_debug": false`, "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if p.Bundle() != policy.BundleRequired || p.MaxAge() != policy.DefaultMaxAge || p.AllowDebug() {
		t.Errorf("%+v", p)
	}
	if r := p.Releases()[0]; !r.Current(time.Time{}) || !r.Current(time.Now()) {
		t.Error("a release without bounds is bounded")
	}
}

// TestZero: the policy that nobody loaded accepts nothing.
func TestZero(t *testing.T) {
	var p policy.Policy
	if p.Environment() != "" || p.Names(root) || len(p.Releases()) != 0 || p.AllowDebug() || p.MaxAge() != 0 || len(p.Roots()) != 0 || p.Bundle() != "" {
		t.Errorf("%+v", p)
	}
}

// TestNoAliases: what a policy answers doesn't change it.
func TestNoAliases(t *testing.T) {
	p, err := policy.Load([]byte(text(t, file())))
	if err != nil {
		t.Fatal(err)
	}
	p.Roots()[0] = policy.AWSRoot
	clear(p.Releases()[0].PCRs)
	p.Releases()[0].Name = "other"
	if p.Names(policy.AWSRoot) || len(p.Releases()[0].PCRs) != 4 || p.Releases()[0].Name != "v1" {
		t.Error("a caller changed a policy")
	}
}

// TestAccepted are forms that load, beside those that don't.
func TestAccepted(t *testing.T) {
	for name, change := range map[string]func(*policy.File){
		"as it is":       func(*policy.File) {},
		"aws":            func(f *policy.File) { f.Environment, f.Roots = policy.AWS, []string{policy.AWSRoot} },
		"other":          func(f *policy.File) { f.Environment = policy.Other },
		"two roots":      func(f *policy.File) { f.Roots = append(f.Roots, strings.Repeat("3c", 32)) },
		"capitals":       func(f *policy.File) { f.Roots[0] = strings.ToUpper(root) },
		"no bundle":      func(f *policy.File) { f.Bundle = policy.BundleNone; delete(f.Releases[0].PCRs, "16") },
		"bundle anyway":  func(f *policy.File) { f.Bundle = policy.BundleNone },
		"all registers":  func(f *policy.File) { f.Releases[0].PCRs = registers(32) },
		"debug":          func(f *policy.File) { f.AllowDebug = true; f.Releases[0].PCRs["0"] = zero },
		"the oldest age": func(f *policy.File) { f.MaxAge = "3h" },
		"one instant":    func(f *policy.File) { f.Releases[0].NotAfter = f.Releases[0].NotBefore },
	} {
		f := file()
		change(&f)
		b, err := f.Marshal()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := policy.Load(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func registers(n int) map[string]string {
	all := make(map[string]string)
	for i := range n {
		all[fmt.Sprint(i)] = value
	}
	return all
}

// TestMarshalRefuses: a policy that wouldn't load isn't written.
func TestMarshalRefuses(t *testing.T) {
	for name, change := range map[string]func(*policy.File){
		"version":       func(f *policy.File) { f.Version = 2 },
		"no releases":   func(f *policy.File) { f.Releases = nil },
		"no roots":      func(f *policy.File) { f.Roots = nil },
		"no PCR16":      func(f *policy.File) { delete(f.Releases[0].PCRs, "16") },
		"zero":          func(f *policy.File) { f.Releases[0].PCRs["2"] = zero },
		"zero beside":   func(f *policy.File) { f.Releases[0].PCRs["8"] = zero },
		"aws elsewhere": func(f *policy.File) { f.Roots = []string{policy.AWSRoot} },
		"no aws in aws": func(f *policy.File) { f.Environment = policy.AWS },
		"both in aws":   func(f *policy.File) { f.Environment, f.Roots = policy.AWS, []string{policy.AWSRoot, root} },
		"control":       func(f *policy.File) { f.Releases[0].Name = "v1\x1b[2J" },
		"long name":     func(f *policy.File) { f.Releases[0].Name = strings.Repeat("v", 129) },
		"many roots": func(f *policy.File) {
			for i := range 16 {
				f.Roots = append(f.Roots, fmt.Sprintf("%064x", i))
			}
		},
	} {
		f := file()
		change(&f)
		if b, err := f.Marshal(); err == nil || b != nil {
			t.Errorf("%s: written", name)
		}
	}
}

// TestWhere: a refusal says where it is, by line, column and path.
func TestWhere(t *testing.T) {
	good := text(t, file())
	for name, c := range map[string]struct {
		old, with    string
		line, column int
		where, says  string
	}{
		"environment": {`"simulation"`, `"cloud"`, 3, 25, "environment", `"cloud" is none of: aws, simulation, other`},
		"duplicate":   {`"kind":`, `"Version": 1, "kind":`, 4, 12, "", `duplicate key "Version", after "version"`},
		"unknown":     {`"kind":`, `"strict": true, "kind":`, 4, 11, "", `unknown key "strict"`},
		"release key": {`"name":`, `"note": "", "name":`, 11, 13, "releases[0]", `unknown key "note"`},
		"short":       {value, value[1:], 13, 111, `releases[0].pcrs["0"]`, "must be 96 hexadecimal digits"},
		"syntax":      {`"pcrs": {`, `"pcrs": [`, 13, 13, "", "not JSON"},
	} {
		_, err := policy.Load([]byte(strings.Replace(good, c.old, c.with, 1)))
		got, ok := errors.AsType[*policy.Error](err)
		if !ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Line != c.line || got.Column != c.column || got.Where != c.where || !strings.Contains(got.Problem, c.says) {
			t.Errorf("%s: %+v", name, got)
		}
		if want := fmt.Sprintf("policy: %d:%d: ", c.line, c.column); !strings.HasPrefix(got.Error(), want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestMissing: every member that has no default must be there, and null is
// nothing.
func TestMissing(t *testing.T) {
	for _, name := range []string{"version", "environment", "kind", "roots", "releases"} {
		var all map[string]any
		if err := json.Unmarshal([]byte(text(t, file())), &all); err != nil {
			t.Fatal(err)
		}
		for _, change := range []func(map[string]any){
			func(m map[string]any) { delete(m, name) },
			func(m map[string]any) { m[name] = nil },
			func(m map[string]any) { m[strings.ToUpper(name)] = m[name]; delete(m, name) },
		} {
			m := maps.Clone(all)
			change(m)
			b, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := policy.Load(b); err == nil || p != nil {
				t.Errorf("%s: loads", b)
			}
		}
	}
}

// TestLimits: size and depth are bounded before anything grows with them.
func TestLimits(t *testing.T) {
	for name, b := range map[string][]byte{
		"2 MiB":         []byte(strings.Repeat(" ", 1<<20) + text(t, file())),
		"deep":          []byte(strings.Repeat("[", 100000)),
		"deep in value": []byte(`{"version":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`),
		"many releases": []byte(`{"releases":[` + strings.Repeat(`{"name":"a","pcrs":{}},`, 20000) + `{}]}`),
	} {
		if p, err := policy.Load(b); err == nil || p != nil {
			t.Errorf("%s: loads", name)
		}
	}
	f := file()
	r := f.Releases[0]
	f.Releases = nil
	for i := range 256 {
		r.Name = fmt.Sprint(i)
		f.Releases = append(f.Releases, r)
	}
	if _, err := policy.Load([]byte(text(t, f))); err != nil {
		t.Errorf("256 releases: %v", err)
	}
	r.Name = "one more"
	f.Releases = append(f.Releases, r)
	if _, err := policy.Load([]byte(text(t, f))); err == nil {
		t.Error("257 releases load")
	}
}
