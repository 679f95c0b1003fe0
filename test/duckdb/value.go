package duckdb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
	duck "github.com/duckdb/duckdb-go/v2"
)

// value answers what the appender takes for a value of a column.
func value(f *contract.Field, doubles bool, v *table.Values, row int) driver.Value {
	if v.Null[row] {
		return nil
	}
	switch f.Type {
	case contract.String:
		return v.Texts[row]
	case contract.Boolean:
		return v.Ints[row] == 1
	case contract.Timestamp:
		return time.UnixMicro(v.Ints[row]).UTC()
	case contract.Date:
		return time.Unix(v.Ints[row]*86400, 0).UTC()
	case contract.Number:
		if doubles {
			return float64(v.Ints[row]) / math.Pow10(f.Scale)
		}
	}
	if typeOf(f, doubles) == "INTEGER" {
		return int32(v.Ints[row])
	}
	return v.Ints[row]
}

// Rows runs a query and answers each row as text, values apart by a bar.
func (p *Peer) Rows(ctx context.Context, text string) ([]string, error) {
	rows, err := p.db.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values, to := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		to[i] = &values[i]
	}
	var all []string
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		cells := make([]string, len(values))
		for i, v := range values {
			cells[i] = show(v)
		}
		all = append(all, strings.Join(cells, "|"))
	}
	return all, rows.Err()
}

func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case time.Time:
		return fmt.Sprint(v.UnixMicro())
	case bool:
		if v {
			return "1"
		}
		return "0"
	case *big.Int:
		return v.String()
	case duck.Decimal:
		return v.String()
	}
	return fmt.Sprint(v)
}

// Bytes is the memory that its tables take.
func (p *Peer) Bytes(ctx context.Context) (int64, error) {
	rows, err := p.Rows(ctx, "SELECT CAST(SUM(memory_usage_bytes) AS BIGINT) FROM duckdb_memory() WHERE tag = 'IN_MEMORY_TABLE'")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(rows[0], 10, 64)
}
