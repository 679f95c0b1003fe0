package columns_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/limits"
)

// bulk are records of 28 bytes each when they are packed, without nulls.
func bulk(rows int) []columns.Record {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]columns.Record, rows)
	for i := range all {
		all[i] = columns.Record{
			columns.Int("id", r.Int64()), columns.Int("at", 1_700_000_000_000_000+r.Int64N(1<<45)), columns.Int("cost", r.Int64N(1<<30)),
			columns.Int("part", int64(i)*1000), columns.Int("weight", 3000+r.Int64N(10_000)),
			columns.Text("rx", [...]string{"Lev", "Lev+5FU", "Obs"}[r.IntN(3)]), columns.Text("site", fmt.Sprintf("site-%02d", r.IntN(40))),
		}
	}
	return all
}

// sparse are bulk records of which every eighth value is missing.
func sparse(rows int) []columns.Record {
	r := rand.New(rand.NewPCG(3, 4))
	all := bulk(rows)
	for i, record := range all {
		var kept columns.Record
		for _, c := range record {
			if r.IntN(8) > 0 {
				kept = append(kept, c)
			}
		}
		all[i] = kept
	}
	return all
}

func BenchmarkDecode(b *testing.B) {
	const rows = limits.BatchRows
	for name, of := range map[string]func(int) []columns.Record{"full": bulk, "sparse": sparse} {
		packed, content := both(b, of(rows))
		b.Run("codec=1/"+name, func(b *testing.B) {
			for b.Loop() {
				if err := columns.Decode(content, rows, func(int, columns.Record) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			report(b, rows, len(content))
		})
		// The copy of the same bytes goes on in turns with the decoding, so that
		// both see the same machine.
		b.Run("codec=2/"+name, func(b *testing.B) {
			into := make([]byte, len(packed))
			var copying time.Duration
			for b.Loop() {
				start := time.Now()
				copy(into, packed)
				copying += time.Since(start)
				if _, err := columns.DecodePacked(packed, rows); err != nil {
					b.Fatal(err)
				}
			}
			report(b, rows, len(packed))
			b.ReportMetric(float64(b.Elapsed()-copying)/float64(copying), "copies")
		})
	}
}

// both answers records in both codecs, and keeps no records for the collector
// to walk through.
func both(b *testing.B, records []columns.Record) (packed, content []byte) {
	b.Helper()
	packed, err := columns.EncodePacked(records)
	if err != nil {
		b.Fatal(err)
	}
	if content, err = columns.Encode(records); err != nil {
		b.Fatal(err)
	}
	return packed, content
}

func report(b *testing.B, rows, size int) {
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
	b.ReportMetric(float64(size)/float64(rows), "B/row")
}

func BenchmarkEncode(b *testing.B) {
	const rows = limits.BatchRows
	records := bulk(rows)
	for _, codec := range []struct {
		name   string
		encode func([]columns.Record) ([]byte, error)
	}{{"codec=1", columns.Encode}, {"codec=2", columns.EncodePacked}} {
		b.Run(codec.name, func(b *testing.B) {
			for b.Loop() {
				content, err := codec.encode(records)
				if err != nil {
					b.Fatal(err)
				}
				if len(content) == 0 {
					b.Fatal("nothing")
				}
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}
