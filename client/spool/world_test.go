package spool_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/client/spool"
	"github.com/cloisterhq/cloister/internal/secret"
)

func info() spool.Info {
	return spool.Info{Deployment: "colon-study", Dataset: "colon", Producer: "clinic-a", Stream: "s-1", Input: "sha256:00", Format: "csv", Records: 30}
}

// batch is the n-th batch of ten records.
func batch(n uint64) *spool.Batch {
	return &spool.Batch{
		Sequence: n, First: int(10 * n), Rows: 10, ReportKey: secret.New(bytes.Repeat([]byte{byte(n + 1)}, 32)),
		Envelope: bytes.Repeat([]byte{byte(n + 1)}, 100),
	}
}

// held is its receipt.
func held(n uint64) *spool.Held {
	return &spool.Held{
		Sequence: n, First: int(10 * n), Rows: 10, ReportKey: secret.New(bytes.Repeat([]byte{byte(n + 1)}, 32)),
		Digest: [32]byte{byte(n + 1)}, Receipt: []byte("receipt"), Report: []byte("report"), ServiceKey: []byte("key"),
	}
}

func open(t testing.TB, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// begin opens the stream of info, which the test closes if nobody has.
func begin(t testing.TB, s *spool.Spool) *spool.Stream {
	t.Helper()
	st, err := s.Begin(t.Context(), info(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func put(t testing.TB, st *spool.Stream, n uint64) {
	t.Helper()
	if err := st.Put(batch(n)); err != nil {
		t.Fatal(err)
	}
}

func settle(t testing.TB, st *spool.Stream, n uint64) {
	t.Helper()
	if err := st.Settle(held(n)); err != nil {
		t.Fatal(err)
	}
}

// state is the content of a directory.
type state map[string]string

func read(t testing.TB, dir string) state {
	t.Helper()
	s := state{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")
		if e.IsDir() {
			s[name+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(path)
		s[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// write makes a directory with this content.
func (s state) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range s {
		path := filepath.Join(dir, name)
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o700)
		} else if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// find answers the one name that ends so.
func (s state) find(t testing.TB, suffix string) string {
	t.Helper()
	for name := range s {
		if strings.HasSuffix(name, suffix) {
			return name
		}
	}
	t.Fatalf("no %s", suffix)
	return ""
}
