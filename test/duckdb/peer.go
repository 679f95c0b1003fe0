// Package duckdb holds the executor against DuckDB: whether both give the same
// answers (its tests), and which of them is faster (package yardstick). It is a
// module of its own, because DuckDB needs a C compiler and the product has none.
package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
	duck "github.com/duckdb/duckdb-go/v2"
)

// Peer is a DuckDB in memory, with its compression on and everything that
// reaches outside off.
type Peer struct {
	connector *duck.Connector
	db        *sql.DB
}

// Open starts one that works with so many threads.
func Open(ctx context.Context, threads int) (*Peer, error) {
	connector, err := duck.NewConnector("", nil)
	if err != nil {
		return nil, err
	}
	p := &Peer{connector: connector, db: sql.OpenDB(connector)}
	p.db.SetMaxOpenConns(1)
	// Without COMPRESS a table in memory takes several times the room and time.
	for _, statement := range []string{
		"ATTACH ':memory:' AS data (COMPRESS)",
		"USE data",
		fmt.Sprint("SET threads = ", threads),
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	} {
		if _, err := p.db.ExecContext(ctx, statement); err != nil {
			_ = p.Close()
			return nil, fmt.Errorf("duckdb: %s: %w", statement, err)
		}
	}
	return p, nil
}

// Close ends it.
func (p *Peer) Close() error {
	err := p.db.Close()
	_ = p.connector.Close()
	return err
}

// Exec runs a statement that answers nothing.
func (p *Peer) Exec(ctx context.Context, text string) error {
	_, err := p.db.ExecContext(ctx, text)
	return err
}

// Create makes an empty table for a contract's dataset. Numbers are integers in
// stored units there too, unless doubles is set.
func (p *Peer) Create(ctx context.Context, c *contract.Contract, doubles bool) error {
	var columns []string
	for _, f := range c.Fields {
		columns = append(columns, f.Name+" "+typeOf(&f, doubles))
	}
	return p.Exec(ctx, fmt.Sprintf("CREATE TABLE %s (%s)", c.Dataset, strings.Join(columns, ", ")))
}

func typeOf(f *contract.Field, doubles bool) string {
	switch f.Type {
	case contract.String:
		return "VARCHAR"
	case contract.Boolean:
		return "BOOLEAN"
	case contract.Timestamp:
		return "TIMESTAMP"
	case contract.Date:
		return "DATE"
	case contract.Number:
		if doubles {
			return "DOUBLE"
		}
	case contract.Integer:
		if f.Minimum != nil && f.Maximum != nil && *f.Minimum >= -1<<31 && *f.Maximum < 1<<31 {
			return "INTEGER"
		}
	}
	return "BIGINT"
}

// Append adds rows to the table of a contract, as a table takes them.
func (p *Peer) Append(ctx context.Context, c *contract.Contract, doubles bool, rows int, columns []table.Values) error {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(raw any) error {
		a, err := duck.NewAppender(raw.(driver.Conn), "data", "main", c.Dataset)
		if err != nil {
			return err
		}
		row := make([]driver.Value, len(columns))
		for i := range rows {
			for k := range columns {
				row[k] = value(&c.Fields[k], doubles, &columns[k], i)
			}
			if err := a.AppendRow(row...); err != nil {
				_ = a.Close()
				return err
			}
		}
		return a.Close()
	})
}
