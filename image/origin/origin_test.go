package origin_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/image/origin"
	"github.com/cloisterhq/cloister/image/reference"
)

// repository is a new one with one commit of the year 2023; git sees no
// configuration but its own.
func repository(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	dir := t.TempDir()
	for name, value := range map[string]string{
		"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
		"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": "@1700000000 +0200",
	} {
		t.Setenv(name, value)
	}
	put(t, dir, "file", "1")
	put(t, dir, ".gitignore", "ignored\n")
	for _, args := range []string{"init -q", "add .", "commit -q -m first"} {
		cmd := exec.Command("git", strings.Fields(args)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	return dir
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func of(t *testing.T, dir, epoch string) reference.Source {
	t.Helper()
	s, err := origin.Of(t.Context(), dir, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRepository(t *testing.T) {
	dir := repository(t)
	s := of(t, dir, "")
	if len(s.Commit) != 40 || s.Modified || s.Date != time.Unix(1700000000, 0).UTC() {
		t.Errorf("as committed: %+v", s)
	}
	put(t, dir, "ignored", "1")
	if of(t, dir, "").Modified {
		t.Error("an ignored file counts")
	}
	put(t, dir, "new", "1")
	if !of(t, dir, "").Modified {
		t.Error("a new file doesn't count")
	}
	if err := os.Remove(filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "file", "2")
	changed := of(t, dir, "5")
	if !changed.Modified || changed.Commit != s.Commit || changed.Date != time.Unix(5, 0).UTC() {
		t.Errorf("changed, with a date: %+v", changed)
	}
}

func TestNoRepository(t *testing.T) {
	t.Setenv("GIT_CEILING_DIRECTORIES", os.TempDir())
	dir := t.TempDir()
	if s := of(t, dir, ""); s != (reference.Source{Commit: reference.Unknown, Date: time.Unix(0, 0).UTC()}) {
		t.Errorf("no repository: %+v", s)
	}
	if s := of(t, dir, "1700000000"); s.Date.Unix() != 1700000000 || s.Date.Location() != time.UTC {
		t.Errorf("with a date: %+v", s)
	}
	if s := of(t, dir, "253402300799"); s.Date.Year() != 9999 {
		t.Errorf("the last date: %+v", s)
	}
	for _, epoch := range []string{"-1", "now", "1.5", " 1", "253402300800", "99999999999999999999"} {
		if s, err := origin.Of(t.Context(), dir, epoch); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
			t.Errorf("%q: %+v, %v", epoch, s, err)
		}
	}
}
