package cpio_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/image/cpio"
)

// entry is what the test's own reader finds.
type entry struct {
	name                              string
	number, mode, links, major, minor uint64
	data                              string
}

// read reads one archive and demands what every archive of ours has: no owner,
// no time, no checksum, zero padding, and a trailer at the very end.
func read(t *testing.T, archive []byte) []entry {
	t.Helper()
	var found []entry
	for at := 0; ; {
		if at%4 != 0 || len(archive) < at+110 || string(archive[at:at+6]) != "070701" {
			t.Fatalf("no header at %d of %d", at, len(archive))
		}
		var f [13]uint64
		for i := range f {
			text := string(archive[at+6+8*i : at+14+8*i])
			v, err := strconv.ParseUint(text, 16, 32)
			if err != nil || text != strings.ToLower(text) {
				t.Fatalf("field %d at %d is %q", i, at, text)
			}
			f[i] = v
		}
		for _, zero := range []int{2, 3, 5, 7, 8, 12} { // uid, gid, mtime, device, checksum
			if f[zero] != 0 {
				t.Fatalf("field %d at %d is %d", zero, at, f[zero])
			}
		}
		at += 110
		name := string(archive[at : at+int(f[11])-1])
		at = skip(t, archive, at+int(f[11])-1, 1)
		data := string(archive[at : at+int(f[6])])
		at = skip(t, archive, at+int(f[6]), 0)
		if name == "TRAILER!!!" {
			if at != len(archive) || f[0] != 0 || f[1] != 0 || f[4] != 1 || data != "" {
				t.Fatalf("the trailer ends at %d of %d: %v", at, len(archive), f)
			}
			return found
		}
		found = append(found, entry{name, f[0], f[1], f[4], f[9], f[10], data})
	}
}

// skip passes over at least least zeros to the next multiple of four.
func skip(t *testing.T, archive []byte, at, least int) int {
	t.Helper()
	end := (at + least + 3) / 4 * 4
	if len(archive) < end || len(bytes.Trim(archive[at:end], "\x00")) != 0 {
		t.Fatalf("padding at %d", at)
	}
	return end
}

func write(t *testing.T, entries []cpio.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := cpio.Write(&b, entries); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWrite(t *testing.T) {
	archive := write(t, []cpio.Entry{
		cpio.File("init", 0o755, []byte("hello")),
		cpio.Device("dev/console", 0o600, 5, 1),
		cpio.Directory("dev", 0o755),
		cpio.File("a", 0o400, nil),
	})
	want := []entry{
		{"a", 1, 0o100400, 1, 0, 0, ""},
		{"dev", 2, 0o040755, 2, 0, 0, ""},
		{"dev/console", 3, 0o020600, 1, 5, 1, ""},
		{"init", 4, 0o100755, 1, 0, 0, "hello"},
	}
	if got := read(t, archive); !slices.Equal(got, want) {
		t.Errorf("read %v\nwant %v", got, want)
	}
}

// TestBytes pins the form: one entry, written out by hand from the format's
// description.
func TestBytes(t *testing.T) {
	const want = "070701" + "00000001" + "000081ed" + "00000000" + "00000000" + "00000001" + "00000000" + "00000003" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\x00" + "\x00" + "abc\x00" +
		"070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000b" + "00000000" + "TRAILER!!!\x00" + "\x00\x00\x00"
	if got := write(t, []cpio.Entry{cpio.File("init", 0o755, []byte("abc"))}); string(got) != want {
		t.Errorf("wrote\n%s\nwant\n%s", hex.Dump(got), hex.Dump([]byte(want)))
	}
}

// TestRandom writes random trees in random orders and demands that each comes
// back whole, parents first, and that the order given doesn't matter.
func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		want := tree(r)
		var entries []cpio.Entry
		for name, e := range want {
			entries = append(entries, e.entry(name))
		}
		archive := write(t, entries)
		seen := map[string]bool{".": true}
		last := ""
		for i, e := range read(t, archive) {
			if got, ok := want[e.name]; !ok || got.mode != e.mode || got.data != e.data || got.minor != e.minor {
				t.Fatalf("%s came back as %v, was %v", e.name, e, got)
			}
			if e.number != uint64(i)+1 || e.name <= last || !seen[path.Dir(e.name)] {
				t.Fatalf("%s is number %d behind %s", e.name, e.number, last)
			}
			seen[e.name], last = true, e.name
		}
		if len(seen) != len(want)+1 {
			t.Fatalf("%d entries came back of %d", len(seen)-1, len(want))
		}
		r.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		if !bytes.Equal(write(t, entries), archive) {
			t.Fatal("another order gave other bytes")
		}
	}
}

// entry is the entry to write for what should come back.
func (e entry) entry(name string) cpio.Entry {
	mode := uint32(e.mode & 0o777)
	switch e.mode &^ 0o777 {
	case 0o040000:
		return cpio.Directory(name, mode)
	case 0o020000:
		return cpio.Device(name, mode, 0, uint32(e.minor))
	default:
		return cpio.File(name, mode, []byte(e.data))
	}
}

// tree is a random tree, by name.
func tree(r *rand.Rand) map[string]entry {
	all, directories := map[string]entry{}, []string{""}
	for i := range 1 + r.IntN(30) {
		// Characters around the slash in the order of bytes, where sorting could go wrong.
		name := directories[r.IntN(len(directories))] + string("-.!0aZ~"[r.IntN(7)]) + strconv.Itoa(i)
		mode := uint64(r.IntN(0o1000))
		switch r.IntN(3) {
		case 0:
			all[name] = entry{mode: 0o040000 | mode}
			directories = append(directories, name+"/")
		case 1:
			all[name] = entry{mode: 0o020000 | mode, minor: uint64(r.IntN(256))}
		default:
			all[name] = entry{mode: 0o100000 | mode, data: strings.Repeat("x", r.IntN(9))}
		}
	}
	return all
}

func TestRefuses(t *testing.T) {
	many := make([]cpio.Entry, cpio.MaxEntries+1)
	for i := range many {
		many[i] = cpio.File(fmt.Sprintf("f%06d", i), 0o644, nil)
	}
	half := make([]byte, cpio.MaxData/2+1)
	for name, c := range map[string]struct {
		entries []cpio.Entry
		want    string
	}{
		"no name":            {[]cpio.Entry{cpio.File("", 0o644, nil)}, "1 to 255"},
		"long name":          {[]cpio.Entry{cpio.File(strings.Repeat("a", 256), 0o644, nil)}, "1 to 255"},
		"absolute":           {[]cpio.Entry{cpio.File("/init", 0o644, nil)}, "clean path"},
		"upwards":            {[]cpio.Entry{cpio.File("../init", 0o644, nil)}, "clean path"},
		"parent":             {[]cpio.Entry{cpio.Directory("..", 0o755)}, "clean path"},
		"root":               {[]cpio.Entry{cpio.Directory(".", 0o755)}, "clean path"},
		"not clean":          {[]cpio.Entry{cpio.Directory("a", 0o755), cpio.File("a//b", 0o644, nil)}, "clean path"},
		"trailing slash":     {[]cpio.Entry{cpio.Directory("a/", 0o755)}, "clean path"},
		"NUL":                {[]cpio.Entry{cpio.File("a\x00b", 0o644, nil)}, "printable"},
		"blank":              {[]cpio.Entry{cpio.File("a b", 0o644, nil)}, "printable"},
		"not ASCII":          {[]cpio.Entry{cpio.File("\u00e4", 0o644, nil)}, "printable"},
		"not UTF-8":          {[]cpio.Entry{cpio.File("a\xff", 0o644, nil)}, "printable"},
		"the end's name":     {[]cpio.Entry{cpio.File("TRAILER!!!", 0o644, nil)}, "the end"},
		"set-user-ID":        {[]cpio.Entry{cpio.File("su", 0o4755, nil)}, "more than permissions"},
		"kind in the mode":   {[]cpio.Entry{cpio.File("link", 0o120777, nil)}, "more than permissions"},
		"zero entry":         {[]cpio.Entry{{}}, "1 to 255"},
		"twice":              {[]cpio.Entry{cpio.File("a", 0o644, nil), cpio.Directory("a", 0o755)}, "twice"},
		"no parent":          {[]cpio.Entry{cpio.File("dev/console", 0o644, nil)}, "its directory"},
		"parent is a file":   {[]cpio.Entry{cpio.File("dev", 0o644, nil), cpio.File("dev/console", 0o644, nil)}, "its directory"},
		"parent is a device": {[]cpio.Entry{cpio.Device("dev", 0o644, 5, 1), cpio.File("dev/console", 0o644, nil)}, "its directory"},
		"many entries":       {many, "1024 is the limit"},
		"much content":       {[]cpio.Entry{cpio.File("a", 0o644, half), cpio.File("b", 0o644, half)}, "bytes of content"},
	} {
		var b bytes.Buffer
		err := cpio.Write(&b, c.entries)
		if !errors.Is(err, cpio.ErrEntry) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if b.Len() != 0 {
			t.Errorf("%s: %d bytes were written", name, b.Len())
		}
	}
	if err := cpio.Write(io.Discard, many[:cpio.MaxEntries]); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
}

// full takes so many bytes and then no more.
type full int

func (f *full) Write(b []byte) (int, error) {
	if *f < full(len(b)) {
		return 0, io.ErrShortWrite
	}
	*f -= full(len(b))
	return len(b), nil
}

// TestWriterFails: a writer's error is answered wherever it happens.
func TestWriterFails(t *testing.T) {
	entries := []cpio.Entry{cpio.Directory("dev", 0o755), cpio.File("init", 0o755, []byte("hello"))}
	whole := len(write(t, entries))
	for room := range whole {
		f := full(room)
		if err := cpio.Write(&f, entries); !errors.Is(err, io.ErrShortWrite) {
			t.Fatalf("room for %d of %d bytes: %v", room, whole, err)
		}
	}
}

// TestKeepsEntries: what is given isn't sorted in place.
func TestKeepsEntries(t *testing.T) {
	entries := []cpio.Entry{cpio.File("b", 0o644, nil), cpio.File("a", 0o644, nil)}
	write(t, entries)
	if got := fmt.Sprint(entries); got != fmt.Sprint([]cpio.Entry{cpio.File("b", 0o644, nil), cpio.File("a", 0o644, nil)}) {
		t.Errorf("sorted in place: %s", got)
	}
}
