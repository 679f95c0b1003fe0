package ingest_test

import (
	"bytes"
	"testing"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/internal/columns"
)

// packed drafts write's envelope with its records packed by column.
func packed(sequence uint64) letter {
	l := write(sequence)
	l.header.Codec = columns.CodecPacked
	return l
}

// TestPacked takes both codecs in one stream, in this life and the next, and
// gives the same envelope the same receipt.
func TestPacked(t *testing.T) {
	w := newWorld(t)
	spoiled := packed(2)
	spoiled.records[1] = columns.Record{columns.Int("id", 1), columns.Int("x", -1), columns.Int("y", 1)}
	raw, key := spoiled.seal(t)
	w.accepts(write(1).raw(t))
	first := w.accepts(raw)
	w.accepts(packed(3).raw(t))
	_, report := w.verified(first, raw, key)
	if report.Accepted != 2 || report.Rejected != 1 || len(report.Rejections) != 2 || report.Rejections[0].Rule != "unknown" || report.Rejections[1].Rule != "minimum" {
		t.Errorf("report %+v", report)
	}
	const want = "3 0:100 1:101 2:102 3:200 4:202 5:300 6:301 7:302"
	if got := w.rows("colon"); got != want {
		t.Errorf("queries see %s", got)
	}
	w.boot()
	if got := w.rows("colon"); got != want {
		t.Errorf("after a restart queries see %s", got)
	}
	if again := w.accepts(raw); !bytes.Equal(again.Receipt, first.Receipt) || !bytes.Equal(again.Report, first.Report) {
		t.Error("another receipt in the next life")
	}
	// The number is taken, also for the same records in the other codec.
	if _, err := w.accept(write(3).raw(t)); reason(err) != ingest.ReasonConflict {
		t.Errorf("got %v", err)
	}
	if got := w.rows("colon"); got != want {
		t.Errorf("a refused envelope changed %s", got)
	}
}

// TestPackedContent refuses content that isn't in the codec that the header
// names.
func TestPackedContent(t *testing.T) {
	w := newWorld(t)
	byRow, err := columns.Encode(write(1).records)
	if err != nil {
		t.Fatal(err)
	}
	byColumn, err := columns.EncodePacked(write(1).records)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		codec   uint8
		content []byte
		rows    int
	}{
		"records as columns":  {columns.CodecPacked, byRow, 0},
		"columns as records":  {columns.Codec, byColumn, 0},
		"a column cut":        {columns.CodecPacked, byColumn[:len(byColumn)-1], 0},
		"more records":        {columns.CodecPacked, byColumn, 1},
		"a codec that isn't":  {columns.CodecPacked + 1, byColumn, 0},
		"the largest of them": {255, byColumn, 0},
	} {
		l := write(9)
		l.header.Codec, l.content, l.rows = tt.codec, tt.content, tt.rows
		if _, err := w.accept(l.raw(t)); reason(err) != ingest.ReasonContent {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := w.rows("colon"); got != "0 " {
		t.Errorf("queries see %s", got)
	}
}
