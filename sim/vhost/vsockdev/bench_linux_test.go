package vsockdev_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/vsock"
)

const (
	benchBytes = 16 << 20
	benchPings = 200
)

// answerer serves what measure asks of the other end: so many bytes are taken,
// then as many are sent, then single messages come back.
func answerer(c io.ReadWriter) {
	b := make([]byte, 64<<10)
	if _, err := io.CopyBuffer(onlyWriter{io.Discard}, io.LimitReader(c, benchBytes), b); err != nil {
		return
	}
	if _, err := c.Write(b[:1]); err != nil {
		return
	}
	for n := 0; n < benchBytes; n += len(b) {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

// measure answers how long the bytes took there and back, and a round trip.
func measure(b *testing.B, c io.ReadWriter) (there, back, trip time.Duration) {
	b.Helper()
	buffer := make([]byte, 64<<10)
	begin := time.Now()
	for n := 0; n < benchBytes; n += len(buffer) {
		if _, err := c.Write(buffer); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := io.ReadFull(c, buffer[:1]); err != nil {
		b.Fatal(err)
	}
	there = time.Since(begin)
	begin = time.Now()
	if _, err := io.CopyBuffer(onlyWriter{io.Discard}, io.LimitReader(c, benchBytes), buffer); err != nil {
		b.Fatal(err)
	}
	back = time.Since(begin)
	begin = time.Now()
	for range benchPings {
		if _, err := c.Write(buffer[:64]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buffer[:64]); err != nil {
			b.Fatal(err)
		}
	}
	return there, back, time.Since(begin) / benchPings
}

// BenchmarkDevice compares a stream from the host to a guest with a unix
// socket, both in one run. The guest's driver is this process too, and copies
// as often as a kernel does.
func BenchmarkDevice(b *testing.B) {
	w := newWorld(b)
	w.listen(b, vsock.HostCID, 7, func(c net.Conn) { answerer(c) })
	g := boot(b, w.path, nil)
	g.listen(9, func(s *stream) { answerer(s) })
	var device, plain [3]time.Duration
	for b.Loop() {
		through, err := w.device.Dial(b.Context(), 9)
		if err != nil {
			b.Fatal(err)
		}
		beside, err := vsock.Unix(w.dir, guestCID).Dial(b.Context(), vsock.HostCID, 7)
		if err != nil {
			b.Fatal(err)
		}
		for c, sum := range map[net.Conn]*[3]time.Duration{through: &device, beside: &plain} {
			there, back, trip := measure(b, c)
			sum[0] += there
			sum[1] += back
			sum[2] += trip
			c.Close()
		}
	}
	b.ReportMetric(100*float64(plain[0])/float64(device[0]), "%-of-unix-to-guest")
	b.ReportMetric(100*float64(plain[1])/float64(device[1]), "%-of-unix-to-host")
	b.ReportMetric(float64(device[2])/float64(plain[2]), "x-round-trip")
	b.ReportMetric(float64(benchBytes)*float64(b.N)/device[0].Seconds()/1e6, "MB/s-to-guest")
	b.ReportMetric(float64(benchBytes)*float64(b.N)/device[1].Seconds()/1e6, "MB/s-to-host")
}
