package server

import (
	"context"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// tableType is what every dataset is.
const tableType = "TABLE"

// GetFlightInfoCatalogs answers the ticket of the list of catalogues.
func (q *queries) GetFlightInfoCatalogs(_ context.Context, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return newInfo(desc, schema_ref.Catalogs, desc.GetCmd()), nil
}

// DoGetCatalogs answers an empty list: datasets belong to no catalogue, so that
// no client writes one in front of their names.
func (q *queries) DoGetCatalogs(context.Context) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return listing(schema_ref.Catalogs, func(*array.RecordBuilder) {})
}

// GetFlightInfoSchemas answers the ticket of the list of schemas.
func (q *queries) GetFlightInfoSchemas(_ context.Context, _ flightsql.GetDBSchemas, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return newInfo(desc, schema_ref.DBSchemas, desc.GetCmd()), nil
}

// DoGetDBSchemas answers the schema without a name, in no catalogue, where all
// datasets are: ADBC's drivers look for tables in the schemas listed alone.
func (q *queries) DoGetDBSchemas(_ context.Context, cmd flightsql.GetDBSchemas) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return listing(schema_ref.DBSchemas, func(b *array.RecordBuilder) {
		if c := cmd.GetCatalog(); (c == nil || *c == "") && like(cmd.GetDBSchemaFilterPattern(), "") {
			texts(b, 0).AppendNull()
			texts(b, 1).Append("")
		}
	})
}

// GetFlightInfoTableTypes answers the ticket of the list of kinds of tables.
func (q *queries) GetFlightInfoTableTypes(_ context.Context, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return newInfo(desc, schema_ref.TableTypes, desc.GetCmd()), nil
}

// DoGetTableTypes answers the one kind there is.
func (q *queries) DoGetTableTypes(context.Context) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return listing(schema_ref.TableTypes, func(b *array.RecordBuilder) { texts(b, 0).Append(tableType) })
}

// GetFlightInfoTables answers the ticket of the list of datasets.
func (q *queries) GetFlightInfoTables(_ context.Context, cmd flightsql.GetTables, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return newInfo(desc, tablesSchema(cmd), desc.GetCmd()), nil
}

func tablesSchema(cmd flightsql.GetTables) *arrow.Schema {
	if cmd.GetIncludeSchema() {
		return schema_ref.TablesWithIncludedSchema
	}
	return schema_ref.Tables
}

// DoGetTables answers the datasets that the caller may query, from their
// contracts, each in a batch of its own: a schema may be large.
func (q *queries) DoGetTables(ctx context.Context, cmd flightsql.GetTables) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	querier, err := q.querier()
	if err != nil {
		return nil, nil, err
	}
	schema := tablesSchema(cmd)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	tables := querier.Tables(callerOf(ctx))
	chunks := make(chan flight.StreamChunk, len(tables)+1)
	defer close(chunks)
	if !inNoCatalogue(cmd) {
		return schema, chunks, nil
	}
	for _, c := range tables {
		if !like(cmd.GetTableNameFilterPattern(), c.Dataset) {
			continue
		}
		texts(builder, 0).AppendNull()
		texts(builder, 1).AppendNull()
		texts(builder, 2).Append(c.Dataset)
		texts(builder, 3).Append(tableType)
		if cmd.GetIncludeSchema() {
			builder.Field(4).(*array.BinaryBuilder).Append(flight.SerializeSchema(tableSchema(c), memory.DefaultAllocator))
		}
		chunks <- flight.StreamChunk{Data: builder.NewRecordBatch()}
	}
	return schema, chunks, nil
}

// inNoCatalogue says whether a filter lets through what is in no catalogue and
// in no schema, and is a table.
func inNoCatalogue(cmd flightsql.GetTables) bool {
	catalogue, types := cmd.GetCatalog(), cmd.GetTableTypes()
	return (catalogue == nil || *catalogue == "") && like(cmd.GetDBSchemaFilterPattern(), "") &&
		(len(types) == 0 || slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, tableType) }))
}

// texts answers a column's builder.
func texts(b *array.RecordBuilder, i int) *array.StringBuilder {
	return b.Field(i).(*array.StringBuilder)
}

// like says whether a text matches a pattern as SQL's LIKE does: % stands for
// any text, _ for any one byte, and \ before either of them or itself takes
// their meaning away. No pattern matches everything. Names are ASCII.
func like(pattern *string, text string) bool {
	if pattern == nil {
		return true
	}
	p, t := *pattern, 0
	// After the last % a mismatch begins again one byte later.
	at, again, from := 0, -1, 0
	for t < len(text) {
		switch symbol, size := wildcard(p[at:]); {
		case size > 0 && symbol == anyText:
			at += size
			again, from = at, t
		case size > 0 && (symbol == anyByte || symbol == int(text[t])):
			at, t = at+size, t+1
		case again >= 0:
			from++
			at, t = again, from
		default:
			return false
		}
	}
	return strings.Trim(p[at:], "%") == ""
}

// What the first symbol of a pattern stands for, else a byte.
const (
	anyText = -1
	anyByte = -2
)

// wildcard answers the first symbol of a pattern and its length, 0 at the end.
func wildcard(pattern string) (symbol, size int) {
	switch {
	case pattern == "":
		return 0, 0
	case pattern[0] == '%':
		return anyText, 1
	case pattern[0] == '_':
		return anyByte, 1
	case pattern[0] == '\\' && len(pattern) > 1:
		return int(pattern[1]), 2
	}
	return int(pattern[0]), 1
}
