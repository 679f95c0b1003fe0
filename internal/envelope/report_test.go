package envelope_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
)

func TestReportRoundTrip(t *testing.T) {
	key, digest := vectorDEK(), [32]byte{1}
	for _, n := range []int{0, 1, 508, 509, 1020, 1021, 100_000} {
		report := bytes.Repeat([]byte{0}, n) // zeros look like padding
		sealed, err := envelope.SealReport(key, digest, report)
		if err != nil {
			t.Fatal(err)
		}
		got, err := envelope.OpenReport(key, digest, sealed)
		if err != nil || !bytes.Equal(got, report) {
			t.Errorf("%d bytes came back as %d: %v", n, len(got), err)
		}
	}
	if _, err := envelope.SealReport(key, digest, make([]byte, 8<<20)); err == nil {
		t.Error("a report over 8 MiB was sealed")
	}
}

func TestReportSizesTellBucketsOnly(t *testing.T) {
	size := func(n int) int {
		sealed, err := envelope.SealReport(vectorDEK(), [32]byte{1}, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		return len(sealed)
	}
	for _, bucket := range []struct{ from, to int }{{0, 508}, {509, 1020}, {1021, 2044}} {
		for n := bucket.from; n <= bucket.to; n += 7 {
			if size(n) != size(bucket.to) {
				t.Fatalf("%d and %d bytes have different sealed sizes", n, bucket.to)
			}
		}
		if size(bucket.to+1) <= size(bucket.to) {
			t.Errorf("no larger bucket after %d bytes", bucket.to)
		}
	}
}

func TestReportRefuses(t *testing.T) {
	key, digest := vectorDEK(), [32]byte{1}
	sealed, err := envelope.SealReport(key, digest, vectorReport())
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, key secret.Bytes, digest [32]byte, sealed []byte) {
		t.Helper()
		if got, err := envelope.OpenReport(key, digest, sealed); got != nil || !errors.Is(err, envelope.ErrReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
	try("other envelope", key, [32]byte{2}, sealed)
	try("other key", secret.New(counting(0, 32)), digest, sealed)
	try("no key", secret.Bytes{}, digest, sealed)
	try("empty", key, digest, nil)
	for i := range sealed {
		try("changed", key, digest, flip(sealed, i))
		try("cut", key, digest, sealed[:i])
	}
}

func TestReportIsDeterministicAndNoncesDiffer(t *testing.T) {
	seal := func(report string) []byte {
		sealed, err := envelope.SealReport(vectorDEK(), [32]byte{1}, []byte(report))
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	if !bytes.Equal(seal("a"), seal("a")) {
		t.Error("the same report was sealed to other bytes")
	}
	if bytes.Equal(seal("a")[8:20], seal("b")[8:20]) {
		t.Error("two reports share a nonce")
	}
}
