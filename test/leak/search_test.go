package leak_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// canary is a value that was planted, in every form in which it could turn up.
type canary struct {
	where string // it was planted
	forms map[string][]byte
}

// text is a planted text.
func text(where, value string) canary {
	c := canary{where, map[string][]byte{"text": []byte(value)}}
	c.forms["hex"] = []byte(hex.EncodeToString([]byte(value)))
	c.forms["HEX"] = bytes.ToUpper(c.forms["hex"])
	for shift := range 3 { // what stands before a text decides which base64 it has
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(append(make([]byte, shift), value...))
			from, to := (8*shift+5)/6, (8*shift+8*len(value))/6 // whole characters of the value
			c.forms[fmt.Sprint(name, " ", shift)] = []byte(encoded[from:to])
		}
	}
	return c
}

// number is a planted integer.
func number(where string, value int64) canary {
	return canary{where, map[string][]byte{
		"digits":        fmt.Append(nil, value),
		"little endian": binary.LittleEndian.AppendUint64(nil, uint64(value)),
		"big endian":    binary.BigEndian.AppendUint64(nil, uint64(value)),
	}}
}

// find answers in which form a canary stands in some bytes, "" for none.
func (c canary) find(in []byte) string {
	for name, form := range c.forms {
		if bytes.Contains(in, form) {
			return name
		}
	}
	return ""
}

// search reports every canary that stands in some bytes.
func search(t *testing.T, place string, in []byte, all []canary) {
	t.Helper()
	for _, c := range all {
		if form := c.find(in); form != "" {
			t.Errorf("%s holds what was planted %s, as %s", place, c.where, form)
		}
	}
}

// searchDir searches every file below a directory, and the names, but for those
// that skip names.
func searchDir(t *testing.T, dir string, all []canary, skip func(rel string) bool) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if !d.Type().IsRegular() || skip(rel) {
			return nil
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		files++
		search(t, rel, content, all)
		search(t, "the name of "+rel, []byte(rel), all)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return files
}

// memory answers what a running process can read of itself, mapping by mapping:
// what a core dump would hold. It must be this user's.
func memory(t *testing.T, pid int, visit func(mapping string, content []byte)) (bytesRead int) {
	t.Helper()
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if !strings.HasPrefix(mode, "r") || strings.Contains(lines.Text(), "[v") { // vvar, vsyscall: the kernel's
			continue
		}
		content := make([]byte, to-from)
		n, _ := mem.ReadAt(content, int64(from)) // a mapping may shrink meanwhile
		bytesRead += n
		visit(lines.Text(), content[:n])
	}
	return bytesRead
}

// searchMemory demands that no canary is in a process.
func searchMemory(t *testing.T, name string, pid int, all []canary) {
	t.Helper()
	n := memory(t, pid, func(mapping string, content []byte) { search(t, name+"'s memory "+mapping, content, all) })
	if n < 1<<20 {
		t.Errorf("%s: only %d bytes of memory were read", name, n)
	}
}

// inMemory says whether a canary is in a process, in one of these forms.
func inMemory(t *testing.T, pid int, c canary) (found bool) {
	t.Helper()
	memory(t, pid, func(_ string, content []byte) { found = found || c.find(content) != "" })
	return found
}

// TestSearchFinds holds that the search finds each form, whatever stands around.
func TestSearchFinds(t *testing.T) {
	const value = "kanari-3c9d-7f21"
	c := text("", value)
	for before := range 5 {
		for after := range 5 {
			around := []byte(strings.Repeat("x", before) + value + strings.Repeat("y", after))
			for name, form := range map[string]string{
				"text": string(around), "hex": hex.EncodeToString(around), "HEX": strings.ToUpper(hex.EncodeToString(around)),
				"base64": base64.StdEncoding.EncodeToString(around), "base64url": base64.URLEncoding.EncodeToString(around),
			} {
				if c.find([]byte(form)) == "" {
					t.Errorf("%d before, %d after: not found as %s", before, after, name)
				}
			}
		}
	}
	if c.find([]byte("kanari-3c9d-7f2")) != "" || number("", 77<<40).find(make([]byte, 100)) != "" {
		t.Error("found what isn't there")
	}
	own := number("", 0x5a17_c0de_0ddb_a11)
	if !inMemory(t, os.Getpid(), own) {
		t.Error("not found in this process")
	}
}
