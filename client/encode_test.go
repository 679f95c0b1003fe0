package client_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/limits"
)

// decoded answers the records of content in either codec.
func decoded(t *testing.T, codec uint8, content []byte, rows int) (all []columns.Record) {
	t.Helper()
	take := func(_ int, r columns.Record) error {
		all = append(all, slices.Clone(r))
		return nil
	}
	if codec == columns.Codec {
		if err := columns.Decode(content, rows, take); err != nil {
			t.Fatal(err)
		}
		return all
	}
	b, err := columns.DecodePacked(content, rows)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Each(take); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestEncodeChooses: many records are packed if that makes them smaller, and
// whatever is chosen holds the same.
func TestEncodeChooses(t *testing.T) {
	visit := func(i int) columns.Record {
		return columns.Record{columns.Int("id", int64(i)), columns.Text("rx", "Lev")}
	}
	// Each record has a column of its own, and a number that only codec 1 keeps
	// small among large ones.
	alone := func(i int) columns.Record {
		return columns.Record{columns.Int("id", int64(i)<<(i%2*50)), columns.Int(fmt.Sprint("x", i), 1)}
	}
	long := func(i int) columns.Record {
		return columns.Record{columns.Text("rx", strings.Repeat("x", limits.Text))}
	}
	for name, c := range map[string]struct {
		rows  int
		of    func(i int) columns.Record
		codec uint8
	}{
		"one":                  {1, visit, columns.Codec},
		"63":                   {63, visit, columns.Codec},
		"64":                   {64, visit, columns.CodecPacked},
		"as many as there are": {limits.BatchRows, visit, columns.CodecPacked},
		"columns that differ":  {500, alone, columns.Codec},
		"too many columns":     {limits.Columns + 1, alone, columns.Codec},
		"long texts":           {65, long, columns.CodecPacked},
	} {
		var records []columns.Record
		for i := range c.rows {
			records = append(records, c.of(i))
		}
		codec, content, err := client.Encode(records, visits())
		if err != nil || codec != c.codec {
			t.Errorf("%s: codec %d, %v", name, codec, err)
			continue
		}
		if got := decoded(t, codec, content, len(records)); !reflect.DeepEqual(got, records) {
			t.Errorf("%s: came back changed", name)
		}
		size := 0
		for _, r := range records {
			size += columns.Size(r)
		}
		if len(content) > size {
			t.Errorf("%s: %d bytes instead of %d", name, len(content), size)
		}
	}
}

// TestEncodeNulls: null goes where the contract says that it means nothing,
// and stays where it would be reported.
func TestEncodeNulls(t *testing.T) {
	var records []columns.Record
	for i := range 100 {
		records = append(records, columns.Record{columns.Int("id", int64(i)), columns.Null("rx"), columns.Null("none")})
	}
	codec, content, err := client.Encode(records, visits())
	if err != nil || codec != columns.CodecPacked {
		t.Fatalf("codec %d, %v", codec, err)
	}
	for i, r := range decoded(t, codec, content, len(records)) {
		if want := (columns.Record{columns.Int("id", int64(i)), columns.Null("none")}); !reflect.DeepEqual(r, want) {
			t.Fatalf("record %d is %v", i, r)
		}
	}
	if len(records[0]) != 3 {
		t.Error("the caller's records changed")
	}
}

// TestEncodeRefuses: what no codec can carry is an error in either.
func TestEncodeRefuses(t *testing.T) {
	bad := columns.Record{columns.Text("rx", "canary\xff")}
	for _, rows := range []int{1, 100} {
		records := slices.Repeat([]columns.Record{{columns.Int("id", 1)}}, rows)
		records[rows-1] = bad
		if _, _, err := client.Encode(records, visits()); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%d records: %v", rows, err)
		}
	}
}
