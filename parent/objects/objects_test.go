package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/objects"
)

var ctx = context.Background()

func open(t *testing.T, dir string) *objects.Dir {
	t.Helper()
	d, err := objects.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestPutIfAbsent(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	const name = "manifest/00000000000000000001"
	if _, err := d.Get(ctx, name); !errors.Is(err, objects.ErrNotFound) {
		t.Fatalf("before: %v", err)
	}
	if err := d.PutIfAbsent(ctx, name, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := d.PutIfAbsent(ctx, name, []byte("one")); err != nil {
		t.Errorf("the same bytes again: %v", err)
	}
	for _, other := range []string{"two", "", "one more"} {
		if err := d.PutIfAbsent(ctx, name, []byte(other)); !errors.Is(err, objects.ErrExists) {
			t.Errorf("other bytes: %v", err)
		}
	}
	if got, err := d.Get(ctx, name); err != nil || string(got) != "one" {
		t.Errorf("got %q, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	leftovers(t, dir)
}

// leftovers demands that no temporary file is there.
func leftovers(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(e.Name(), ".tmp-") {
			t.Errorf("%s is left over", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSizes(t *testing.T) {
	d := open(t, t.TempDir())
	largest := make([]byte, limits.Object)
	largest[limits.Object-1] = 1
	for name, content := range map[string][]byte{"inbox/empty": {}, "inbox/largest": largest} {
		if err := d.PutIfAbsent(ctx, name, content); err != nil {
			t.Fatal(name, err)
		}
		if got, err := d.Get(ctx, name); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if err := d.PutIfAbsent(ctx, "inbox/over", append(largest, 1)); !errors.Is(err, objects.ErrTooLarge) {
		t.Errorf("over: %v", err)
	}
}

// TestGrownFile has somebody else replace a file by one over the limit: it
// must be refused by its size, before anything is read.
func TestGrownFile(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	if err := d.PutIfAbsent(ctx, "inbox/x", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "inbox", "x"), 1<<40); err != nil {
		t.Skip("no sparse files here: ", err)
	}
	if _, err := d.Get(ctx, "inbox/x"); !errors.Is(err, objects.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestNames(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(outside, "state")
	d := open(t, dir)
	if err := os.WriteFile(filepath.Join(outside, "x"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "inbox"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "inbox", "way-out")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"", "/", "x", "inbox", "inbox/", "/inbox/x", "inbox//x", "inbox/.", "inbox/..", "../x", "inbox/../../x", "inbox/./x",
		"inbox/.tmp-1", ".lock", "inbox/.hidden", "inbox/a b", "inbox/a\x00b", "inbox/ä", `inbox\x`, "inbox/a\n", "inbox/*",
		"inbox/" + strings.Repeat("a", limits.ObjectName),
	} {
		if err := d.PutIfAbsent(ctx, name, nil); !errors.Is(err, objects.ErrName) {
			t.Errorf("put %q: %v", name, err)
		}
		if _, err := d.Get(ctx, name); !errors.Is(err, objects.ErrName) {
			t.Errorf("get %q: %v", name, err)
		}
		if err := d.Delete(ctx, name); !errors.Is(err, objects.ErrName) {
			t.Errorf("delete %q: %v", name, err)
		}
		if name != "inbox/" {
			if _, err := d.List(ctx, name, "", 1); !errors.Is(err, objects.ErrName) {
				t.Errorf("list %q: %v", name, err)
			}
		}
	}
	if got, err := d.Get(ctx, "inbox/way-out/x"); err == nil {
		t.Errorf("a symbolic link led outside: %q", got)
	}
	if err := d.PutIfAbsent(ctx, "inbox/way-out/y", nil); err == nil {
		t.Error("a symbolic link led outside for writing")
	}
	if _, err := d.Get(ctx, "inbox/way-out"); err == nil {
		t.Error("a directory was read as an object")
	}
}

func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"inbox/aa", "a/b/c", "../x", "a//b", ".a/b", "a/.b", "a/b\x00", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if objects.CheckName(name) != nil {
			return
		}
		if !filepath.IsLocal(name) || filepath.Clean(name) != name || strings.Contains(name, "/.") || name[0] == '.' || len(name) > limits.ObjectName {
			t.Errorf("%q passes", name)
		}
	})
}

func TestOneWinner(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	const writers, rounds = 16, 25
	for round := range rounds {
		name := fmt.Sprintf("manifest/%020d", round)
		var wg sync.WaitGroup
		won := make([]bool, writers)
		for w := range writers {
			wg.Go(func() {
				err := d.PutIfAbsent(ctx, name, fmt.Appendf(nil, "writer %d", w))
				if err != nil && !errors.Is(err, objects.ErrExists) {
					t.Error(err)
				}
				won[w] = err == nil
				if _, err := d.List(ctx, "manifest/", "", 1000); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		winner := slices.Index(won, true)
		if winner < 0 || slices.Contains(won[winner+1:], true) {
			t.Fatalf("round %d: winners %v", round, won)
		}
		if got, err := d.Get(ctx, name); err != nil || string(got) != fmt.Sprintf("writer %d", winner) {
			t.Fatalf("round %d: %q, %v; writer %d won", round, got, err, winner)
		}
	}
	if names, err := d.List(ctx, "manifest/", "", 1000); err != nil || len(names) != rounds {
		t.Errorf("%d names, %v", len(names), err)
	}
	leftovers(t, dir)
}

func TestList(t *testing.T) {
	d := open(t, t.TempDir())
	if names, err := d.List(ctx, "audit/", "", 10); err != nil || len(names) != 0 {
		t.Fatalf("a directory that isn't there: %v, %v", names, err)
	}
	// In and out of order, with listings in between, so that the cache meets both.
	for _, base := range []string{"05", "07", "03", "09", "01"} {
		if err := d.PutIfAbsent(ctx, "audit/"+base, []byte(base)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.List(ctx, "audit/", "", 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.PutIfAbsent(ctx, "audit/deeper/06", nil); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		after string
		limit int
		want  string
	}{
		{"", 10, "audit/01 audit/03 audit/05 audit/07 audit/09"},
		{"", 2, "audit/01 audit/03"},
		{"audit/03", 2, "audit/05 audit/07"},
		{"audit/04", 2, "audit/05 audit/07"},
		{"audit/09", 2, ""},
		{"audit/0", 1, "audit/01"},
		{"zzz", 1, ""},
		{"", 0, ""},
		{"", -1, ""},
	} {
		names, err := d.List(ctx, "audit/", tt.after, tt.limit)
		if got := strings.Join(names, " "); err != nil || got != tt.want {
			t.Errorf("after %q limit %d: %q, %v; want %q", tt.after, tt.limit, got, err, tt.want)
		}
	}
	if err := d.Delete(ctx, "audit/05"); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(ctx, "audit/05"); err != nil {
		t.Errorf("deleting twice: %v", err)
	}
	if names, _ := d.List(ctx, "audit/", "audit/03", 1); len(names) != 1 || names[0] != "audit/07" {
		t.Errorf("after deletion: %v", names)
	}
}

func TestEntriesInOrderOfArrival(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, base := range []string{"cc", "aa", "bb", "ab"} {
		if err := d.PutIfAbsent(ctx, "inbox/"+base, []byte(base)); err != nil {
			t.Fatal(err)
		}
		at := begin.Add(time.Duration(min(i, 2)) * time.Second) // the last two at once
		if err := os.Chtimes(filepath.Join(dir, "inbox", base), at, at); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := d.Entries(ctx, "inbox/")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name)
	}
	if want := []string{"inbox/cc", "inbox/aa", "inbox/ab", "inbox/bb"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !entries[0].Stored.Equal(begin) {
		t.Errorf("stored %v", entries[0].Stored)
	}
}

func TestSecondParentIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	_, err := objects.Open(dir)
	if !errors.Is(err, objects.ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	if want := "objects: another cloister-parent has this directory: " + dir; err.Error() != want {
		t.Errorf("message %q, want %q", err, want)
	}
	first.Close()
	open(t, dir)
}

// TestKilledHolder kills a process that holds the directory in the middle of
// its work: the lock goes with it, and what it had not finished is removed.
func TestKilledHolder(t *testing.T) {
	if dir := os.Getenv("OBJECTS_TEST_HOLD"); dir != "" {
		d, err := objects.Open(dir)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		_ = d.PutIfAbsent(ctx, "manifest/1", []byte("durable"))
		fmt.Println("held")
		select {}
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestKilledHolder$")
	cmd.Env = append(os.Environ(), "OBJECTS_TEST_HOLD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	word := make([]byte, 4)
	if _, err := out.Read(word); err != nil || string(word) != "held" {
		t.Fatalf("holder said %q, %v", word, err)
	}
	if _, err := objects.Open(dir); !errors.Is(err, objects.ErrLocked) {
		t.Errorf("while it lives: %v", err)
	}
	unfinished := filepath.Join(dir, "manifest", ".tmp-unfinished")
	if err := os.WriteFile(unfinished, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	d := open(t, dir)
	leftovers(t, dir)
	if got, err := d.Get(ctx, "manifest/1"); err != nil || string(got) != "durable" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(t.TempDir(), "missing", "state")} {
		if d, err := objects.Open(dir); err == nil {
			d.Close()
			t.Errorf("opened %s", dir)
		}
	}
}

func BenchmarkPutIfAbsent(b *testing.B) {
	d, err := objects.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	content := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		if err := d.PutIfAbsent(ctx, fmt.Sprintf("manifest/%020d", i), content); err != nil {
			b.Fatal(err)
		}
	}
}
