// Package binding reads the values that a client binds to the placeholders of
// a statement, from the Arrow IPC messages that carry them (Arrow Columnar
// Format 1.5, "Serialization and Interprocess Communication"). It trusts
// nothing of them: it is a small reader of its own, without recursion and
// without an allocation that a message sizes, because Arrow's would end the
// process on some malformed streams. It reads one row of plain values and
// refuses everything else.
package binding

import (
	"unicode/utf8"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// maxColumns is the largest number of bound values.
	maxColumns = 1024
	// maxStream bounds the messages of one binding together, in bytes.
	maxStream = 4 * limits.Query
)

// The kinds of messages, by their numbers in Arrow's Message.fbs.
const (
	headerSchema     = 1
	headerDictionary = 2
	headerRecord     = 3
)

// The versions of the metadata that are read: V4 and V5.
const (
	versionV4 = 3
	versionV5 = 4
)

// column is one field of the schema.
type column struct {
	values shape
	// index is the shape of the indexes of a dictionary-encoded column.
	index      shape
	encoded    bool
	dictionary int64
}

// Reader reads one stream of messages. The zero value is ready.
type Reader struct {
	columns      []column
	schema       bool
	dictionaries map[int64]array
	row          []sql.Parameter
	rows         int
	size         int
}

// Read takes the next message: its metadata and its body, neither of which may
// change before Values. The error is an *sql.Refusal.
func (r *Reader) Read(metadata, body []byte) error {
	if r.size += len(metadata) + len(body); r.size > maxStream {
		return refuseLarge()
	}
	f := &flatbuffer{b: metadata}
	message := f.root()
	version, kind, header := f.shortField(message, 0, 0), f.byteField(message, 1, 0), f.table(message, 2)
	switch {
	case f.bad, header == 0, version != versionV4 && version != versionV5, r.schema == (kind == headerSchema):
		return refuseForm()
	case kind == headerSchema:
		return r.readSchema(f, header)
	case kind == headerDictionary:
		return r.readDictionary(f, header, body)
	case kind == headerRecord:
		return r.readRecord(f, header, body)
	}
	return refuseForm()
}

// Values answers the row, which no columns make empty. The error is an
// *sql.Refusal.
func (r *Reader) Values() ([]sql.Parameter, error) {
	if r.rows != 1 && len(r.columns) > 0 {
		return nil, refuseRows()
	}
	return r.row, nil
}

// readSchema notes the columns.
func (r *Reader) readSchema(f *flatbuffer, schema int) error {
	first, n := f.vector(schema, 1, 4)
	if f.bad || f.shortField(schema, 0, 0) != 0 { // little endian
		return refuseForm()
	}
	if n > maxColumns {
		return refuseLarge()
	}
	r.schema, r.columns = true, make([]column, n)
	for i := range r.columns {
		field := first + 4*i
		field += f.u32(field)
		c := column{values: f.shape(f.byteField(field, 2, 0), f.table(field, 3))}
		if encoding := f.table(field, 4); encoding != 0 {
			c.encoded, c.dictionary = true, f.longField(encoding, 0)
			c.index = shape{kind: integer, bits: 32, signed: true}
			if t := f.table(encoding, 1); t != 0 {
				c.index = f.shape(typeInt, t)
			}
		}
		if f.bad {
			return refuseForm()
		}
		if c.values.kind == unknown || c.encoded && c.index.kind != integer {
			return refuseType()
		}
		r.columns[i] = c
	}
	return nil
}

// readDictionary notes the values of a dictionary. A second one of the same
// number takes its place.
func (r *Reader) readDictionary(f *flatbuffer, dictionary int, body []byte) error {
	id, record := f.longField(dictionary, 0), f.table(dictionary, 1)
	if f.bad || record == 0 || f.byteField(dictionary, 2, 0) != 0 { // a delta
		return refuseForm()
	}
	for _, c := range r.columns {
		if !c.encoded || c.dictionary != id {
			continue
		}
		b, err := f.batch(record, body)
		if err != nil {
			return err
		}
		values := b.next(c.values)
		if !b.done() {
			return refuseForm()
		}
		if r.dictionaries == nil {
			r.dictionaries = map[int64]array{}
		}
		r.dictionaries[id] = values
		return nil
	}
	return refuseForm()
}

// readRecord reads the one row.
func (r *Reader) readRecord(f *flatbuffer, record int, body []byte) error {
	b, err := f.batch(record, body)
	if err != nil {
		return err
	}
	if b.length == 0 {
		return nil
	}
	if r.rows += min(b.length, 2); r.rows > 1 {
		return refuseRows()
	}
	total := 0
	for _, c := range r.columns {
		p, size, err := r.value(b, c)
		if err != nil {
			return err
		}
		if total += size; total > limits.Query {
			return refuseLarge()
		}
		r.row = append(r.row, p)
	}
	if !b.done() {
		return refuseForm()
	}
	return nil
}

// value reads the first value of the next column of a batch, and answers how
// long its text is, in bytes.
func (r *Reader) value(b *batch, c column) (sql.Parameter, int, error) {
	if !c.encoded {
		return first(b.next(c.values), 0)
	}
	indexes := b.next(c.index)
	if b.bad {
		return sql.Parameter{}, 0, refuseForm()
	}
	if indexes.null(0) {
		return sql.NullParameter(), 0, nil
	}
	i, ok := indexes.index(0)
	dictionary, known := r.dictionaries[c.dictionary]
	if !ok || !known || i >= dictionary.length {
		return sql.Parameter{}, 0, refuseForm()
	}
	return first(dictionary, i)
}

// first reads one value of an array.
func first(a array, i int) (sql.Parameter, int, error) {
	if a.bad {
		return sql.Parameter{}, 0, refuseForm()
	}
	if a.kind == text && !a.null(i) {
		b, ok := a.bytes(i)
		switch {
		case !ok:
			return sql.Parameter{}, 0, refuseForm()
		case len(b) > limits.Query:
			return sql.Parameter{}, 0, refuseLarge()
		case !utf8.Valid(b):
			return sql.Parameter{}, 0, refuseEncoding()
		}
		return sql.TextParameter(string(b)), len(b), nil
	}
	p, err := a.parameter(i)
	return p, 0, err
}
