package server_test

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
)

// TestInformation: what the server says of itself is true, the same each time,
// and what it doesn't know is left out.
func TestInformation(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	all := func(ids ...flightsql.SqlInfo) map[uint32]any {
		info, err := c.GetSqlInfo(ctx, ids)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := c.DoGet(ctx, info.GetEndpoint()[0].GetTicket())
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Release()
		found := map[uint32]any{}
		for reader.Next() {
			names, values := reader.RecordBatch().Column(0).(*array.Uint32), reader.RecordBatch().Column(1).(*array.DenseUnion)
			for i := range names.Len() {
				child := values.Field(values.ChildID(i))
				if list, ok := child.(array.ListLike); ok {
					from, to := list.ValueOffsets(int(values.ValueOffset(i)))
					found[names.Value(i)] = to - from
					continue
				}
				found[names.Value(i)] = child.ValueStr(int(values.ValueOffset(i)))
			}
		}
		if err := reader.Err(); err != nil {
			t.Fatal(err)
		}
		return found
	}
	got := all()
	for id, want := range map[flightsql.SqlInfo]any{
		flightsql.SqlInfoFlightSqlServerName: "Cloister", flightsql.SqlInfoFlightSqlServerReadOnly: "true", flightsql.SqlInfoFlightSqlServerSql: "true",
		flightsql.SqlInfoFlightSqlServerSubstrait: "false", flightsql.SqlInfoFlightSqlServerCancel: "true", flightsql.SqlInfoFlightSqlServerTransaction: "0",
		flightsql.SqlInfoTransactionsSupported: "false", flightsql.SqlInfoIdentifierQuoteChar: `"`, flightsql.SqlInfoIdentifierCase: "1",
		flightsql.SqlInfoNullOrdering: "3", flightsql.SqlInfoSupportedUnions: "0", flightsql.SqlInfoSupportedSubqueries: "0",
		flightsql.SqlInfoMaxStatementLen: "65536", flightsql.SqlInfoMaxTablesInSelect: "1", flightsql.SqlInfoNumericFunctions: int64(0),
		flightsql.SqlInfoSupportsConvert: int64(0), flightsql.SqlInfoSupportedGroupBy: "2", flightsql.SqlInfoSchemasSupportedActions: "0",
	} {
		if got[uint32(id)] != want {
			t.Errorf("%d: %v, not %v", id, got[uint32(id)], want)
		}
	}
	if again := all(); len(again) != len(got) || len(got) < 80 {
		t.Errorf("%d, then %d pieces", len(got), len(again))
	}
	if got := all(flightsql.SqlInfoFlightSqlServerName, 4711, flightsql.SqlInfoFlightSqlServerSubstraitMinVersion, flightsql.SqlInfoFlightSqlServerName); len(got) != 1 {
		t.Errorf("one known of three: %v", got)
	}
	if got := all(4711); len(got) != 0 {
		t.Errorf("none known: %v", got)
	}
}

// TestInformationIsTrue tries what the server says of its dialect.
func TestInformationIsTrue(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	for text, good := range map[string]bool{
		`SELECT "RX" AS "x", COUNT(*) AS n FROM "Colon" AS k GROUP BY K.rx ORDER BY n`: true,  // case, quotes, aliases, correlation names
		"SELECT COUNT(*) FROM colon GROUP BY rx":                                       true,  // keys beyond SELECT
		"SELECT rx FROM colon GROUP BY rx, nodes":                                      true,  // keys beyond SELECT
		"SELECT rx, COUNT(*) FROM colon GROUP BY rx ORDER BY nodes":                    false, // no unrelated order
		"SELECT rx, COUNT(*) FROM colon GROUP BY rx ORDER BY COUNT(*) + 1":             false, // no expressions in order
		"SELECT COUNT(*) FROM colon WHERE rx LIKE 'L%'":                                false,
		"SELECT COUNT(*) FROM colon UNION SELECT COUNT(*) FROM colon":                  false,
		"SELECT COUNT(*) FROM main.colon":                                              false, // no schemas
		"SELECT COUNT(*) FROM colon WHERE nodes = ABS(1)":                              false, // no functions
	} {
		if _, err := c.Execute(ctx, text); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
