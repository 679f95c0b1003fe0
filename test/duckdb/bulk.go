package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unsafe"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/duckdb/duckdb-go/v2/mapping"
)

// Bulk is a DuckDB in memory that only takes rows, in the fastest way that it
// has: whole chunks of columns, by several appenders at the same time. Numbers
// are integers in stored units.
type Bulk struct {
	db    mapping.Database
	conns []mapping.Connection
	types []mapping.Type
	name  string
}

// longest is the longest text that a vector holds in place.
const longest = 12

// OpenBulk makes one with an empty table for a contract, compressed as Peer's is.
func OpenBulk(c *contract.Contract, threads int) (*Bulk, error) {
	b := &Bulk{name: c.Dataset}
	var columns []string
	for i := range c.Fields {
		text := typeOf(&c.Fields[i], false)
		columns, b.types = append(columns, c.Fields[i].Name+" "+text), append(b.types, nativeOf(text))
	}
	if mapping.Open("", &b.db) == mapping.StateError {
		return nil, errors.New("duckdb: open")
	}
	for range threads {
		var conn mapping.Connection
		if mapping.Connect(b.db, &conn) == mapping.StateError {
			b.Close()
			return nil, errors.New("duckdb: connect")
		}
		b.conns = append(b.conns, conn)
	}
	for _, statement := range []string{
		"ATTACH ':memory:' AS data (COMPRESS)",
		fmt.Sprint("SET threads = ", threads),
		fmt.Sprintf("CREATE TABLE data.%s (%s)", b.name, strings.Join(columns, ", ")),
	} {
		if err := b.exec(statement); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

func nativeOf(text string) mapping.Type {
	switch text {
	case "VARCHAR":
		return mapping.TypeVarchar
	case "BOOLEAN":
		return mapping.TypeBoolean
	case "TIMESTAMP":
		return mapping.TypeTimestamp
	case "DATE":
		return mapping.TypeDate
	case "INTEGER":
		return mapping.TypeInteger
	}
	return mapping.TypeBigInt
}

// Close ends it.
func (b *Bulk) Close() {
	for i := range b.conns {
		mapping.Disconnect(&b.conns[i])
	}
	mapping.Close(&b.db)
}

func (b *Bulk) exec(statement string) error {
	var result mapping.Result
	defer mapping.DestroyResult(&result)
	if mapping.Query(b.conns[0], statement, &result) == mapping.StateError {
		return fmt.Errorf("duckdb: %s: %s", statement, mapping.ResultError(&result))
	}
	return nil
}

// Native is rows as they lie in DuckDB's vectors, by column.
type Native struct {
	rows    int
	width   []int
	columns [][]byte
}

// Native writes rows down as DuckDB has them in memory, so that appending them
// is nothing but copying. Texts have at most 12 bytes, and nothing is NULL.
func (b *Bulk) Native(rows int, columns []table.Values) (*Native, error) {
	n := &Native{rows: rows}
	for i, v := range columns {
		var out []byte
		for row := range rows {
			switch b.types[i] {
			case mapping.TypeVarchar:
				text := v.Texts[v.Codes[row]]
				if len(text) > longest {
					return nil, errors.New("duckdb: a text is too long for its place")
				}
				var place [16]byte
				binary.NativeEndian.PutUint32(place[:], uint32(len(text)))
				copy(place[4:], text)
				out = append(out, place[:]...)
			case mapping.TypeBoolean:
				out = append(out, byte(v.Ints[row]))
			case mapping.TypeInteger, mapping.TypeDate:
				out = binary.NativeEndian.AppendUint32(out, uint32(v.Ints[row]))
			default:
				out = binary.NativeEndian.AppendUint64(out, uint64(v.Ints[row]))
			}
		}
		n.columns, n.width = append(n.columns, out), append(n.width, len(out)/max(rows, 1))
	}
	return n, nil
}

// Append adds batches, dealt to all connections, and then makes a checkpoint:
// that compresses them.
func (b *Bulk) Append(batches []*Native) error {
	errs := make([]error, len(b.conns))
	var all sync.WaitGroup
	for i := range b.conns {
		all.Go(func() {
			var mine []*Native
			for k := i; k < len(batches); k += len(b.conns) {
				mine = append(mine, batches[k])
			}
			errs[i] = b.append(b.conns[i], mine)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return b.exec("CHECKPOINT data")
}

func (b *Bulk) append(conn mapping.Connection, batches []*Native) error {
	var appender mapping.Appender
	if mapping.AppenderCreateExt(conn, "data", "main", b.name, &appender) == mapping.StateError {
		return errors.New("duckdb: appender")
	}
	defer mapping.AppenderDestroy(&appender)
	var types []mapping.LogicalType
	for _, t := range b.types {
		types = append(types, mapping.CreateLogicalType(t))
	}
	chunk := mapping.CreateDataChunk(types)
	defer mapping.DestroyDataChunk(&chunk)
	for i := range types {
		mapping.DestroyLogicalType(&types[i])
	}
	for _, n := range batches {
		for from := 0; from < n.rows; from += int(mapping.VectorSize()) {
			to := min(from+int(mapping.VectorSize()), n.rows)
			mapping.DataChunkReset(chunk)
			for i, column := range n.columns {
				from, to := from*n.width[i], to*n.width[i]
				data := mapping.VectorGetData(mapping.DataChunkGetVector(chunk, mapping.IdxT(i)))
				copy(unsafe.Slice((*byte)(data), to-from), column[from:to])
			}
			mapping.DataChunkSetSize(chunk, mapping.IdxT(to-from))
			if mapping.AppendDataChunk(appender, chunk) == mapping.StateError {
				return fmt.Errorf("duckdb: %s", mapping.AppenderError(appender))
			}
		}
	}
	if mapping.AppenderClose(appender) == mapping.StateError {
		return fmt.Errorf("duckdb: %s", mapping.AppenderError(appender))
	}
	return nil
}

// Int asks for one integer.
func (b *Bulk) Int(query string) (int64, error) {
	var result mapping.Result
	defer mapping.DestroyResult(&result)
	if mapping.Query(b.conns[0], query, &result) == mapping.StateError {
		return 0, fmt.Errorf("duckdb: %s", mapping.ResultError(&result))
	}
	return mapping.ValueInt64(&result, 0, 0), nil //nolint:staticcheck // what replaces it takes chunks apart, for one number
}
