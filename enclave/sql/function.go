package sql

import (
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
)

// pseudoColumn says whether some engine gives rows an address of this name.
func pseudoColumn(name string) bool {
	switch upper(name) {
	case "ROWID", "_ROWID_", "CTID", "OID", "XMIN", "XMAX", "TABLEOID", "ROWNUM":
		return true
	}
	return false
}

// aggregateFunction answers the function of a name that the dialect has.
func aggregateFunction(name string) (Func, bool) {
	switch name {
	case "COUNT":
		return CountValues, true
	case "SUM":
		return Sum, true
	case "AVG":
		return Avg, true
	}
	return 0, false
}

// unavailable says whether the dialect's definition has a function that can't
// be run yet.
func unavailable(name string) bool {
	switch name {
	case "VAR_POP", "STDDEV_POP", "MEDIAN", "QUANTILE_CONT", "DATE_TRUNC", "BIN":
		return true
	}
	return false
}

// forbiddenCode answers the code of a function that is refused wherever it
// stands, and by its own name; empty for others.
func forbiddenCode(name string) string {
	switch name {
	case "MIN", "MAX", "ANY_VALUE", "FIRST", "LAST", "FIRST_VALUE", "LAST_VALUE", "NTH_VALUE", "ARBITRARY", "MODE",
		"ARG_MAX", "ARG_MIN", "ARGMAX", "ARGMIN", "MAX_BY", "MIN_BY", "LIST", "ARRAY_AGG", "STRING_AGG", "GROUP_CONCAT", "LISTAGG", "MAP_AGG",
		"JSON_AGG", "JSONB_AGG", "JSON_OBJECT_AGG", "JSON_GROUP_ARRAY", "JSON_GROUP_OBJECT", "XMLAGG", "HISTOGRAM", "HISTOGRAM_EXACT",
		"BITSTRING_AGG", "PRODUCT", "BOOL_AND", "BOOL_OR", "EVERY", "COUNT_IF", "COUNTIF", "SUM_IF", "SUMIF", "FSUM", "FAVG", "KAHAN_SUM",
		"SUMKAHAN", "GEOMETRIC_MEAN", "GEOMEAN", "MAD", "ENTROPY", "KURTOSIS", "KURTOSIS_POP", "SKEWNESS", "CORR", "COVAR_POP", "COVAR_SAMP",
		"VAR_SAMP", "VARIANCE", "STDDEV", "STDDEV_SAMP", "SEM", "QUANTILE", "QUANTILE_DISC", "PERCENTILE_CONT", "PERCENTILE_DISC",
		"RESERVOIR_QUANTILE", "CHECKSUM", "CHECKSUM_AGG", "HASH_AGG":
		return codeAggregate
	case "COLUMNS", "UNNEST", "EXPLODE":
		return codeNotAggregated
	case "GROUPING", "GROUPING_ID", "ROW_NUMBER", "RANK", "DENSE_RANK", "PERCENT_RANK", "CUME_DIST", "NTILE", "LAG", "LEAD":
		return codeClause
	case "STATS", "QUERY", "QUERY_TABLE", "GETENV", "CURRENT_SETTING", "SET_CONFIG", "DBLINK", "LO_IMPORT", "LO_EXPORT", "GLOB":
		return codeStatement
	}
	for _, f := range [...]struct{ prefix, code string }{
		{"APPROX_", codeAggregate}, {"HLL", codeAggregate}, {"BIT_", codeAggregate}, {"REGR_", codeAggregate}, {"ANON_", codeAggregate},
		{"DUCKDB_", codeStatement}, {"PRAGMA_", codeStatement}, {"PG_", codeStatement}, {"READ_", codeStatement}, {"PARQUET_", codeStatement},
	} {
		if strings.HasPrefix(name, f.prefix) {
			return f.code
		}
	}
	return ""
}

// forbidden refuses a function that is refused wherever it stands, and says
// whether it is one.
func (b *binder) forbidden(n *node) bool {
	code := forbiddenCode(n.text)
	switch code {
	case codeAggregate:
		b.refuse(code, n.at, "this aggregate returns or encodes single values, or has no bound for each person", "use COUNT, SUM or AVG")
	case codeNotAggregated:
		b.refuse(code, n.at, "this puts out rows", "name dimensions of GROUP BY, and aggregates")
	case codeClause:
		b.refuse(code, n.at, "window functions and marginal totals aren't part of the dialect", "group by a dimension instead")
	case codeStatement:
		b.refuse(code, n.at, "functions over catalogues, files and queries don't exist here", "query a dataset")
	}
	return code != ""
}

// aggregate binds a call in SELECT or HAVING. It answers false for a refused
// one.
func (b *binder) aggregate(n *node) (Aggregate, bool) {
	f, known := aggregateFunction(n.text)
	switch {
	case known:
		return b.known(f, n)
	case unavailable(n.text):
		b.refuse(codeNotAvailable, n.at, "this function isn't available yet", "use COUNT, SUM or AVG, and group by a plain dimension")
		b.inside(n)
	default:
		b.foreign(n, codeExpression, "use COUNT, SUM or AVG of a plain column")
	}
	return Aggregate{}, false
}

// known binds COUNT, SUM and AVG.
func (b *binder) known(f Func, n *node) (Aggregate, bool) {
	if n.star && !n.distinct && f == CountValues {
		return Aggregate{Func: CountRows, Field: -1}, b.arguments(n.args)
	}
	if n.star || len(n.args) == 0 {
		b.arguments(n.args)
		if n.distinct {
			b.refuse(codeDistinct, n.at, "DISTINCT counts people alone", "use COUNT(DISTINCT …) of the unit")
		} else {
			b.refuse(codeInAggregate, n.at, "an aggregate takes one plain column", "name a column, or use COUNT(*)")
		}
		return Aggregate{}, false
	}
	arg := n.args[0]
	clean := b.arguments(n.args[1:])
	if arg.kind != nodeColumn {
		b.argument(arg)
		if n.distinct {
			b.refuse(codeDistinct, n.at, "DISTINCT counts people alone", "use COUNT(DISTINCT …) of the unit")
		}
		return Aggregate{}, false
	}
	c, ok := b.usable(arg)
	if !ok {
		return Aggregate{}, false
	}
	a, ok := b.column(f, n, c)
	return a, ok && clean
}

// column binds an aggregate over a usable column.
func (b *binder) column(f Func, n *node, c int) (Aggregate, bool) {
	arg := n.args[0]
	role := b.contract.Fields[c].Role
	switch {
	case n.distinct && f == CountValues && role == contract.Unit:
		return Aggregate{Func: CountUnits, Field: c}, true
	case n.distinct:
		b.refuse(codeDistinct, n.at, "DISTINCT counts people alone", "use COUNT(DISTINCT …) of the unit, or leave DISTINCT out")
	case role == contract.Unit:
		b.refuse(codeRole, arg.at, "this column names the protected people and can only be counted", "use it in COUNT(DISTINCT …) alone")
	case f != CountValues && role != contract.Measure:
		b.refuse(codeRole, arg.at, "only a measure has the bounds that a sum needs", "use a measure, or count this column")
	default:
		return Aggregate{Func: f, Field: c}, true
	}
	return Aggregate{}, false
}

// arguments refuses what follows an aggregate's one argument, and says whether
// nothing does.
func (b *binder) arguments(extra []*node) bool {
	for _, a := range extra {
		b.argument(a)
	}
	return len(extra) == 0
}

// argument refuses anything but a plain column as an aggregate's argument.
func (b *binder) argument(n *node) {
	fix := phrase("aggregate a plain column")
	switch {
	case n.literal():
		b.refuse(codeInAggregate, n.at, "an aggregate takes one plain column, not a literal", "use COUNT(*) for rows")
	case n.kind == nodeColumn:
		b.refuse(codeInAggregate, n.at, "an aggregate takes one plain column", fix)
		b.inside(n)
	case n.kind == nodeCall && forbiddenCode(n.text) != "":
		b.refuse(codeInAggregate, n.at, "an aggregate takes one plain column", fix)
		b.inside(n)
	default:
		b.foreign(n, codeInAggregate, fix)
	}
}
