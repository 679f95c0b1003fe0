package verifier_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

func TestArchived(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	a, err := verifier.Authenticate(e.Document, newRoots(t, e.Root), now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for name, challenge := range map[string][]byte{"without a nonce": nil, "with the nonce": nonce()} {
		r, err := verifier.AppraiseArchived(a, load(t, e.Policy), challenge)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Time().Equal(now.Add(time.Minute)) || r.Release() != "good" || r.Environment() != policy.Other || r.Debug() || r.RootFingerprint() != a.RootFingerprint() || r.Document() != a.Document() {
			t.Errorf("%s: another verdict", name)
		}
		got := names(r.Checks())
		if slices.Contains(got, verifier.CheckFreshness) || !slices.Contains(got, verifier.CheckAge) || slices.Contains(got, verifier.CheckNonce) != (challenge != nil) {
			t.Errorf("%s: checks %v", name, got)
		}
		if open := r.NotEstablished(); !strings.HasPrefix(open[0], "freshness") {
			t.Errorf("%s: open %v", name, open)
		}
		r.Note(verifier.CheckFreshness, "said by a caller")
		if open := r.NotEstablished(); !strings.HasPrefix(open[0], "freshness") {
			t.Errorf("%s: a note established freshness", name)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if v := valid(t, b); v["mode"] != "archived" || v["freshness"] != "not established" || v["verified_at"] != "2026-06-15T12:01:00.000Z" {
			t.Errorf("%s: %s", name, b)
		}
	}
	for _, none := range []*verifier.Archived{nil, new(verifier.Archived)} {
		if b, err := none.MarshalJSON(); err == nil {
			t.Errorf("no result is written as %s", b)
		}
	}
}

// TestKinds: neither result can be made into the other one.
func TestKinds(t *testing.T) {
	live, archived := reflect.TypeFor[*verifier.Result](), reflect.TypeFor[*verifier.Archived]()
	if live.ConvertibleTo(archived) != archived.ConvertibleTo(live) || live.AssignableTo(archived) {
		t.Error("one result stands in for the other")
	}
	for i := range live.Elem().NumField() {
		if live.Elem().Field(i).IsExported() {
			t.Errorf("field %s is exported", live.Elem().Field(i).Name)
		}
	}
}

// TestRefusalJSON: every class, with what failed and nothing of the document.
func TestRefusalJSON(t *testing.T) {
	t.Parallel()
	all, read := vectors(t)
	classes := map[string]bool{}
	for _, v := range all {
		if v.Accept || v.Class == "policy" {
			continue
		}
		err := judge(t, read, v)
		got, ok := errors.AsType[*attestation.Error](err)
		if !ok {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		b, err := json.Marshal(verifier.Refusal{Err: got, Fix: "Don't."})
		if err != nil {
			t.Fatal(err)
		}
		form := valid(t, b)
		classes[v.Class] = true
		if form["class"] != v.Class || form["verified"] != false || form["fix"] != "Don't." {
			t.Errorf("%s: %s", v.Name, b)
		}
		if _, named := form["pcr"]; named != (v.PCR != nil) {
			t.Errorf("%s: %s", v.Name, b)
		}
		checks := form["checks"].([]any)
		if _, err := attestation.Decode(read(v.Document)); err != nil || v.Row == 40 { // refused before any check began
			continue
		}
		if len(checks) != 1 || checks[0].(map[string]any)["ok"] != false || !known(checks[0].(map[string]any)["name"]) {
			t.Errorf("%s: checks %v", v.Name, checks)
		}
	}
	if len(classes) < 18 {
		t.Errorf("only the classes %v", classes)
	}
	if b, err := json.Marshal(verifier.Refusal{}); err == nil {
		t.Errorf("no refusal is written as %s", b)
	}
}

// judge does with a vector what a program does.
func judge(t *testing.T, read func(string) []byte, v conformance.Vector) error {
	t.Helper()
	roots, p := newRoots(t, read(v.Root)), load(t, read(v.Policy))
	if err := roots.NamedBy(p); err != nil {
		return err
	}
	raw, err := attestation.Decode(read(v.Document))
	if err != nil {
		return err
	}
	a, err := verifier.Authenticate(raw, roots, *v.At)
	if err != nil {
		return err
	}
	_, err = verifier.AppraiseArchived(a, p, nil)
	return err
}

func known(name any) bool {
	return slices.ContainsFunc(verifier.Explain(), func(e verifier.Explanation) bool { return e.Check == name })
}

// TestExplain: every check that runs is explained, once, and the specification
// has a section on it.
func TestExplain(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	r, err := verifier.Appraise(authentic(t, e), load(t, e.Policy), nonce(), now)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, x := range verifier.Explain() {
		if x.Means == "" || x.Without == "" || slices.Contains(all, x.Check) {
			t.Errorf("%+v", x)
		}
		all = append(all, x.Check)
	}
	last := -1
	for _, name := range names(r.Checks()) {
		at := slices.Index(all, name)
		if at <= last {
			t.Errorf("%s is explained out of order, or not at all", name)
		}
		last = at
	}
	for _, name := range []string{verifier.CheckAge, verifier.CheckBinding, verifier.CheckBundle} {
		if !slices.Contains(all, name) {
			t.Errorf("%s isn't explained", name)
		}
	}
	spec := readSpec(t)
	for _, name := range all {
		if !strings.Contains(spec, fmt.Sprintf("`%s`", name)) {
			t.Errorf("docs/spec/verification.md doesn't name the check %s", name)
		}
	}
}
