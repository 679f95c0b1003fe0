package server

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"

	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// arrowVersion is the version of the Arrow columnar format spoken.
	arrowVersion = "1.5"
	// maxName, maxList and maxLiteral are the dialect's bounds: bytes of a name,
	// elements of a clause, characters of a text.
	maxName    = 63
	maxList    = 256
	maxLiteral = limits.Text
	// groupByBeyondSelect is the bit of SqlSupportedGroupBy for keys that SELECT
	// doesn't put out.
	groupByBeyondSelect = 1 << 1
	// forwardOnly and readOnly are the bits of result sets that are read once.
	forwardOnly = 1 << 1
	readOnly    = 1 << 1
	// isolationNone is SQL_TRANSACTION_NONE, as an ordinal and as a bit.
	isolationNone    = 0
	isolationNoneBit = 1
)

// information is what GetSqlInfo answers, by FlightSql.proto. What a client
// could take for a promise of more SQL than the dialect has says no.
func information() flightsql.SqlInfoResultMap {
	all := flightsql.SqlInfoResultMap{}
	for _, part := range []map[flightsql.SqlInfo]any{serverInformation(), dialectInformation(), absentInformation(), boundInformation()} {
		for id, value := range part {
			all[uint32(id)] = value
		}
	}
	return all
}

func serverInformation() map[flightsql.SqlInfo]any {
	return map[flightsql.SqlInfo]any{
		flightsql.SqlInfoFlightSqlServerName:                        "Cloister",
		flightsql.SqlInfoFlightSqlServerVersion:                     version(),
		flightsql.SqlInfoFlightSqlServerArrowVersion:                arrowVersion,
		flightsql.SqlInfoFlightSqlServerReadOnly:                    true,
		flightsql.SqlInfoFlightSqlServerSql:                         true,
		flightsql.SqlInfoFlightSqlServerSubstrait:                   false,
		flightsql.SqlInfoFlightSqlServerTransaction:                 int32(flightsql.SqlTransactionNone),
		flightsql.SqlInfoFlightSqlServerCancel:                      true,
		flightsql.SqlInfoFlightSqlServerBulkIngestion:               false,
		flightsql.SqlInfoFlightSqlServerIngestTransactionsSupported: false,
		flightsql.SqlInfoFlightSqlServerStatementTimeout:            int32(0), // handles don't expire
		flightsql.SqlInfoFlightSqlServerTransactionTimeout:          int32(0),
	}
}

// version is that of the main module, which the build stamps.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// dialectInformation is what the dialect has.
func dialectInformation() map[flightsql.SqlInfo]any {
	return map[flightsql.SqlInfo]any{
		flightsql.SqlInfoIdentifierCase:                                int32(flightsql.SqlCaseSensitivityCaseInsensitive),
		flightsql.SqlInfoIdentifierQuoteChar:                           `"`,
		flightsql.SqlInfoQuotedIdentifierCase:                          int32(flightsql.SqlCaseSensitivityCaseInsensitive),
		flightsql.SqlInfoAllTablesAreASelectable:                       true,
		flightsql.SqlInfoNullOrdering:                                  int32(flightsql.SqlNullOrderingSortAtEnd),
		flightsql.SqlInfoSearchStringEscape:                            `\`,
		flightsql.SqlInfoSupportsColumnAliasing:                        true,
		flightsql.SqlInfoSupportsTableCorrelationNames:                 true,
		flightsql.SqlInfoSupportedGroupBy:                              int32(groupByBeyondSelect),
		flightsql.SqlInfoSupportsNonNullableColumns:                    true,
		flightsql.SqlInfoSchemaTerm:                                    "schema",
		flightsql.SqlInfoCatalogTerm:                                   "catalog",
		flightsql.SqlInfoProcedureTerm:                                 "procedure",
		flightsql.SqlInfoDefaultTransactionIsolation:                   int64(isolationNone), // JDBC's driver reads no int32 here
		flightsql.SqlInfoSupportedTransactionsIsolationlevels:          int32(isolationNoneBit),
		flightsql.SqlInfoSupportedResultSetTypes:                       int32(forwardOnly),
		flightsql.SqlInfoSupportedConcurrenciesForResultSetForwardOnly: int32(readOnly),
	}
}

// absentInformation is what the dialect hasn't. It has aggregates and no
// scalar functions; FlightSql.proto has no place for aggregates, so they stand
// in the metadata of the tables' schemas.
func absentInformation() map[flightsql.SqlInfo]any {
	all := map[flightsql.SqlInfo]any{flightsql.SqlInfoSupportsConvert: map[int32][]int32{}}
	for _, id := range []flightsql.SqlInfo{
		flightsql.SqlInfoDDLCatalog, flightsql.SqlInfoDDLSchema, flightsql.SqlInfoDDLTable, flightsql.SqlInfoNullPlusNullIsNull,
		flightsql.SqlInfoSupportsDifferentTableCorrelationNames, flightsql.SqlInfoSupportsExpressionsInOrderBy, flightsql.SqlInfoSupportsOrderByUnrelated,
		flightsql.SqlInfoSupportsLikeEscapeClause, flightsql.SqlInfoSupportsIntegrityEnhancementFacility, flightsql.SqlInfoCatalogAtStart,
		flightsql.SqlInfoSelectForUpdateSupported, flightsql.SqlInfoStoredProceduresSupported, flightsql.SqlInfoCorrelatedSubqueriesSupported,
		flightsql.SqlInfoTransactionsSupported, flightsql.SqlInfoDataDefinitionCausesTransactionCommit, flightsql.SqlInfoDataDefinitionsInTransactionsIgnored,
		flightsql.SqlInfoBatchUpdatesSupported, flightsql.SqlInfoSavePointsSupported, flightsql.SqlInfoNamedParametersSupported,
		flightsql.SqlInfoLocatorsUpdateCopy, flightsql.SqlInfoStoredFunctionsUsingCallSyntaxSupported, flightsql.SqlInfoMaxRowSizeIncludesBlobs,
	} {
		all[id] = false
	}
	for _, id := range []flightsql.SqlInfo{
		flightsql.SqlInfoSupportedGrammar, flightsql.SqlInfoANSI92SupportedLevel, flightsql.SqlInfoOuterJoinsSupportLevel,
		flightsql.SqlInfoSchemasSupportedActions, flightsql.SqlInfoCatalogsSupportedActions, flightsql.SqlInfoSupportedPositionedCommands,
		flightsql.SqlInfoSupportedSubqueries, flightsql.SqlInfoSupportedUnions, flightsql.SqlInfoSupportedConcurrenciesForResultSetUnspecified,
		flightsql.SqlInfoSupportedConcurrenciesForResultSetScrollSensitive, flightsql.SqlInfoSupportedConcurrenciesForResultSetScrollInsensitive,
	} {
		all[id] = int32(0)
	}
	for _, id := range []flightsql.SqlInfo{
		flightsql.SqlInfoKeywords, flightsql.SqlInfoNumericFunctions, flightsql.SqlInfoStringFunctions,
		flightsql.SqlInfoSystemFunctions, flightsql.SqlInfoDateTimeFunctions,
	} {
		all[id] = []string{}
	}
	all[flightsql.SqlInfoExtraNameChars] = ""
	return all
}

// boundInformation is how large things may be; 0 says unlimited or unknown.
func boundInformation() map[flightsql.SqlInfo]any {
	all := map[flightsql.SqlInfo]any{
		flightsql.SqlInfoMaxCharLiteralLen:   int64(maxLiteral),
		flightsql.SqlInfoMaxColumnNameLen:    int64(maxName),
		flightsql.SqlInfoMaxTableNameLen:     int64(maxName),
		flightsql.SqlInfoMaxColumnsInGroupBy: int64(maxList),
		flightsql.SqlInfoMaxColumnsInOrderBy: int64(maxList),
		flightsql.SqlInfoMaxColumnsInSelect:  int64(maxList),
		flightsql.SqlInfoMaxColumnsInTable:   int64(limits.Columns),
		flightsql.SqlInfoMaxStatementLen:     int64(limits.Query),
		flightsql.SqlInfoMaxTablesInSelect:   int64(1),
	}
	for _, id := range []flightsql.SqlInfo{
		flightsql.SqlInfoMaxBinaryLiteralLen, flightsql.SqlInfoMaxColumnsInIndex, flightsql.SqlInfoMaxConnections, flightsql.SqlInfoMaxCursorNameLen,
		flightsql.SqlInfoMaxIndexLen, flightsql.SqlInfoDBSchemaNameLen, flightsql.SqlInfoMaxProcedureNameLen, flightsql.SqlInfoMaxCatalogNameLen,
		flightsql.SqlInfoMaxRowSize, flightsql.SqlInfoMaxStatements, flightsql.SqlInfoMaxUsernameLen,
	} {
		all[id] = int64(0)
	}
	return all
}

// chosen is a GetSqlInfo command for what there is an answer to.
type chosen []uint32

// GetInfo answers the numbers.
func (c chosen) GetInfo() []uint32 { return c }

// DoGetSqlInfo answers the pieces asked for, all for none. Those that aren't
// known are left out: clients ask for whatever their version knows.
//
//nolint:revive // the name is that of flightsql.Server
func (q *queries) DoGetSqlInfo(ctx context.Context, cmd flightsql.GetSqlInfo) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	known := information()
	if len(cmd.GetInfo()) == 0 {
		return q.BaseServer.DoGetSqlInfo(ctx, chosen(slices.Sorted(maps.Keys(known))))
	}
	var wanted chosen
	for _, id := range cmd.GetInfo() {
		if _, ok := known[id]; ok && !slices.Contains(wanted, id) {
			wanted = append(wanted, id)
		}
	}
	if len(wanted) == 0 {
		return noInformation()
	}
	return q.BaseServer.DoGetSqlInfo(ctx, wanted)
}
