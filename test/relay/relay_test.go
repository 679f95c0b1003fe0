package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain is also the process of a proxy: the measured ones are started from
// the running program.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == child {
		if err := serveChild(os.Args[2], os.Args[3]); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestRun measures very little of everything and looks at the page.
func TestRun(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("before\n"+beginMark+"an old table\n"+endMark+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	little := sizes{repeats: 1, bulk: 1 << 20, trips: 100, span: 20 * time.Millisecond, envelopes: 64 << 10}
	if err := run(t.Context(), little, page); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "before\n") || !strings.HasSuffix(string(text), endMark+"after\n") || strings.Contains(string(text), "an old table") {
		t.Errorf("what stands around the tables has changed:\n%s", text)
	}
	for _, want := range []string{"| " + direct, "| bare loop", "| socat", "| **relay**", "in a process of its own", "| 64 KiB, 8 at a time"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := exec.LookPath("socat"); (err != nil) != strings.Contains(string(text), "not installed") {
		t.Errorf("the column of socat is wrong:\n%s", text)
	}
}

// TestNoPlace refuses a page without marks, and leaves it.
func TestNoPlace(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(endMark+beginMark), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReport(sizes{})
	if err := r.write(page); err == nil {
		t.Error("it was written")
	}
	if text, err := os.ReadFile(page); err != nil || string(text) != endMark+beginMark {
		t.Errorf("%q, %v", text, err)
	}
}

// TestRatios: more is better in some columns, less in others.
func TestRatios(t *testing.T) {
	r := &report{ways: []*way{
		{name: socat, values: map[string][]float64{oneFlow: {1, 2}, halfTrip: {30, 10}}},
		{name: ours, values: map[string][]float64{oneFlow: {2, 2}, halfTrip: {10, 20}}},
	}}
	if got := r.ratios(socat, column{oneFlow, "", false}); got[0] != 2 || got[1] != 1 {
		t.Errorf("got %v", got)
	}
	if got := r.ratios(socat, column{halfTrip, "", true}); got[0] != 3 || got[1] != 0.5 {
		t.Errorf("got %v", got)
	}
	if got := r.ratios(loop, column{oneFlow, "", false}); got != nil {
		t.Errorf("of a way that isn't there: %v", got)
	}
}
