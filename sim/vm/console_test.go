package vm_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/sim/vm"
)

func console(t *testing.T, path string) *vm.Console {
	t.Helper()
	c, err := vm.OpenConsole(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConsoleIsHarmless(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	c := console(t, path)
	said := []byte("one\r\n\x1b[2Jtwo\ttabs\x00\x7f\xff\xc3\xa9\n")
	if n, err := c.Write(said); err != nil || n != len(said) {
		t.Errorf("%d, %v", n, err)
	}
	if got, err := vm.ReadConsole(path); err != nil || got != "one\n[2Jtwo\ttabs\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestConsoleIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	c := console(t, path)
	line := strings.Repeat("x", 1023) + "\n"
	for range 5 * 1024 { // 5 MiB
		if _, err := c.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: %d bytes, %v", file, info.Size(), err)
		}
	}
	all, err := vm.ReadConsole(path)
	if err != nil || !strings.HasSuffix(all, "x\nlast words") || len(all) < 1<<20 {
		t.Errorf("%d bytes, %v", len(all), err)
	}
	// Another process appends, and keeps the bound.
	again := console(t, path)
	if _, err := again.Write(bytes.Repeat([]byte("y"), 3<<20)); err != nil {
		t.Fatal(err)
	}
	if all, err = vm.ReadConsole(path); err != nil || len(all) > 2<<20 || !strings.HasSuffix(all, "yyy") {
		t.Errorf("%d bytes, %v", len(all), err)
	}
}

// page is a writer that can be read meanwhile.
type page struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, done := &page{}, make(chan error, 1)
	go func() { done <- vm.FollowConsole(ctx, path, seen) }()
	c := console(t, path)
	var want strings.Builder
	for _, text := range []string{"first\n", "second\n", "third"} {
		want.WriteString(text)
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); seen.String() != want.String(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q, want %q", seen.String(), want.String())
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
