package eif_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/eif"
)

// hollow is an image file of which all but the small parts are holes: a kernel
// of a megabyte and two ramdisks, of which the second has rest bytes.
func hollow(tb testing.TB, first, rest int64) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "large.eif")
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	parts := []struct {
		kind uint16
		data string
		size int64
	}{
		{1, "kernel", 1 << 20}, {2, "console=ttyS0", 13}, {5, metadata, int64(len(metadata))}, {3, "070701", first}, {3, "070701", rest},
	}
	header := make([]byte, 548)
	copy(header, ".eif\x00\x04")
	header[0x1b] = byte(len(parts))
	at := int64(548)
	for i, p := range parts {
		binary.BigEndian.PutUint64(header[0x1c+8*i:], uint64(at))
		binary.BigEndian.PutUint64(header[0x11c+8*i:], uint64(p.size))
		own := binary.BigEndian.AppendUint16(nil, p.kind)
		own = binary.BigEndian.AppendUint64(append(own, 0, 0), uint64(p.size))
		if _, err := f.WriteAt(append(own, p.data...), at); err != nil {
			tb.Fatal(err)
		}
		at += 12 + p.size
	}
	_, err = f.WriteAt(header, 0)
	if err := errors.Join(err, f.Truncate(at)); err != nil {
		tb.Fatal(err)
	}
	return path
}

// measureFile measures a file and answers the most heap that was in use, in
// bytes above what was before.
func measureFile(tb testing.TB, path string, watch, digest bool) (*eif.Measurement, uint64) {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	m, err := eif.Open(f, info.Size())
	if err != nil {
		tb.Fatal(err)
	}
	var peak, before uint64
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapInuse
	}
	var look func(int64)
	if watch {
		runtime.GC()
		before = heap()
		look = func(int64) { peak = max(peak, heap()-min(before, heap())) }
	}
	measure := m.Measure
	if !digest {
		measure = m.Registers
	}
	measured, err := measure(tb.Context(), look)
	if err != nil {
		tb.Fatal(err)
	}
	return measured, peak
}

// mostHeap is what measuring may hold, whatever the file's size is.
const mostHeap = 16 << 20

// TestMeasuringHoldsLittle measures a file that is much larger than what it may
// hold. BenchmarkMeasure does it with 4 GiB.
func TestMeasuringHoldsLittle(t *testing.T) {
	if _, peak := measureFile(t, hollow(t, 1<<20, 96<<20), true, true); peak > mostHeap {
		t.Errorf("%d bytes of heap", peak)
	}
}

// BenchmarkMeasure takes the registers beside sha384sum on the same file, in turns, and
// reports medians of the turns' ratios: above 1, measuring is faster than
// hashing the file once. -benchtime says how many turns.
func BenchmarkMeasure(b *testing.B) {
	sum, err := exec.LookPath("sha384sum")
	if err != nil {
		b.Skip("sha384sum isn't installed")
	}
	for name, sizes := range map[string][2]int64{"one large ramdisk": {1 << 30, 6}, "large second ramdisk": {8 << 20, 1 << 30}} {
		b.Run(name, func(b *testing.B) {
			path := hollow(b, sizes[0], sizes[1])
			var own, ratio []float64
			for b.Loop() {
				start := time.Now()
				if err := exec.CommandContext(b.Context(), sum, path).Run(); err != nil {
					b.Fatal(err)
				}
				theirs := time.Since(start)
				start = time.Now()
				measureFile(b, path, false, false)
				took := time.Since(start)
				own, ratio = append(own, float64(sizes[0]+sizes[1])/took.Seconds()/1e9), append(ratio, theirs.Seconds()/took.Seconds())
			}
			middle := func(all []float64) float64 { slices.Sort(all); return all[len(all)/2] }
			b.ReportMetric(middle(own), "GB/s")
			b.ReportMetric(middle(ratio), "of-sha384sum")
		})
	}
}

// BenchmarkMeasuring4GiB fails when measuring 4 GiB of holes holds more than it
// may.
func BenchmarkMeasuring4GiB(b *testing.B) {
	path := hollow(b, 1<<20, 4<<30)
	var peak uint64
	for b.Loop() {
		_, held := measureFile(b, path, true, true)
		peak = max(peak, held)
	}
	if peak > mostHeap {
		b.Errorf("%d bytes of heap", peak)
	}
	b.ReportMetric(float64(peak)/(1<<20), "MiB-heap")
}

// TestTerabyteOfHoles: a file that claims a terabyte, and has it as holes, is
// opened by reading a few headers, and refused when it claims more than that.
func TestTerabyteOfHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holes.eif")
	raw := with(func(m *image) { m.edit = put64(0x11c+8*4, 1<<40) }).bytes()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skipf("this file system has no such file: %v", err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	counted := &counting{ReaderAt: f}
	_, err = eif.Open(counted, 1<<40)
	if refusal, ok := errors.AsType[*eif.Error](err); !ok || refusal.Class != eif.BadTable {
		t.Errorf("got %v", err)
	}
	if counted.read > 4<<10 {
		t.Errorf("%d bytes were read", counted.read)
	}
}

type counting struct {
	io.ReaderAt
	read int
}

func (c *counting) ReadAt(p []byte, at int64) (int, error) {
	c.read += len(p)
	return c.ReaderAt.ReadAt(p, at)
}

// TestShrinkingFile cuts a real file while it is measured.
func TestShrinkingFile(t *testing.T) {
	path := hollow(t, 1<<20, 32<<20)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := eif.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	cut := false
	_, err = m.Measure(t.Context(), func(int64) {
		if !cut {
			cut = true
			if err := os.Truncate(path, 8<<20); err != nil {
				t.Error(err)
			}
		}
	})
	if refusal, ok := errors.AsType[*eif.Error](err); !ok || refusal.Class != eif.BadTable {
		t.Errorf("got %v", err)
	}
}

// TestCancelled stops within a block, whatever is left of the file.
func TestCancelled(t *testing.T) {
	f, err := os.Open(hollow(t, 1<<20, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := eif.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	_, err = m.Measure(ctx, func(int64) { calls++; cancel() })
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("%d blocks, %v", calls, err)
	}
}

// TestDigest is that of the whole file, as other programs say it.
func TestDigest(t *testing.T) {
	path := hollow(t, 1<<20, 3<<20)
	sum, err := exec.LookPath("sha256sum")
	if err != nil {
		t.Skip("sha256sum isn't installed")
	}
	out, err := exec.CommandContext(t.Context(), sum, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	measured, _ := measureFile(t, path, false, true)
	registers, _ := measureFile(t, path, false, false)
	if registers.PCR0 != measured.PCR0 || registers.PCR1 != measured.PCR1 || registers.PCR2 != measured.PCR2 || registers.CRC != measured.CRC || registers.Digest != [32]byte{} {
		t.Error("the registers alone are others")
	}
	if got := hex.EncodeToString(measured.Digest[:]); got != string(out[:64]) {
		t.Errorf("%s, sha256sum says %s", got, out[:64])
	}
}
