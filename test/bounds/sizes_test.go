package bounds_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// head writes the head of a CBOR item in its shortest form (RFC 8949, 3.).
func head(major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return []byte{major | byte(n)}
	case n < 1<<8:
		return []byte{major | 24, byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{major | 25}, uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32([]byte{major | 26}, uint32(n))
	}
	return binary.BigEndian.AppendUint64([]byte{major | 27}, n)
}

// The major types that records use.
const (
	cborText = 3
	cborMap  = 5
)

// text is a CBOR text that says that it has n bytes.
func text(n uint64, content string) []byte { return append(head(cborText, n), content...) }

// record is one record with these columns and values, encoded.
func record(cells ...[]byte) []byte {
	return append(head(cborMap, uint64(len(cells)/2)), slices.Concat(cells...)...)
}

// good is a record that breaks no rule.
func good() []byte { return record(text(2, "id"), []byte{1}, text(2, "tx"), text(1, "x")) }

// wide is a record of n columns, none of them the contract's.
func wide(n int) []byte {
	var cells [][]byte
	for i := range n {
		cells = append(cells, text(6, fmt.Sprintf("c%05d", i)), []byte{0})
	}
	return record(cells...)
}

// framed is an envelope with any header and nothing real behind it.
func framed(announced int, header []byte) []byte {
	raw := binary.BigEndian.AppendUint32([]byte("CLENV1\n\x00"), uint32(announced))
	return slices.Concat(raw, header, make([]byte, 1<<10))
}

// sized makes a header of exactly n bytes, with another key than the dataset's.
func sized(w *world, n int) func(*envelope.Header) {
	return func(h *envelope.Header) {
		h.Wrap.Blob = bytes.Repeat([]byte{1}, 6144)
		h.Wrap.Key = "a"
		for range 3 { // the length of a length may change
			encoded, err := canonical.Marshal(h)
			must(w.t, err)
			h.Wrap.Key = strings.Repeat("a", len(h.Wrap.Key)+n-len(encoded))
		}
	}
}

// header encodes a header that Seal wouldn't take.
func header(w *world, change func(*envelope.Header)) []byte {
	h := w.header
	change(&h)
	raw, err := canonical.Marshal(&h)
	must(w.t, err)
	return raw
}

// allocated runs f and answers how many bytes were allocated meanwhile, in the
// whole process: producer, parent, enclave and KMS.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// most is how much of memory the work on one hostile envelope of a few KiB may
// take: the sizes that they announce go up to 16 EiB.
const most = 8 << 20

const (
	receipted = "receipted"
	invalid   = "INVALID_ARGUMENT"
	exhausted = "RESOURCE_EXHAUSTED for good"
)

// submit hands an envelope in and answers what becomes of it: receipted, the
// reason of a refusal, or the class of an error.
func (w *world) submit(raw []byte) string {
	w.t.Helper()
	resp, err := w.gateway.Submit(w.t.Context(), &cloisterv1.SubmitRequest{Envelope: raw})
	switch {
	case status.Code(err) == codes.InvalidArgument:
		return invalid
	case status.Code(err) == codes.ResourceExhausted:
		if _, hint := grpcform.Delay(err); hint {
			return "RESOURCE_EXHAUSTED for now"
		}
		return exhausted
	case err != nil:
		return err.Error()
	case resp.GetState() == cloisterv1.SubmitResponse_STATE_RECEIPTED:
		return receipted
	case resp.GetState() == cloisterv1.SubmitResponse_STATE_REFUSED:
		return resp.GetRefusal()
	}
	return resp.GetState().String()
}

// TestSizes hands in envelopes just below and just above each size.
func TestSizes(t *testing.T) {
	w := up(t)
	long := func(n int) string { return strings.Repeat("n", n) }
	rows := func(n int) []byte { return bytes.Repeat(record(text(2, "id"), []byte{1}), n) }
	for _, c := range []struct {
		name string
		raw  []byte
		want string
		// small says that the envelope is, and that its work must be.
		small bool
	}{
		{"Envelope", make([]byte, limits.Envelope), ingest.ReasonMalformed, false},
		{"Envelope + 1", make([]byte, limits.Envelope+1), invalid, false},
		{"Message + 1", make([]byte, limits.Message+1), exhausted, false},
		{"the bundle's envelope", make([]byte, maxEnvelope), ingest.ReasonMalformed, false},
		{"the bundle's envelope, full", w.filled(maxEnvelope), ingest.ReasonContent, false},
		{"the bundle's envelope + 1, full", w.filled(maxEnvelope + 1), ingest.ReasonSize, false},
		{"EnvelopeHeader", w.seal(1, good(), sized(w, limits.EnvelopeHeader)), ingest.ReasonKey, true},
		{"EnvelopeHeader + 1", framed(limits.EnvelopeHeader+1, header(w, sized(w, limits.EnvelopeHeader+1))), ingest.ReasonMalformed, true},
		{"a header of 4 GiB", framed(1<<32-1, nil), ingest.ReasonMalformed, true},
		{"a producer's name", w.seal(1, good(), func(h *envelope.Header) { h.Producer = long(63) }), ingest.ReasonProducer, true},
		{"a producer's name + 1", framedHeader(w, func(h *envelope.Header) { h.Producer = long(64) }), ingest.ReasonMalformed, true},
		{"a dataset's name", w.seal(1, good(), func(h *envelope.Header) { h.Dataset = long(63) }), ingest.ReasonRight, true},
		{"a dataset's name + 1", framedHeader(w, func(h *envelope.Header) { h.Dataset = long(64) }), ingest.ReasonMalformed, true},
		{"a deployment's name", w.seal(1, good(), func(h *envelope.Header) { h.Deployment = long(63) }), ingest.ReasonDeployment, true},
		{"a deployment's name + 1", framedHeader(w, func(h *envelope.Header) { h.Deployment = long(64) }), ingest.ReasonMalformed, true},
		{"a contract's version", w.seal(1, good(), func(h *envelope.Header) { h.Contract = long(64) }), ingest.ReasonContract, true},
		{"a contract's version + 1", framedHeader(w, func(h *envelope.Header) { h.Contract = long(65) }), ingest.ReasonMalformed, true},
		{"a stream's name", w.seal(1, good(), func(h *envelope.Header) { h.Stream = long(128) }), receipted, true},
		{"a stream's name + 1", framedHeader(w, func(h *envelope.Header) { h.Stream = long(129) }), ingest.ReasonMalformed, true},
		{"BatchRows", w.seal(limits.BatchRows, rows(limits.BatchRows), nil), receipted, false},
		{"BatchRows in one", w.seal(limits.BatchRows, good(), nil), ingest.ReasonContent, true},
		{"more rows than announced", w.seal(1, rows(2), nil), ingest.ReasonContent, true},
		{"Columns", w.seal(1, wide(limits.Columns), nil), receipted, true},
		{"Columns + 1", w.seal(1, wide(limits.Columns+1), nil), ingest.ReasonContent, true},
		{"2^64-1 columns", w.seal(1, head(cborMap, 1<<64-1), nil), ingest.ReasonContent, true},
		{"a column's name", w.seal(1, record(text(128, long(128)), []byte{0}), nil), receipted, true},
		{"a column's name + 1", w.seal(1, record(text(129, long(129)), []byte{0}), nil), ingest.ReasonContent, true},
		{"Text", w.seal(1, record(text(2, "id"), []byte{1}, text(2, "tx"), text(limits.Text, long(limits.Text))), nil), receipted, true},
		{"Text + 1", w.seal(1, record(text(2, "id"), []byte{1}, text(2, "tx"), text(limits.Text+1, long(limits.Text+1))), nil), ingest.ReasonContent, true},
		{"a text of 16 EiB", w.seal(1, record(text(2, "id"), []byte{1}, text(2, "tx"), text(1<<64-1, "x")), nil), ingest.ReasonContent, true},
	} {
		var got string
		memory := allocated(func() { got = w.submit(c.raw) })
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if c.small && memory > most {
			t.Errorf("%s: %d bytes were allocated for an envelope of %d", c.name, memory, len(c.raw))
		}
	}
	if got := w.submit(w.seal(1, good(), nil)); got != receipted {
		t.Errorf("a good batch after all of them: %s", got)
	}
}

// framedHeader is an envelope with a header that Seal wouldn't take.
func framedHeader(w *world, change func(*envelope.Header)) []byte {
	h := header(w, change)
	return framed(len(h), h)
}

// filled is a sealed envelope of exactly n bytes, with content in no codec.
func (w *world) filled(n int) []byte {
	content := n - 4096
	for {
		raw := w.seal(1, make([]byte, content), nil)
		if len(raw) == n {
			return raw
		}
		content += n - len(raw)
	}
}
