package eif_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/eif"
)

// linear measures as a reader without the table does: section by section to the
// file's end.
func linear(raw []byte) (pcr0, pcr1, pcr2 eif.PCR) {
	var all, first, rest [][]byte
	ramdisks := 0
	for body := raw[548:]; len(body) > 0; {
		kind, size := binary.BigEndian.Uint16(body), binary.BigEndian.Uint64(body[4:])
		data := body[12 : 12+size]
		body = body[12+size:]
		if kind > 3 {
			continue
		}
		all = append(all, data)
		if kind == 3 {
			ramdisks++
		}
		switch {
		case kind == 3 && ramdisks > 1:
			rest = append(rest, data)
		default:
			first = append(first, data)
		}
	}
	return pcr(all...), pcr(first...), pcr(rest...)
}

// random makes an image that is accepted, in any order and number that are.
func random(r *rand.Rand) image {
	data := func(prefix string) []byte {
		b := make([]byte, r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return append([]byte(prefix), b...)
	}
	sections := []section{
		{1, 0, data("kernel")}, {2, 0, []byte("console=ttyS0 " + strings.Repeat("x", r.IntN(50)))}, {5, 0, []byte(metadata)},
	}
	for range 1 + r.IntN(28) {
		sections = append(sections, section{3, 0, data([]string{"070701", "\x1f\x8b"}[r.IntN(2)])})
	}
	r.Shuffle(len(sections), func(i, j int) { sections[i], sections[j] = sections[j], sections[i] })
	// The kernel stands before every ramdisk.
	for i := range sections {
		if sections[i].kind == 1 {
			for k := range i {
				if sections[k].kind == 3 {
					sections[i], sections[k] = sections[k], sections[i]
					break
				}
			}
			break
		}
	}
	return image{magic: ".eif", version: uint16(4), flags: uint16(r.IntN(2)), sections: sections}
}

// TestTableWalkIsLinearWalk: readers that follow the table and readers that
// follow the file measure every accepted image alike.
func TestTableWalkIsLinearWalk(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 200 {
		raw := random(r).bytes()
		got, _, err := verdict(t, raw)
		if err != nil {
			t.Fatalf("image %d: %v", i, err)
		}
		if pcr0, pcr1, pcr2 := linear(raw); got.PCR0 != pcr0 || got.PCR1 != pcr1 || got.PCR2 != pcr2 {
			t.Errorf("image %d: a linear reader measures otherwise", i)
		}
	}
}

// TestOtherTimeOfBuilding: the same measurements, another file.
func TestOtherTimeOfBuilding(t *testing.T) {
	one, _, err := verdict(t, good().bytes())
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := verdict(t, with(func(m *image) {
		m.sections[2].data = bytes.Replace([]byte(metadata), []byte("2026"), []byte("2027"), 1)
	}).bytes())
	if err != nil {
		t.Fatal(err)
	}
	if one.PCR0 != other.PCR0 || one.PCR1 != other.PCR1 || one.PCR2 != other.PCR2 {
		t.Error("the time of building is measured")
	}
	if one.Digest == other.Digest {
		t.Error("the files have the same digest")
	}
}

// TestEveryBit flips every bit of an image and repairs its checksum: the change
// is refused, or seen in a measurement, in the metadata, in what is shown of
// the header. The file's digest sees all of them.
func TestEveryBit(t *testing.T) {
	raw := good().bytes()
	before, _, err := verdict(t, raw)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(b []byte) string {
		m, err := eif.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		var header [20]byte
		binary.BigEndian.PutUint16(header[:], uint16(m.Version()))
		binary.BigEndian.PutUint16(header[2:], uint16(m.Arch()))
		binary.BigEndian.PutUint64(header[4:], m.Memory())
		binary.BigEndian.PutUint64(header[12:], m.CPUs())
		var remarks bytes.Buffer
		if err := m.Copy(&remarks, m.Sections()[2]); err != nil {
			t.Fatal(err)
		}
		return string(header[:]) + remarks.String()
	}
	was := shown(raw)
	for i := range 8 * len(raw) {
		at := i / 8
		if at >= 0x220 && at < 548 {
			continue
		}
		changed := bytes.Clone(raw)
		changed[at] ^= 1 << (i % 8)
		binary.BigEndian.PutUint32(changed[0x220:], crc32.Update(crc32.ChecksumIEEE(changed[:0x220]), crc32.IEEETable, changed[548:]))
		after, _, err := verdict(t, changed)
		if err != nil {
			if _, ok := errors.AsType[*eif.Error](err); !ok {
				t.Fatalf("bit %d: %v", i, err)
			}
			continue
		}
		if after.Digest == before.Digest {
			t.Errorf("bit %d: the digest doesn't see it", i)
		}
		if after.PCR0 == before.PCR0 && after.PCR1 == before.PCR1 && after.PCR2 == before.PCR2 && shown(changed) == was {
			t.Errorf("bit %d can change unseen", i)
		}
	}
}
