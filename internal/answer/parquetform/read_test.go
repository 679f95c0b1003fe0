package parquetform_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"testing"

	"github.com/cloisterhq/cloister/internal/answer"
)

// reader reads what the tests need of Parquet, from the format's description
// and not from the writer: any struct of Thrift's compact protocol, and pages
// of plain values.
type reader struct {
	t *testing.T
	b []byte
}

func (r *reader) take(n int) []byte {
	r.t.Helper()
	if n < 0 || n > len(r.b) {
		r.t.Fatalf("%d bytes wanted, %d left", n, len(r.b))
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.take(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.take(n)
	return v
}

// object reads a struct: its fields by number.
func (r *reader) object() map[int]any {
	r.t.Helper()
	fields, last := map[int]any{}, 0
	for {
		head := r.take(1)[0]
		if head == 0 {
			return fields
		}
		if head>>4 == 0 {
			last = int(r.varint())
		} else {
			last += int(head >> 4)
		}
		fields[last] = r.value(head & 15)
	}
}

func (r *reader) value(kind byte) any {
	r.t.Helper()
	switch kind {
	case 1, 2:
		return kind == 1
	case 4, 5, 6:
		return r.varint()
	case 8:
		return string(r.take(int(r.uvarint())))
	case 9:
		head := r.take(1)[0]
		n := uint64(head >> 4)
		if n == 15 {
			n = r.uvarint()
		}
		var list []any
		for range n {
			list = append(list, r.value(head&15))
		}
		return list
	case 12:
		return r.object()
	}
	r.t.Fatalf("type %d", kind)
	return nil
}

// parquet is a file as read: its metadata, and the text of every cell, NULL as
// nil.
type parquet struct {
	meta map[int]any
	rows [][]any
}

func read(t *testing.T, b []byte) parquet {
	t.Helper()
	if !bytes.HasPrefix(b, []byte("PAR1")) || !bytes.HasSuffix(b, []byte("PAR1")) {
		t.Fatal("no magic at the ends")
	}
	end := len(b) - 8
	footer := &reader{t, b[end-int(binary.LittleEndian.Uint32(b[end:])) : end]}
	p := parquet{meta: footer.object()}
	if len(footer.b) != 0 {
		t.Errorf("%d bytes behind the metadata", len(footer.b))
	}
	groups, _ := p.meta[4].([]any)
	for _, g := range groups {
		group := g.(map[int]any)
		rows := make([][]any, group[3].(int64))
		for i, c := range group[1].([]any) {
			meta := c.(map[int]any)[3].(map[int]any)
			schema := p.meta[2].([]any)[i+1].(map[int]any)
			if meta[1] != schema[1] || fmt.Sprint(meta[3]) != fmt.Sprintf("[%s]", schema[4]) || meta[5] != int64(len(rows)) {
				t.Errorf("a chunk of another column: %v, %v", meta, schema)
			}
			at, size := meta[9].(int64), meta[7].(int64)
			for j, v := range column(t, b[at:at+size], schema) {
				rows[j] = append(rows[j], v)
			}
		}
		p.rows = append(p.rows, rows...)
	}
	return p
}

// column reads one chunk of one page.
func column(t *testing.T, b []byte, schema map[int]any) []any {
	t.Helper()
	r := &reader{t, b}
	header := r.object()
	if header[1] != int64(0) || header[2] != int64(len(r.b)) || header[3] != int64(len(r.b)) {
		t.Fatalf("page header %v before %d bytes", header, len(r.b))
	}
	data := header[5].(map[int]any)
	if fmt.Sprint(data[2], data[3], data[4]) != "0 3 3" {
		t.Fatalf("encodings %v", data)
	}
	present := levels(t, r, int(data[1].(int64)))
	var values []any
	booleans := 0
	for _, there := range present {
		if !there {
			values = append(values, nil)
			continue
		}
		if schema[1] == int64(0) {
			values = append(values, fmt.Sprint(r.b[booleans/8]>>(booleans%8)&1 == 1))
			booleans++
			continue
		}
		values = append(values, plain(r, schema))
	}
	r.take((booleans + 7) / 8)
	if len(r.b) != 0 {
		t.Errorf("%d bytes behind the values", len(r.b))
	}
	return values
}

// levels reads definition levels: runs of repeated or bit-packed bits.
func levels(t *testing.T, r *reader, n int) []bool {
	t.Helper()
	runs := &reader{t, r.take(int(binary.LittleEndian.Uint32(r.take(4))))}
	var present []bool
	for len(runs.b) > 0 {
		head := runs.uvarint()
		if head&1 == 0 {
			level := runs.take(1)[0]
			for range head >> 1 {
				present = append(present, level == 1)
			}
			continue
		}
		for _, b := range runs.take(int(head >> 1)) {
			for bit := range 8 {
				present = append(present, b>>bit&1 == 1)
			}
		}
	}
	if len(present) < n || len(present) >= n+8 {
		t.Fatalf("%d levels for %d values", len(present), n)
	}
	return present[:n]
}

// plain reads one value and answers the text that answer.Column.Format writes.
func plain(r *reader, schema map[int]any) string {
	r.t.Helper()
	logical, _ := schema[10].(map[int]any)
	format := func(t answer.Type, v int64) string { return answer.Column{Type: t}.Format(answer.Cell{Int: v}) }
	switch schema[1].(int64) {
	case 1:
		if logical[6] == nil || schema[6] != int64(6) {
			r.t.Fatalf("an int32 that isn't a date: %v", schema)
		}
		return format(answer.Date, int64(int32(binary.LittleEndian.Uint32(r.take(4)))))
	case 2:
		v := int64(binary.LittleEndian.Uint64(r.take(8)))
		if logical[8] != nil {
			return format(answer.Timestamp, v)
		}
		return format(answer.Int64, v)
	case 6:
		if logical[1] == nil || schema[6] != int64(0) {
			r.t.Fatalf("bytes that aren't text: %v", schema)
		}
		return string(r.take(int(binary.LittleEndian.Uint32(r.take(4)))))
	case 7:
		b := r.take(int(schema[2].(int64)))
		v := new(big.Int).SetBytes(b)
		if b[0] >= 0x80 {
			v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
		return answer.FormatDecimal(v, int(schema[7].(int64)))
	}
	r.t.Fatalf("type %v", schema[1])
	return ""
}
