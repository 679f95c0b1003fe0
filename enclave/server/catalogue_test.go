package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/cloisterhq/cloister/sim/issuer"
)

func ptr[T any](v T) *T { return &v }

// listed answers the rows of a catalogue call.
func listed(ctx context.Context, t *testing.T, c *flightsql.Client, info *flight.FlightInfo, err error) []string {
	t.Helper()
	if err != nil {
		t.Errorf("%v", err)
		return nil
	}
	for _, e := range info.GetEndpoint() {
		if len(e.GetLocation()) > 0 {
			t.Errorf("a location: %v", e.GetLocation())
		}
	}
	if len(info.GetSchema()) == 0 {
		t.Error("a list without its schema")
	}
	all, err := rows(ctx, c, info)
	if err != nil {
		t.Errorf("%v", err)
	}
	return all
}

// TestTables lists datasets through every filter.
func TestTables(t *testing.T) {
	d := deployTwo(t)
	ctx, c := d.client(t)
	colon, lung := "NULL|NULL|colon|TABLE|", "NULL|NULL|lung-2|TABLE|"
	for name, f := range map[string]struct {
		opts *flightsql.GetTablesOpts
		want []string
	}{
		"all":                   {&flightsql.GetTablesOpts{}, []string{colon, lung}},
		"by name":               {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("colon")}, []string{colon}},
		"by another case":       {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("COLON")}, nil},
		"%":                     {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("%")}, []string{colon, lung}},
		"a beginning":           {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("l%")}, []string{lung}},
		"an end":                {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("%n")}, []string{colon}},
		"a middle":              {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("%l%n%")}, []string{colon, lung}},
		"again after a miss":    {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("%o%on")}, []string{colon}},
		"_":                     {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("c_l_n")}, []string{colon}},
		"_ for nothing":         {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("colon_")}, nil},
		"an escaped _":          {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr(`lung\_2`)}, nil},
		"an escaped letter":     {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr(`\colon`)}, []string{colon}},
		"a lonely escape":       {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr(`colon\`)}, nil},
		"a part":                {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("colo")}, nil},
		"nothing":               {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr("")}, nil},
		"many wildcards":        {&flightsql.GetTablesOpts{TableNameFilterPattern: ptr(strings.Repeat("%_", 5) + strings.Repeat("%", 10_000))}, []string{colon, lung}},
		"in no catalogue":       {&flightsql.GetTablesOpts{Catalog: ptr("")}, []string{colon, lung}},
		"in a catalogue":        {&flightsql.GetTablesOpts{Catalog: ptr("main")}, nil},
		"in no schema":          {&flightsql.GetTablesOpts{DbSchemaFilterPattern: ptr("")}, []string{colon, lung}},
		"in any schema":         {&flightsql.GetTablesOpts{DbSchemaFilterPattern: ptr("%")}, []string{colon, lung}},
		"in a schema":           {&flightsql.GetTablesOpts{DbSchemaFilterPattern: ptr("public")}, nil},
		"of type table":         {&flightsql.GetTablesOpts{TableTypes: []string{"VIEW", "table"}}, []string{colon, lung}},
		"of type view":          {&flightsql.GetTablesOpts{TableTypes: []string{"VIEW"}}, nil},
		"a name and everything": {&flightsql.GetTablesOpts{Catalog: ptr(""), DbSchemaFilterPattern: ptr("%"), TableNameFilterPattern: ptr("lung-_"), TableTypes: []string{"TABLE"}}, []string{lung}},
	} {
		info, err := c.GetTables(ctx, f.opts)
		if got := listed(ctx, t, c, info, err); !slices.Equal(got, f.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	// Who may query nothing sees nothing.
	token, err := d.issuer.Mint(issuer.Claims{Subject: "eve", Roles: []string{"auditor"}})
	if err != nil {
		t.Fatal(err)
	}
	eve := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	info, err := c.GetTables(eve, &flightsql.GetTablesOpts{})
	if got := listed(eve, t, c, info, err); len(got) > 0 {
		t.Errorf("an auditor sees %v", got)
	}
	if n := len(d.outcomes(t)); n > 0 {
		t.Errorf("%d entries for looking around", n)
	}
}

// schemaOfStudy asks for the study's table schema.
func schemaOfStudy(t *testing.T) *arrow.Schema {
	t.Helper()
	d := deploy(t, nil)
	ctx, c := d.client(t)
	info, err := c.GetTables(ctx, &flightsql.GetTablesOpts{IncludeSchema: true})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := c.DoGet(ctx, info.GetEndpoint()[0].GetTicket())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	if !reader.Next() {
		t.Fatal(reader.Err())
	}
	schema, err := flight.DeserializeSchema(reader.RecordBatch().Column(4).(*array.Binary).Value(0), memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestTableSchema: a dataset's schema is its contract but for the hidden
// columns.
func TestTableSchema(t *testing.T) {
	schema := schemaOfStudy(t)
	want := []struct {
		name, arrow, role, use string
		required               bool
	}{
		{"id", "int64", "unit", "COUNT(DISTINCT id)", true},
		{"rx", "utf8", "dimension", "GROUP BY, WHERE, COUNT", false},
		{"age", "int64", "measure", "SUM, AVG, COUNT", false},
		{"nodes", "int64", "dimension", "GROUP BY, WHERE, COUNT", false},
		{"weight", "decimal(38, 2)", "dimension", "GROUP BY, WHERE, COUNT", false},
		{"seen", "date32", "dimension", "GROUP BY, WHERE, COUNT", false},
		{"at", "timestamp[us, tz=UTC]", "dimension", "GROUP BY, WHERE, COUNT", false},
		{"smoker", "bool", "dimension", "GROUP BY, WHERE, COUNT", false},
		{"postcode", "utf8", "restricted", "none", false},
		{"state", "utf8", "status", "none", false},
	}
	if schema.NumFields() != len(want) || strings.Contains(schema.String(), "note") {
		t.Fatalf("%v", schema)
	}
	for i, w := range want {
		f := schema.Field(i)
		role, _ := f.Metadata.GetValue("cloister.role")
		use, _ := f.Metadata.GetValue("cloister.use")
		if f.Name != w.name || f.Type.String() != w.arrow || role != w.role || use != w.use || f.Nullable == w.required {
			t.Errorf("%v", f)
		}
		m := flightsql.ColumnMetadata{Data: &f.Metadata}
		searchable, _ := m.IsSearchable()
		readOnly, _ := m.IsReadOnly()
		if table, ok := m.TableName(); !ok || table != "colon" || searchable != (w.role == "dimension") || !readOnly {
			t.Errorf("%s: %v", w.name, f.Metadata)
		}
	}
	for column, all := range map[int]map[string]string{
		1: {"ARROW:FLIGHT:SQL:REMARKS": "Treatment.", "cloister.enum": `["Lev","Obs"]`, "cloister.max_length": "16", "ARROW:FLIGHT:SQL:TYPE_NAME": "VARCHAR"},
		2: {"cloister.minimum": "0", "cloister.maximum": "120", "ARROW:FLIGHT:SQL:PRECISION": "19"},
		4: {"ARROW:FLIGHT:SQL:SCALE": "2", "ARROW:FLIGHT:SQL:TYPE_NAME": "DECIMAL"},
	} {
		for key, value := range all {
			if got, _ := schema.Field(column).Metadata.GetValue(key); got != value {
				t.Errorf("%s of %s: %q", key, schema.Field(column).Name, got)
			}
		}
	}
	for key, value := range map[string]string{
		"cloister.dataset": "colon", "cloister.contract": "1.2.0", "cloister.floor": "5", "cloister.mode": "threshold", "cloister.description": "A trial.",
	} {
		if got, _ := schema.Metadata().GetValue(key); got != value {
			t.Errorf("%s: %q", key, got)
		}
	}
}

// TestLists reads the other lists, most of which are empty.
func TestLists(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	ref := flightsql.TableRef{Table: "colon"}
	list := func(call func() (*flight.FlightInfo, error)) []string {
		info, err := call()
		return listed(ctx, t, c, info, err)
	}
	for name, f := range map[string]struct {
		call func() (*flight.FlightInfo, error)
		want []string
	}{
		"catalogues": {func() (*flight.FlightInfo, error) { return c.GetCatalogs(ctx) }, nil},
		"schemas":    {func() (*flight.FlightInfo, error) { return c.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{}) }, []string{"NULL||"}},
		"schemas of one": {func() (*flight.FlightInfo, error) {
			return c.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{Catalog: ptr("main")})
		}, nil},
		"named schemas": {func() (*flight.FlightInfo, error) {
			return c.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{DbSchemaFilterPattern: ptr("p%")})
		}, nil},
		"types of tables": {func() (*flight.FlightInfo, error) { return c.GetTableTypes(ctx) }, []string{"TABLE|"}},
		"primary keys":    {func() (*flight.FlightInfo, error) { return c.GetPrimaryKeys(ctx, ref) }, nil},
		"exported keys":   {func() (*flight.FlightInfo, error) { return c.GetExportedKeys(ctx, ref) }, nil},
		"imported keys":   {func() (*flight.FlightInfo, error) { return c.GetImportedKeys(ctx, ref) }, nil},
		"cross reference": {func() (*flight.FlightInfo, error) { return c.GetCrossReference(ctx, ref, ref) }, nil},
	} {
		if got := list(f.call); !slices.Equal(got, f.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	types := list(func() (*flight.FlightInfo, error) { return c.GetXdbcTypeInfo(ctx, nil) })
	if len(types) != 6 || !strings.HasPrefix(types[1], "BIGINT|-5|19|NULL|NULL|NULL|1|false|2|false|false|false|integer|0|0|-5|NULL|10|NULL|") {
		t.Errorf("%v", types)
	}
	if got := list(func() (*flight.FlightInfo, error) { return c.GetXdbcTypeInfo(ctx, ptr(int32(91))) }); len(got) != 1 || !strings.HasPrefix(got[0], "DATE|91|") {
		t.Errorf("%v", got)
	}
	if got := list(func() (*flight.FlightInfo, error) { return c.GetXdbcTypeInfo(ctx, ptr(int32(8))) }); len(got) != 0 {
		t.Errorf("doubles: %v", got)
	}
	// The schema of every list is known without it.
	for name, call := range map[string]func(context.Context, ...grpc.CallOption) (*flight.SchemaResult, error){
		"catalogues": c.GetCatalogsSchema, "types": c.GetXdbcTypeInfoSchema, "keys": c.GetPrimaryKeysSchema, "information": c.GetSqlInfoSchema,
	} {
		if s, err := call(ctx); err != nil || len(s.GetSchema()) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
