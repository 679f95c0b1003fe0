package receipt_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/receipt"
)

func vectorReport() *receipt.Report {
	return &receipt.Report{Accepted: 1, Rejected: 1, Rejections: []receipt.Rejection{{Record: 1, Field: "age", Rule: "maximum"}}}
}

func TestReportRoundTrip(t *testing.T) {
	for _, r := range []*receipt.Report{vectorReport(), {Accepted: 3, Rejections: []receipt.Rejection{}}, {Rejected: limits.BatchRows, Rejections: []receipt.Rejection{}, Truncated: true}} {
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := receipt.DecodeReport(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v came back as %+v: %v", r, got, err)
		}
	}
}

func TestReportOfNothing(t *testing.T) {
	b, err := new(receipt.Report).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := receipt.DecodeReport(b); err != nil || len(got.Rejections) != 0 {
		t.Errorf("%+v: %v", got, err)
	}
}

func TestReportIsTruncatedNotRefused(t *testing.T) {
	long := strings.Repeat("x", 128)
	for name, field := range map[string]string{"by number": "f", "by size": long} {
		r := &receipt.Report{Rejected: limits.BatchRows}
		for i := range 2 * limits.BatchRows {
			r.Reject(i/2, field, "unknown")
		}
		b, err := r.Encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := receipt.DecodeReport(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !got.Truncated || len(got.Rejections) == 0 || len(got.Rejections) > limits.BatchRows || got.Rejections[3].Record != 1 {
			t.Errorf("%s: truncated %v, %d rejections", name, got.Truncated, len(got.Rejections))
		}
	}
}

func TestReportRefuses(t *testing.T) {
	for name, r := range map[string]*receipt.Report{
		"negative":      {Accepted: -1},
		"too many":      {Accepted: limits.BatchRows, Rejected: 1},
		"no such one":   {Rejected: 1, Rejections: []receipt.Rejection{{Record: 1, Field: "a", Rule: "b"}}},
		"without rule":  {Rejected: 1, Rejections: []receipt.Rejection{{Field: "a"}}},
		"without field": {Rejected: 1, Rejections: []receipt.Rejection{{Rule: "a"}}},
	} {
		if _, err := r.Encode(); !errors.Is(err, receipt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b, err := vectorReport().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if r, err := receipt.DecodeReport(b[:i]); r != nil || !errors.Is(err, receipt.ErrMalformed) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, err := receipt.DecodeReport(bytes.Replace(b, []byte{0x03, 0x81}, []byte{0x03, 0xf6, 0x81}, 1)); !errors.Is(err, receipt.ErrMalformed) {
		t.Errorf("no list: %v", err)
	}
	if _, err := receipt.DecodeReport(make([]byte, 4<<20+1)); !errors.Is(err, receipt.ErrMalformed) {
		t.Errorf("over 4 MiB: %v", err)
	}
}

func FuzzDecodeReport(f *testing.F) {
	b, err := vectorReport().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := receipt.DecodeReport(b)
		if err != nil {
			return
		}
		if again, err := r.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("a report has two encodings: %v", err)
		}
	})
}
