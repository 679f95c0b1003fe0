package eif_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"hash/crc32"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/eif"
)

// emptyPCR is the register over nothing, as published for images with one
// ramdisk.
const emptyPCR = "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"

// section is one section of an image that a test writes by hand.
type section struct {
	kind  uint16
	flags uint16
	data  []byte
}

// image is an image that can be wrong in every way.
type image struct {
	magic    string
	version  uint16
	flags    uint16
	reserved uint16
	sections []section
	// count is num_sections when it isn't the number of sections.
	count int
	// edit changes the header before the checksum is made.
	edit    func(header []byte)
	trailer []byte
	badCRC  bool
}

const metadata = `{"ImageName":"t","ImageVersion":"1","BuildMetadata":{"BuildTime":"2026-01-01T00:00:00Z","BuildTool":"t","BuildToolVersion":"1","OperatingSystem":"Linux","KernelVersion":"6.12"},"DockerInfo":{}}`

func cpio(text string) []byte { return []byte("070701" + text) }

func good() image {
	return image{magic: ".eif", version: 4, sections: []section{
		{1, 0, []byte("a kernel, ending in zeros\x00\x00")}, {2, 0, []byte("console=ttyS0")}, {5, 0, []byte(metadata)}, {3, 0, cpio("first")}, {3, 0, cpio("second")},
	}}
}

func (m image) bytes() []byte {
	header := make([]byte, 548)
	copy(header, m.magic)
	binary.BigEndian.PutUint16(header[4:], m.version)
	binary.BigEndian.PutUint16(header[6:], m.flags)
	binary.BigEndian.PutUint16(header[0x18:], m.reserved)
	n := len(m.sections)
	if m.count != 0 {
		n = m.count
	}
	binary.BigEndian.PutUint16(header[0x1a:], uint16(n))
	var body []byte
	for i, s := range m.sections {
		if i < 32 {
			binary.BigEndian.PutUint64(header[0x1c+8*i:], uint64(548+len(body)))
			binary.BigEndian.PutUint64(header[0x11c+8*i:], uint64(len(s.data)))
		}
		body = binary.BigEndian.AppendUint16(body, s.kind)
		body = binary.BigEndian.AppendUint16(body, s.flags)
		body = binary.BigEndian.AppendUint64(body, uint64(len(s.data)))
		body = append(body, s.data...)
	}
	if m.edit != nil {
		m.edit(header)
	}
	body = append(body, m.trailer...)
	sum := crc32.Update(crc32.ChecksumIEEE(header[:0x220]), crc32.IEEETable, body)
	if m.badCRC {
		sum ^= 1
	}
	binary.BigEndian.PutUint32(header[0x220:], sum)
	return append(header, body...)
}

// verdict reads a whole image and answers its measurement and the first refusal.
func verdict(t *testing.T, raw []byte) (*eif.Measurement, *eif.Signer, error) {
	t.Helper()
	m, err := eif.Open(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, nil, err
	}
	measured, err := m.Measure(t.Context(), nil)
	if err != nil {
		return nil, nil, err
	}
	if !measured.CRC {
		return measured, nil, &eif.Error{Class: eif.BadCRC}
	}
	if err := m.Check(); err != nil {
		return measured, nil, err
	}
	signer, err := m.SignedBy(measured.PCR0)
	return measured, signer, err
}

// pcr computes a register from contents, as the specification says it.
func pcr(contents ...[]byte) eif.PCR {
	inner := sha512.Sum384(bytes.Join(contents, nil))
	return sha512.Sum384(append(make([]byte, 48), inner[:]...))
}

func TestMeasure(t *testing.T) {
	kernel, line, first, second, third := []byte("kernel"), []byte("line"), cpio("1"), cpio("2"), cpio("3")
	one := []section{{1, 0, kernel}, {2, 0, line}, {5, 0, []byte(metadata)}, {3, 0, first}}
	tests := map[string]struct {
		image image
		want  [3]eif.PCR
	}{
		"one ramdisk": {image{magic: ".eif", version: 4, sections: one}, [3]eif.PCR{pcr(kernel, line, first), pcr(kernel, line, first), pcr()}},
		"three ramdisks": {image{magic: ".eif", version: 4, sections: append(one[:4:4], section{3, 0, second}, section{3, 0, third})},
			[3]eif.PCR{pcr(kernel, line, first, second, third), pcr(kernel, line, first), pcr(second, third)}},
		"aarch64":    {image{magic: ".eif", version: 4, flags: 1, sections: one}, [3]eif.PCR{pcr(kernel, line, first), pcr(kernel, line, first), pcr()}},
		"version 3":  {image{magic: ".eif", version: 3, sections: []section{one[0], one[1], one[3]}}, [3]eif.PCR{pcr(kernel, line, first), pcr(kernel, line, first), pcr()}},
		"line first": {image{magic: ".eif", version: 4, sections: []section{one[1], one[0], one[2], one[3]}}, [3]eif.PCR{pcr(line, kernel, first), pcr(line, kernel, first), pcr()}},
		"line last": {image{magic: ".eif", version: 4, sections: []section{one[0], one[3], {3, 0, second}, one[2], one[1]}},
			[3]eif.PCR{pcr(kernel, first, second, line), pcr(kernel, first, line), pcr(second)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, _, err := verdict(t, tt.image.bytes())
			if err != nil {
				t.Fatal(err)
			}
			if [3]eif.PCR{got.PCR0, got.PCR1, got.PCR2} != tt.want {
				t.Errorf("got %v %v %v\nwant %v", got.PCR0, got.PCR1, got.PCR2, tt.want)
			}
		})
	}
	if pcr().String() != emptyPCR {
		t.Error("the register over nothing isn't the published one")
	}
}

// TestBigSections has sections over many blocks, whose borders fall anywhere.
func TestBigSections(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for range 8 {
		bytesOf := func(prefix string) []byte {
			b := make([]byte, random.IntN(3<<20))
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			return append([]byte(prefix), b...)
		}
		kernel, first, second, third := bytesOf("k"), bytesOf("070701"), bytesOf("070701"), bytesOf("\x1f\x8b")
		raw := image{magic: ".eif", version: 4, sections: []section{
			{1, 0, kernel}, {2, 0, []byte("x")}, {5, 0, []byte(metadata)}, {3, 0, first}, {3, 0, second}, {3, 0, third},
		}}.bytes()
		got, _, err := verdict(t, raw)
		if err != nil {
			t.Fatal(err)
		}
		x := []byte("x")
		if got.PCR0 != pcr(kernel, x, first, second, third) || got.PCR1 != pcr(kernel, x, first) || got.PCR2 != pcr(second, third) {
			t.Error("measured otherwise than by hand")
		}
	}
}

// with answers a good image with one thing changed.
func with(change func(*image)) image {
	m := good()
	change(&m)
	return m
}

func swap(header []byte, i, j int) {
	for _, table := range []int{0x1c, 0x11c} {
		var tmp [8]byte
		copy(tmp[:], header[table+8*i:])
		copy(header[table+8*i:], header[table+8*j:table+8*j+8])
		copy(header[table+8*j:], tmp[:])
	}
}

func put64(at int, v uint64) func([]byte) {
	return func(h []byte) { binary.BigEndian.PutUint64(h[at:], v) }
}

func TestRefused(t *testing.T) {
	tests := map[string]struct {
		image image
		class eif.Class
	}{
		"magic":              {with(func(m *image) { m.magic = ".elf" }), eif.BadHeader},
		"version 1":          {with(func(m *image) { m.version = 1 }), eif.BadHeader},
		"version 5":          {with(func(m *image) { m.version = 5 }), eif.BadHeader},
		"reserved flag":      {with(func(m *image) { m.flags = 2 }), eif.BadHeader},
		"reserved field":     {with(func(m *image) { m.reserved = 1 }), eif.BadHeader},
		"unused field":       {with(func(m *image) { m.edit = func(h []byte) { h[0x21f] = 1 } }), eif.BadHeader},
		"33 sections":        {with(func(m *image) { m.count = 33 }), eif.BadHeader},
		"no sections":        {with(func(m *image) { m.edit = func(h []byte) { h[0x1b] = 0 } }), eif.BadHeader},
		"one fewer":          {with(func(m *image) { m.count = 4 }), eif.BadTable},
		"one more":           {with(func(m *image) { m.count = 6 }), eif.BadTable},
		"crc":                {with(func(m *image) { m.badCRC = true }), eif.BadCRC},
		"type 0":             {with(func(m *image) { m.sections[4].kind = 0 }), eif.BadSections},
		"type 6":             {with(func(m *image) { m.sections[4].kind = 6 }), eif.BadSections},
		"section flag":       {with(func(m *image) { m.sections[4].flags = 1 }), eif.BadSections},
		"two kernels":        {with(func(m *image) { m.sections[4].kind = 1 }), eif.BadSections},
		"no kernel":          {with(func(m *image) { m.sections = m.sections[1:] }), eif.BadSections},
		"two lines":          {with(func(m *image) { m.sections[4].kind = 2 }), eif.BadSections},
		"no line":            {with(func(m *image) { m.sections = append(m.sections[:1], m.sections[2:]...) }), eif.BadSections},
		"no ramdisk":         {with(func(m *image) { m.sections = m.sections[:3] }), eif.BadSections},
		"no metadata":        {with(func(m *image) { m.sections = append(m.sections[:2], m.sections[3:]...) }), eif.BadSections},
		"two metadata":       {with(func(m *image) { m.sections = append(m.sections, section{5, 0, []byte(metadata)}) }), eif.BadSections},
		"two signatures":     {with(func(m *image) { m.sections = append(m.sections, section{4, 0, nil}, section{4, 0, nil}) }), eif.BadSections},
		"ramdisk first":      {with(func(m *image) { m.sections = append([]section{{3, 0, cpio("0")}}, m.sections...) }), eif.BadSections},
		"table size":         {with(func(m *image) { m.edit = put64(0x11c+8*4, 3) }), eif.BadTable},
		"swapped offsets":    {with(func(m *image) { m.edit = func(h []byte) { swap(h, 3, 4) } }), eif.BadTable},
		"one section twice":  {with(func(m *image) { m.edit = func(h []byte) { copy(h[0x1c+32:0x1c+40], h[0x1c+24:]) } }), eif.BadTable},
		"huge size":          {with(func(m *image) { m.edit = put64(0x11c+8*4, 1<<62) }), eif.BadTable},
		"wrapping size":      {with(func(m *image) { m.edit = put64(0x11c+8*4, 1<<64-8) }), eif.BadTable},
		"wrapping offset":    {with(func(m *image) { m.edit = put64(0x1c+8*4, 1<<64-8) }), eif.BadTable},
		"trailing":           {with(func(m *image) { m.trailer = make([]byte, 16) }), eif.BadTable},
		"trailing byte":      {with(func(m *image) { m.trailer = []byte{0} }), eif.BadTable},
		"unused entry":       {with(func(m *image) { m.edit = put64(0x1c+8*31, 1) }), eif.BadTable},
		"empty line":         {with(func(m *image) { m.sections[1].data = nil }), eif.Ambiguous},
		"NUL in the line":    {with(func(m *image) { m.sections[1].data = []byte("a\x00b") }), eif.Ambiguous},
		"newline":            {with(func(m *image) { m.sections[1].data = []byte("a\n") }), eif.Ambiguous},
		"empty ramdisk":      {with(func(m *image) { m.sections[4].data = nil }), eif.Ambiguous},
		"ramdisk of nothing": {with(func(m *image) { m.sections[3].data = []byte("x070701") }), eif.Ambiguous},
		"not JSON":           {with(func(m *image) { m.sections[2].data = []byte("{") }), eif.BadMetadata},
		"two JSON objects":   {with(func(m *image) { m.sections[2].data = []byte("{}{}") }), eif.BadMetadata},
		"a JSON list":        {with(func(m *image) { m.sections[2].data = []byte("[]") }), eif.BadMetadata},
		"a name twice":       {with(func(m *image) { m.sections[2].data = []byte(`{"A":1,"A":2}`) }), eif.BadMetadata},
		"a wrong type":       {with(func(m *image) { m.sections[2].data = []byte(`{"ImageName":1}`) }), eif.BadMetadata},
		"deep": {with(func(m *image) {
			m.sections[2].data = append(bytes.Repeat([]byte(`{"a":`), 50), bytes.Repeat([]byte("}"), 50)...)
		}), eif.BadMetadata},
		"empty signature": {with(func(m *image) { m.sections = append(m.sections, section{4, 0, nil}) }), eif.BadSignature},
		"signature in v2": {with(func(m *image) { m.version = 2; m.sections = append(m.sections, section{4, 0, nil}) }), eif.BadSections},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := verdict(t, tt.image.bytes())
			refusal, ok := errors.AsType[*eif.Error](err)
			if !ok || refusal.Class != tt.class {
				t.Errorf("got %v, want class %q", err, tt.class)
			}
		})
	}
}

// TestTruncated cuts a good image at every byte.
func TestTruncated(t *testing.T) {
	raw := good().bytes()
	if _, _, err := verdict(t, raw); err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		if _, _, err := verdict(t, raw[:n]); err == nil {
			t.Fatalf("%d of %d bytes pass", n, len(raw))
		}
	}
}

// TestChanged changes every byte: the checksum notices, and with a repaired one
// the change is refused or seen in a measurement, in the metadata or in a
// header field that is shown.
func TestChanged(t *testing.T) {
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
		section := m.Sections()[2]
		remarks := b[section.Offset : section.Offset+section.Size]
		return m.Arch().String() + string(rune(m.Version())) + string(b[8:24]) + string(remarks)
	}
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 0x20
		if _, _, err := verdict(t, changed); err == nil {
			t.Fatalf("byte %d: the checksum doesn't notice", i)
		}
		if i >= 0x220 && i < 548 {
			continue
		}
		binary.BigEndian.PutUint32(changed[0x220:], crc32.Update(crc32.ChecksumIEEE(changed[:0x220]), crc32.IEEETable, changed[548:]))
		after, _, err := verdict(t, changed)
		if err == nil && after.PCR0 == before.PCR0 && after.PCR1 == before.PCR1 && after.PCR2 == before.PCR2 && shown(changed) == shown(raw) {
			t.Errorf("byte %d can change unseen", i)
		}
	}
}

// TestTwins moves bytes over the borders that nothing separates.
func TestTwins(t *testing.T) {
	original, _, err := verdict(t, good().bytes())
	if err != nil {
		t.Fatal(err)
	}
	between, _, err := verdict(t, with(func(m *image) {
		m.sections[3].data, m.sections[4].data = cpio("first070"), []byte("701second")
	}).bytes())
	if between.PCR0 != original.PCR0 || between.PCR1 == original.PCR1 || between.PCR2 == original.PCR2 {
		t.Error("between ramdisks: PCR0 alone stays")
	}
	if err == nil {
		t.Error("between ramdisks: passes")
	}
	for name, m := range map[string]image{
		"ramdisk to line": with(func(m *image) {
			m.sections[1].data, m.sections[3].data = []byte("console=ttyS0070"), []byte("701first")
		}),
		"kernel's zeros to line": with(func(m *image) {
			m.sections[0].data, m.sections[1].data = []byte("a kernel, ending in zeros\x00"), []byte("\x00console=ttyS0")
		}),
	} {
		twin, _, err := verdict(t, m.bytes())
		if twin.PCR0 != original.PCR0 || twin.PCR1 != original.PCR1 || twin.PCR2 != original.PCR2 {
			t.Errorf("%s: isn't a twin", name)
		}
		if refusal, ok := errors.AsType[*eif.Error](err); !ok || refusal.Class != eif.Ambiguous {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKernelSize is a bzImage whose header says another size than its section.
func TestKernelSize(t *testing.T) {
	kernel := make([]byte, 3*512+16*4)
	copy(kernel[0x202:], "HdrS")
	kernel[0x1f1] = 2
	binary.LittleEndian.PutUint32(kernel[0x1f4:], 4)
	if _, _, err := verdict(t, with(func(m *image) { m.sections[0].data = kernel }).bytes()); err != nil {
		t.Error(err)
	}
	_, _, err := verdict(t, with(func(m *image) { m.sections[0].data = append(kernel, make([]byte, 16)...) }).bytes())
	if refusal, ok := errors.AsType[*eif.Error](err); !ok || refusal.Class != eif.Ambiguous {
		t.Errorf("slack after the kernel: %v", err)
	}
}

// newSigner makes a key and its certificate in PEM.
func newSigner(t *testing.T, curve elliptic.Curve) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	return newSignerUntil(t, curve, 4e9)
}

// newSignerUntil makes one whose certificate ends at a Unix second.
func newSignerUntil(t *testing.T, curve elliptic.Curve, end int64) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(end, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// build writes a plan to a file and answers its bytes.
func build(t *testing.T, p eif.Plan) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.eif")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := p.Write(f); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func plan(signature []byte) eif.Plan {
	source := func(b []byte) eif.Source { return eif.Source{Data: bytes.NewReader(b), Size: int64(len(b))} }
	return eif.Plan{
		Kernel: source([]byte("a kernel, ending in zeros\x00\x00")), CommandLine: "console=ttyS0", Metadata: []byte(metadata),
		Ramdisks: []eif.Source{source(cpio("first")), source(cpio("second"))}, Signature: signature,
	}
}

// TestBuild demands that the writer makes what a test writes by hand, but for
// the two defaults in the header.
func TestBuild(t *testing.T) {
	want := with(func(m *image) {
		m.edit = func(h []byte) {
			binary.BigEndian.PutUint64(h[8:], 1<<30)
			binary.BigEndian.PutUint64(h[16:], 2)
		}
	}).bytes()
	if got := build(t, plan(nil)); !bytes.Equal(got, want) {
		t.Error("the writer makes other bytes")
	}
}

func TestSign(t *testing.T) {
	unsigned, _, err := verdict(t, build(t, plan(nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, certificate := newSigner(t, curve)
		section, err := eif.Sign(unsigned.PCR0, certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		again, err := eif.Sign(unsigned.PCR0, certificate, key)
		if err != nil || !bytes.Equal(section, again) {
			t.Error("the same image is signed by other bytes")
		}
		signed, signer, err := verdict(t, build(t, plan(section)))
		if err != nil || signer == nil {
			t.Fatalf("%s: %v", curve.Params().Name, err)
		}
		block, _ := pem.Decode(certificate)
		if signed.PCR0 != unsigned.PCR0 || signer.PCR8 != pcr(block.Bytes) {
			t.Errorf("%s: PCR0 %v, PCR8 %v", curve.Params().Name, signed.PCR0, signer.PCR8)
		}
	}
}

// TestBadSignatures has signatures that other readers may take.
func TestBadSignatures(t *testing.T) {
	measured, _, err := verdict(t, build(t, plan(nil)))
	if err != nil {
		t.Fatal(err)
	}
	key, certificate := newSigner(t, elliptic.P384())
	other, _ := newSigner(t, elliptic.P384())
	section, err := eif.Sign(measured.PCR0, certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := eif.Sign(measured.PCR0, certificate, other); err == nil {
		t.Error("signs with another key than the certificate's")
	}
	if _, err := eif.Sign(measured.PCR0, append(bytes.Clone(certificate), certificate...), key); err == nil {
		t.Error("takes two certificates")
	}
	foreign, err := eif.Sign(eif.PCR{1}, certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.Clone(section)
	last[len(last)-1] ^= 1
	for name, bad := range map[string][]byte{
		"another image": foreign, "one bit": last, "cut": section[:len(section)-1], "trailing": append(bytes.Clone(section), 0),
		"two entries": append(append([]byte{0x82}, section[1:]...), section[1:]...), "empty array": {0x80}, "not CBOR": {0xff},
		"byte strings": {0x81, 0xa2, 0x73, 's', 'i', 'g', 'n', 'i', 'n', 'g', '_', 'c', 'e', 'r', 't', 'i', 'f', 'i', 'c', 'a', 't', 'e', 0x41, 1, 0x69, 's', 'i', 'g', 'n', 'a', 't', 'u', 'r', 'e', 0x41, 1},
		"too large":    append(bytes.Clone(section), make([]byte, 32<<10)...),
	} {
		_, _, err := verdict(t, build(t, plan(bad)))
		if err == nil {
			t.Errorf("%s: passes", name)
		}
	}
}

// TestShrinking has a file that becomes shorter while it is read.
func TestShrinking(t *testing.T) {
	raw := good().bytes()
	m, err := eif.Open(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	short, err := eif.Open(shrinking{raw, len(raw) - 3}, int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := short.Measure(t.Context(), nil); err == nil {
		t.Error("measures bytes that aren't there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Measure(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type shrinking struct {
	b    []byte
	left int
}

func (s shrinking) ReadAt(p []byte, at int64) (int, error) {
	return bytes.NewReader(s.b[:s.left]).ReadAt(p, at)
}

// TestClaimed opens a file that should have a terabyte and doesn't.
func TestClaimed(t *testing.T) {
	raw := good().bytes()
	if _, err := eif.Open(bytes.NewReader(raw), 1<<40); err == nil {
		t.Error("a terabyte that isn't there passes")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(good().bytes())
	f.Add(with(func(m *image) { m.sections = append(m.sections, section{4, 0, []byte{0x81, 0xa0}}) }).bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		measured, _, err := verdict(t, raw)
		if err != nil {
			return
		}
		// What is accepted reads the same without the table.
		var hashed [][]byte
		var ramdisks int
		for rest := raw[548:]; len(rest) > 0; {
			kind, size := binary.BigEndian.Uint16(rest), binary.BigEndian.Uint64(rest[4:])
			data := rest[12 : 12+size]
			if kind == 3 {
				ramdisks++
			}
			if kind <= 3 {
				hashed = append(hashed, data)
			}
			rest = rest[12+size:]
		}
		if ramdisks == 0 || measured.PCR0 != pcr(hashed...) {
			t.Error("a linear reader measures otherwise")
		}
	})
}
