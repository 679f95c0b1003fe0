package columns

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/limits"
)

// Decode reads exactly rows records and calls each with every one of them, in
// order. The record is valid during the call only; its texts stay valid. An
// error of each stops the decoding and is answered as it is. All else that is
// wrong is ErrMalformed: content in another than the deterministic encoding,
// names out of order or twice, bytes left over.
func Decode(content []byte, rows int, each func(i int, r Record) error) error {
	if rows < 0 || rows > limits.BatchRows || len(content) > limits.Envelope {
		return ErrMalformed
	}
	d := decoder{rest: content}
	for i := range rows {
		if !d.record() {
			return fmt.Errorf("%w: record %d", ErrMalformed, i)
		}
		if err := each(i, d.cells); err != nil {
			return err
		}
	}
	if len(d.rest) != 0 {
		return fmt.Errorf("%w: bytes after the last record", ErrMalformed)
	}
	return nil
}

// decoder reads heads only in their shortest form, so that there is one
// encoding of each record. It allocates for what has really been read.
type decoder struct {
	rest  []byte
	cells Record
}

func (d *decoder) record() bool {
	major, n, ok := d.head()
	if !ok || major != majorMap || n > limits.Columns {
		return false
	}
	// Records mostly repeat the columns of the one before: its names are used
	// again where they are the same.
	before := d.cells[:cap(d.cells)]
	d.cells = d.cells[:0]
	for i := range int(n) {
		name, ok := d.text(maxColumnName)
		if !ok || len(name) == 0 || i > 0 && !follows(d.cells[i-1].Name, name) {
			return false
		}
		c := Cell{}
		if i < len(before) && before[i].Name == string(name) {
			c.Name = before[i].Name
		} else {
			c.Name = string(name)
		}
		if !d.value(&c) {
			return false
		}
		d.cells = append(d.cells, c)
	}
	return true
}

// value reads a value of one of the four kinds.
func (d *decoder) value(c *Cell) bool {
	if len(d.rest) == 0 {
		return false
	}
	switch b := d.rest[0]; b {
	case simpleNull:
		d.rest = d.rest[1:]
		return true
	case simpleFalse, simpleTrue:
		c.Kind, c.Int, d.rest = KindBool, int64(b-simpleFalse), d.rest[1:]
		return true
	}
	if d.rest[0]&0xe0 == majorText {
		text, ok := d.text(limits.Text)
		c.Kind, c.Text = KindText, string(text)
		return ok
	}
	major, n, ok := d.head()
	if !ok || n > math.MaxInt64 {
		return false
	}
	switch c.Kind = KindInt; major {
	case majorUnsigned:
		c.Int = int64(n)
	case majorNegative:
		c.Int = ^int64(n)
	default:
		return false
	}
	return true
}

// text reads valid UTF-8 of at most most bytes, without copying it.
func (d *decoder) text(most uint64) ([]byte, bool) {
	major, n, ok := d.head()
	if !ok || major != majorText || n > most || n > uint64(len(d.rest)) {
		return nil, false
	}
	text := d.rest[:n]
	d.rest = d.rest[n:]
	return text, utf8.Valid(text)
}

// head reads an item's head, which must be in its shortest form.
func (d *decoder) head() (major byte, n uint64, ok bool) {
	if len(d.rest) == 0 {
		return 0, 0, false
	}
	major, info := d.rest[0]&0xe0, d.rest[0]&0x1f
	if info < 24 {
		d.rest = d.rest[1:]
		return major, uint64(info), true
	}
	if info > 27 {
		return 0, 0, false
	}
	size := 1 << (info - 24)
	if len(d.rest) < 1+size {
		return 0, 0, false
	}
	var wide [8]byte
	copy(wide[8-size:], d.rest[1:])
	n = binary.BigEndian.Uint64(wide[:])
	d.rest = d.rest[1+size:]
	return major, n, headSize(n) == 1+size
}
