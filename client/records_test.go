package client_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// visits has a column of each type.
func visits() *contract.Contract {
	return &contract.Contract{Dataset: "visits", ID: "visits", Version: "1.0.0", Floor: 10, Mode: contract.Threshold, Fields: []contract.Field{
		{Name: "id", Type: contract.Integer, Role: contract.Unit, Required: true},
		{Name: "rx", Type: contract.String, Role: contract.Dimension},
		{Name: "dose", Type: contract.Number, Scale: 2},
		{Name: "ok", Type: contract.Boolean},
		{Name: "day", Type: contract.Date},
		{Name: "at", Type: contract.Timestamp},
	}}
}

// all reads an input in one go.
func all(r io.Reader, format client.Format) ([]columns.Record, error) {
	batches, err := client.Batches(r, format, visits(), 0)
	return slices.Concat(batches...), err
}

func TestReadCSV(t *testing.T) {
	records, err := all(strings.NewReader("\xef\xbb\xbfrx,id,dose,ok,day,at\n"+
		"Obs,1,1.5,true,1970-01-02,1970-01-01T00:00:01Z\n"+
		"\r\n"+
		"\"a \"\"b\"\"\nc, d\",old,much,maybe,someday,soon\r\n"+
		",,,,,"), client.CSV)
	check(t, err)
	want := []columns.Record{
		{columns.Text("rx", "Obs"), columns.Int("id", 1), columns.Int("dose", 150), columns.Bool("ok", true), columns.Int("day", 1), columns.Int("at", 1_000_000)},
		{columns.Text("rx", "a \"b\"\nc, d"), columns.Text("id", "old"), columns.Text("dose", "much"), columns.Text("ok", "maybe"), columns.Text("day", "someday"), columns.Text("at", "soon")},
		{columns.Null("rx"), columns.Null("id"), columns.Null("dose"), columns.Null("ok"), columns.Null("day"), columns.Null("at")},
	}
	same(t, records, want)
}

func TestReadNDJSON(t *testing.T) {
	records, err := all(strings.NewReader("\xef\xbb\xbf"+`{"id": 1, "rx": "Obs", "dose": 1.5, "ok": true, "day": "1970-01-02", "at": "1970-01-01T00:00:01Z"}`+"\n  \n"+
		`{"id": "1", "dose": 1e999, "ok": "true", "more": 7, "rx": null, "day": 5}`+"\r\n{}\n"+`{"rx": "\ufffd \ud83d\ude00"}`), client.NDJSON)
	check(t, err)
	want := []columns.Record{
		{columns.Int("id", 1), columns.Text("rx", "Obs"), columns.Int("dose", 150), columns.Bool("ok", true), columns.Int("day", 1), columns.Int("at", 1_000_000)},
		{columns.Text("id", "1"), columns.Text("dose", "1e999"), columns.Text("ok", "true"), columns.Text("more", "7"), columns.Null("rx"), columns.Text("day", "5")},
		nil,
		{columns.Text("rx", "\ufffd \U0001f600")},
	}
	same(t, records, want)
}

func same(t *testing.T, got, want []columns.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("record %d: %v, want %v", i, got[i], want[i])
		}
	}
}

const head = "id,rx,dose\n"

// TestBadInput: each is an error of the input that says what is wrong and
// where. Canaries are values, which no error repeats.
func TestBadInput(t *testing.T) {
	deep := strings.Repeat("[", 1<<20)
	for _, c := range []struct {
		format     client.Format
		name, text string
		want       string
	}{
		{client.CSV, "empty", "", "the input is empty"},
		{client.CSV, "only blank lines", "\n\n", "the input is empty"},
		{client.CSV, "no header", "1,canary,2\n", "header: column 1 isn't in the contract of dataset visits"},
		{client.CSV, "unknown column", "id,canary\n", "header: column 2 isn't in the contract"},
		{client.CSV, "column twice", "id,rx,id\n", "header: column id stands twice"},
		{client.CSV, "required column missing", "rx\n", "header: the required column id is missing"},
		{client.CSV, "header with a quote", "id,\"rx\n1,2\n", "header: line 1: "},
		{client.CSV, "header in Latin-1", "id,r\xe4\n", "header: column 2 isn't"},
		{client.CSV, "a million columns", strings.Repeat("id,", 1_000_000), "header: longer than 262144 bytes"},
		{client.CSV, "too many columns", strings.Repeat("id,", 2000) + "id\n", "header: 2001 columns"},
		{client.CSV, "a field too many", head + "1,a,2\n1,canary,2,3\n", "line 3: 4 fields, and the header has 3"},
		{client.CSV, "a field too few", head + "1,\"a\nb\",2\n1,canary\n", "line 4: 2 fields, and the header has 3"},
		{client.CSV, "quote never closed", head + "1,a,2\n1,\"canary\n,2\n", "line 3: a quote that is opened in this record is never closed"},
		{client.CSV, "text behind a quote", head + "1,\"canary\"x,2\n", "line 2: a quote isn't closed, or something stands behind it"},
		{client.CSV, "quote inside", head + "1,cana\"ry,2\n", "line 2: a quote inside a field that isn't quoted"},
		{client.CSV, "Latin-1", head + "1,a,2\n1,can\xe4ry,2\n", "line 3: the text in column rx isn't UTF-8"},
		{client.CSV, "UTF-16", "\xff\xfei\x00d\x00", "UTF-16"},
		{client.CSV, "long text", head + "1," + strings.Repeat("x", limits.Text+1) + ",2\n", "line 2: the text in column rx is longer than 65536 bytes"},
		{client.CSV, "long line", head + "1,a,2\n" + strings.Repeat("1", 5<<20) + "\n", "record 1 is longer than 4194304 bytes"},
		{client.CSV, "long record of short lines", head + "1,\"" + strings.Repeat("canary\n", 1<<20), "record 0 is longer than 4194304 bytes, or a quote in it isn't closed"},
		{client.NDJSON, "no object", `{"id": 1}` + "\n\ncanary\n", "line 3: isn't a JSON object"},
		{client.NDJSON, "an array", "[1]", "line 1: isn't a JSON object"},
		{client.NDJSON, "a nested value", `{"id": {"canary": 1}}`, "line 1: a value is an object or an array"},
		{client.NDJSON, "deep", deep, "line 1: isn't a JSON object"},
		{client.NDJSON, "deep inside", `{"id":` + deep, "line 1: a value is an object or an array"},
		{client.NDJSON, "cut", `{"id": 1, "rx": "canary`, "line 1: isn't valid JSON"},
		{client.NDJSON, "not closed", `{"id": 1`, "line 1: isn't valid JSON"},
		{client.NDJSON, "key twice", `{"id": 1, "id": 2}`, "line 1: a key stands twice"},
		{client.NDJSON, "two objects", `{"id": 1} {"id": 2}`, "line 1: something stands after the JSON object"},
		{client.NDJSON, "empty key", `{"": 1}`, "line 1: a key isn't a column name"},
		{client.NDJSON, "long key", `{"` + strings.Repeat("k", 129) + `": 1}`, "line 1: a key isn't a column name"},
		{client.NDJSON, "half a pair", `{"rx": "\ud800"}`, "line 1: a text isn't UTF-8"},
		{client.NDJSON, "Latin-1", "{\"rx\": \"can\xe4ry\"}", "line 1: isn't UTF-8"},
		{client.NDJSON, "long text", `{"rx": "` + strings.Repeat("x", limits.Text+1) + `"}`, "line 1: a text is longer than 65536 bytes"},
		{client.NDJSON, "long line", "{}\n" + strings.Repeat(" ", 5<<20) + "{}", "line 2: longer than 4194304 bytes"},
		{client.NDJSON, "many keys", manyKeys(limits.Columns + 1), "line 1: more than 1024 keys"},
	} {
		_, err := all(strings.NewReader(c.text), c.format)
		var bad *client.InputError
		if !errors.As(err, &bad) || !errors.Is(err, client.ErrUsage) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, want %q", c.name, err, c.want)
		}
		if text := err.Error(); strings.Contains(text, "can") && strings.Contains(text, "ry") || strings.Contains(text, "\n") || len(text) > 300 {
			t.Errorf("%s: %q repeats a value or is more than a line", c.name, text)
		}
	}
}

func manyKeys(n int) string {
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf(`"k%d": 1`, i))
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// endless never ends its first line.
type endless struct{ given int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '"'
	}
	e.given += len(p)
	return len(p), nil
}

// TestMemoryIsBounded: an input without an end to its first record is given up
// after a few megabytes.
func TestMemoryIsBounded(t *testing.T) {
	for _, format := range []client.Format{client.CSV, client.NDJSON} {
		for _, start := range []string{"", head, head + "1,", `{"rx":`} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			e := &endless{}
			_, err := all(io.MultiReader(strings.NewReader(start), e), format)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, client.ErrUsage) || e.given > 16<<20 || after.TotalAlloc-before.TotalAlloc > 256<<20 {
				t.Errorf("%s %q: %v after %d bytes, %d allocated", format, start, err, e.given, after.TotalAlloc-before.TotalAlloc)
			}
		}
	}
}

// TestBatches: batches are full, none is over a bound, and none is empty.
func TestBatches(t *testing.T) {
	var text strings.Builder
	text.WriteString("id\n")
	for i := range limits.BatchRows + 3 {
		fmt.Fprintln(&text, i)
	}
	for maxEnvelope, want := range map[int64]int{0: 2, limits.Envelope: 2, 1 << 20: 2, 200 << 10: 3, 9 << 10: 900} {
		batches, err := client.Batches(strings.NewReader(text.String()), client.CSV, visits(), maxEnvelope)
		check(t, err)
		if n := len(batches); n < want || n > want+want/2 {
			t.Errorf("envelopes of %d bytes: %d batches, want about %d", maxEnvelope, n, want)
		}
		next := int64(0)
		for i, batch := range batches {
			size := 0
			for _, r := range batch {
				if size += columns.Size(r); r[0].Int != next {
					t.Fatalf("record %d stands in place of %d", r[0].Int, next)
				}
				next++
			}
			if size > client.BatchSize(maxEnvelope) || len(batch) > limits.BatchRows || len(batch) == 0 {
				t.Errorf("batch %d has %d records, %d bytes", i, len(batch), size)
			}
			if i+1 < len(batches) && len(batch) < limits.BatchRows && size+columns.Size(batches[i+1][0]) <= client.BatchSize(maxEnvelope) {
				t.Errorf("batch %d had room for another record", i)
			}
		}
		if next != limits.BatchRows+3 {
			t.Errorf("%d records came out", next)
		}
	}
}

// TestRecordTooLarge names the record that no batch can hold.
func TestRecordTooLarge(t *testing.T) {
	text := head + "1,a,2\n1," + strings.Repeat("x", 3000) + ",2\n"
	_, err := client.Batches(strings.NewReader(text), client.CSV, visits(), 11<<10)
	if !errors.Is(err, client.ErrUsage) || !strings.Contains(err.Error(), "record 1 needs 30") {
		t.Errorf("%v", err)
	}
	if _, err := client.Batches(strings.NewReader(text), client.CSV, visits(), 13<<10); err != nil {
		t.Errorf("one that fits: %v", err)
	}
	if _, err := client.Batches(strings.NewReader(text), client.CSV, visits(), 1); !errors.Is(err, client.ErrUsage) {
		t.Errorf("no batch holds anything: %v", err)
	}
}

// FuzzCSV compares with encoding/csv, which sees the same rows, and demands that
// what is read can be encoded.
func FuzzCSV(f *testing.F) {
	f.Add([]byte("id,rx\n1,Obs\n"))
	f.Add([]byte("rx,id,dose,ok,day,at\n\"a\"\"\n\",1,1.25,true,2020-02-29,2020-02-29T12:00:00Z\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := all(bytes.NewReader(b), client.CSV)
		if err != nil {
			judgeError(t, err)
			return
		}
		encodes(t, records)
		rows, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))).ReadAll()
		if err != nil || len(rows) != len(records)+1 {
			t.Fatalf("%d records of %d rows: %v", len(records), len(rows), err)
		}
		for i, r := range records {
			for j, c := range r {
				if c.Name != rows[0][j] || c.Kind == columns.KindText && c.Text != rows[i+1][j] || (c.Kind == columns.KindNull) != (rows[i+1][j] == "") {
					t.Fatalf("record %d, column %d: %v", i, j, c.Kind)
				}
			}
		}
	})
}

// FuzzNDJSON demands that what is read has a record for each line that isn't
// blank, and can be encoded.
func FuzzNDJSON(f *testing.F) {
	f.Add([]byte(`{"id": 1, "rx": "Obs"}` + "\n\n" + `{"dose": -1.25e2, "ok": false, "at": null, "more": "\u00e4"}`))
	f.Add([]byte(`{"id": 1, "id": 2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := all(bytes.NewReader(b), client.NDJSON)
		if err != nil {
			judgeError(t, err)
			return
		}
		encodes(t, records)
		lines := 0
		for line := range bytes.Lines(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))) {
			if len(bytes.TrimSpace(line)) > 0 {
				lines++
			}
		}
		if lines != len(records) {
			t.Fatalf("%d records of %d lines", len(records), lines)
		}
	})
}

// judgeError demands an error of the input of one short line.
func judgeError(t *testing.T, err error) {
	t.Helper()
	var bad *client.InputError
	if text := err.Error(); !errors.As(err, &bad) || strings.ContainsAny(text, "\n\r") || len(text) > 300 || !utf8.ValidString(text) {
		t.Fatalf("%q", text)
	}
}

func encodes(t *testing.T, records []columns.Record) {
	t.Helper()
	if len(records) > limits.BatchRows {
		return
	}
	if _, err := columns.Encode(records); err != nil {
		t.Fatal(err)
	}
}
