package spool_test

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/client/spool"
)

// step is one operation of a stream's life.
type step struct {
	name string
	do   func(t *testing.T, st *spool.Stream)
}

// life is how three batches go through a spool, not in order.
func life() []step {
	var steps []step
	for _, s := range []struct {
		op string
		n  uint64
	}{{"put", 0}, {"put", 1}, {"settle", 0}, {"put", 2}, {"settle", 2}, {"settle", 1}, {"tell", 0}} {
		steps = append(steps, step{s.op, func(t *testing.T, st *spool.Stream) {
			t.Helper()
			switch s.op {
			case "put":
				put(t, st, s.n)
			case "settle":
				settle(t, st, s.n)
			case "tell":
				if err := st.Tell(); err != nil {
					t.Fatal(err)
				}
			}
		}})
	}
	return steps
}

// TestCrashAnywhere lives the same life again and again, and after each step
// goes on from every state that a crash within the step can leave: nothing is
// lost, nothing is there twice, and the life comes to the same end.
func TestCrashAnywhere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	states := []state{read(t, dir)}
	st := begin(t, s)
	states = append(states, read(t, dir))
	for _, step := range life() {
		step.do(t, st)
		states = append(states, read(t, dir))
	}
	count := 0
	for i := 1; i < len(states); i++ {
		for name, crashed := range between(states[i-1], states[i]) {
			count++
			resume(t, crashed, name)
		}
	}
	if count < 40 {
		t.Errorf("only %d states were tried", count)
	}
}

// between makes the states that a crash on the way from one to the next leaves.
// Files come one at a time, and may have a temporary name before; all new files
// come before any old one goes.
func between(before, after state) map[string]state {
	all := map[string]state{"before": before, "after": after}
	grown := maps.Clone(before)
	for name, content := range after {
		if before[name] == content {
			if _, was := before[name]; was {
				continue
			}
		}
		if !strings.HasSuffix(name, "/") {
			for part, text := range map[string]string{"empty": "", "half": content[:len(content)/2], "whole": content} {
				torn := maps.Clone(grown)
				torn[filepath.Join(filepath.Dir(name), ".tmp-123")] = text
				all[name+" unnamed, "+part] = torn
			}
		}
		grown[name] = content
	}
	all["nothing gone"] = grown
	return all
}

// resume opens a crashed state, checks it, and lives to the end.
func resume(t *testing.T, crashed state, name string) {
	t.Helper()
	dir := crashed.write(t)
	s := open(t, dir)
	st, err := s.Begin(t.Context(), info(), 0)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer st.Close()
	for n := range uint64(3) {
		_, sealed := s1(st.Batch(n))
		_, settled := s1(st.Held(n))
		if n < st.Len() && sealed == settled || n >= st.Len() && (sealed || settled) {
			t.Errorf("%s: batch %d of %d: sealed %t, with receipt %t", name, n, st.Len(), sealed, settled)
		}
		if settled != st.Has(n) {
			t.Errorf("%s: batch %d: Has is %t", name, n, st.Has(n))
		}
	}
	for n := range uint64(3) {
		if n >= st.Len() {
			put(t, st, n)
		}
		if !st.Has(n) {
			settle(t, st, n)
		}
	}
	if err := st.Tell(); err != nil {
		t.Fatal(err)
	}
	end := read(t, dir)
	for file := range end {
		if strings.Contains(file, ".tmp-") || strings.Contains(file, "sealed/0") {
			t.Errorf("%s: %s is left", name, file)
		}
	}
	if len(end) != 9 { // spool, stream, lock, stream.json, two directories, three receipts
		t.Errorf("%s: %d entries are left, want 9: %v", name, len(end), maps.Keys(end))
	}
}

func s1[T any](v *T, err error) (*T, bool) { return v, err == nil }

// TestDamage changes what a spool holds, in every way that a file can be wrong.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	st := begin(t, open(t, dir))
	for n := range uint64(4) {
		put(t, st, n)
	}
	settle(t, st, 0)
	settle(t, st, 1)
	st.Close()
	good := read(t, dir)
	sealed, other := good.find(t, "sealed/00000002"), good.find(t, "sealed/00000003")
	receipt, second := good.find(t, "receipts/00000000"), good.find(t, "receipts/00000001")
	description := good.find(t, "stream.json")
	for name, change := range map[string]func(state){
		"sealed gone":            func(s state) { delete(s, sealed) },
		"receipt gone":           func(s state) { delete(s, receipt) },
		"sealed empty":           func(s state) { s[sealed] = "" },
		"sealed cut":             func(s state) { s[sealed] = s[sealed][:len(s[sealed])-1] },
		"sealed grown":           func(s state) { s[sealed] += "x" },
		"sealed of zeros":        func(s state) { s[sealed] = strings.Repeat("\x00", len(s[sealed])) },
		"sealed changed":         func(s state) { s[sealed] = flip(s[sealed], 60) },
		"sealed swapped":         func(s state) { s[sealed], s[other] = s[other], s[sealed] },
		"sealed huge":            func(s state) { s[sealed] = strings.Repeat("x", 17<<20) },
		"receipt changed":        func(s state) { s[receipt] = flip(s[receipt], 60) },
		"receipt swapped":        func(s state) { s[receipt], s[second] = s[second], s[receipt] },
		"receipt is a batch":     func(s state) { s[receipt] = s[sealed] },
		"description empty":      func(s state) { s[description] = "" },
		"description changed":    func(s state) { s[description] = strings.Replace(s[description], "clinic-a", "clinic-b", 1) },
		"description newer":      func(s state) { s[description] = strings.Replace(s[description], `"version": 1`, `"version": 2`, 1) },
		"description with more":  func(s state) { s[description] = strings.Replace(s[description], `{`, `{"more": 1,`, 1) },
		"description twice":      func(s state) { s[description] += s[description] },
		"description huge":       func(s state) { s[description] += strings.Repeat(" ", 1<<20) },
		"a name that's no batch": func(s state) { s[filepath.Join(filepath.Dir(sealed), "notes.txt")] = "" },
		"a number with a sign":   func(s state) { s[filepath.Join(filepath.Dir(sealed), "+0000002")] = "" },
		"a number too large":     func(s state) { s[filepath.Join(filepath.Dir(sealed), "99999999")] = "" },
	} {
		bad := maps.Clone(good)
		change(bad)
		if err := use(t, open(t, bad.write(t))); !errors.Is(err, spool.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := use(t, open(t, good.write(t))); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}

func flip(s string, at int) string { return s[:at] + string(s[at]^1) + s[at+1:] }

// use opens the stream and reads all of it.
func use(t *testing.T, s *spool.Spool) error {
	st, err := s.Begin(t.Context(), info(), 0)
	if err != nil {
		return err
	}
	defer st.Close()
	for n := range st.Len() {
		if st.Has(n) {
			_, err = st.Held(n)
		} else {
			_, err = st.Batch(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
