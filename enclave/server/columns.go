package server

import (
	"encoding/json"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"

	"github.com/cloisterhq/cloister/internal/contract"
)

// decimalPrecision is the number of digits of every decimal column.
const decimalPrecision = 38

// aggregates are those of the dialect, for people.
const aggregates = "COUNT(*), COUNT(column), COUNT(DISTINCT unit), SUM(measure), AVG(measure)"

// arrowType is the Arrow type of a contract's column, of a key made of it, and
// of a placeholder that is compared with it.
func arrowType(t contract.Type, scale int) arrow.DataType {
	switch t {
	case contract.Integer:
		return arrow.PrimitiveTypes.Int64
	case contract.Number:
		return &arrow.Decimal128Type{Precision: decimalPrecision, Scale: int32(scale)} //nolint:gosec // at most contract.MaxScale
	case contract.Boolean:
		return arrow.FixedWidthTypes.Boolean
	case contract.Date:
		return arrow.FixedWidthTypes.Date32
	case contract.Timestamp:
		return arrow.FixedWidthTypes.Timestamp_us
	default:
		return arrow.BinaryTypes.String
	}
}

// sqlType is the name of a type as GetXdbcTypeInfo lists it.
func sqlType(t contract.Type) string {
	switch t {
	case contract.Integer:
		return "BIGINT"
	case contract.Number:
		return "DECIMAL"
	case contract.Boolean:
		return "BOOLEAN"
	case contract.Date:
		return "DATE"
	case contract.Timestamp:
		return "TIMESTAMP"
	default:
		return "VARCHAR"
	}
}

// tableSchema describes a dataset by its contract: every column but the hidden
// ones, with its role and its rules.
func tableSchema(c *contract.Contract) *arrow.Schema {
	var fields []arrow.Field
	for i := range c.Fields {
		if f := &c.Fields[i]; f.Role != contract.Hidden {
			fields = append(fields, arrow.Field{Name: f.Name, Type: arrowType(f.Type, f.Scale), Nullable: !f.Required, Metadata: fieldMetadata(c, f)})
		}
	}
	var m words
	m.add("cloister.dataset", c.Dataset)
	m.add("cloister.contract", c.Version)
	m.add("cloister.description", c.Description)
	m.add("cloister.mode", c.Mode.String())
	m.add("cloister.floor", strconv.Itoa(c.Floor))
	m.add("cloister.aggregates", aggregates)
	metadata := m.metadata()
	return arrow.NewSchema(fields, &metadata)
}

// words are the keys and values of metadata.
type words struct{ keys, values []string }

// add adds a key whose value isn't empty.
func (w *words) add(key, value string) {
	if value != "" {
		w.keys, w.values = append(w.keys, key), append(w.values, value)
	}
}

func (w *words) flag(key string, value bool) {
	digit := "0"
	if value {
		digit = "1"
	}
	w.add(key, digit)
}

func (w *words) number(key string, value *int) {
	if value != nil {
		w.add(key, strconv.Itoa(*value))
	}
}

func (w *words) metadata() arrow.Metadata { return arrow.NewMetadata(w.keys, w.values) }

// fieldMetadata says what Flight SQL's column metadata and the contract say of
// a column.
func fieldMetadata(c *contract.Contract, f *contract.Field) arrow.Metadata {
	var m words
	m.add(flightsql.TableNameKey, c.Dataset)
	m.add(flightsql.TypeNameKey, sqlType(f.Type))
	switch f.Type {
	case contract.Integer:
		m.add(flightsql.PrecisionKey, "19")
		m.add(flightsql.ScaleKey, "0")
	case contract.Number:
		m.add(flightsql.PrecisionKey, strconv.Itoa(decimalPrecision))
		m.add(flightsql.ScaleKey, strconv.Itoa(f.Scale))
	case contract.String:
		m.number(flightsql.PrecisionKey, f.MaxLength)
	}
	m.flag(flightsql.IsAutoIncrementKey, false)
	m.flag(flightsql.IsCaseSensitiveKey, f.Type == contract.String)
	m.flag(flightsql.IsReadOnlyKey, true)
	m.flag(flightsql.IsSearchableKey, f.Role == contract.Dimension)
	m.add(flightsql.RemarksKey, f.Description)
	m.add("cloister.role", f.Role.String())
	m.add("cloister.use", use(f))
	rules(&m, f)
	return m.metadata()
}

// rules adds the rules that records keep.
func rules(m *words, f *contract.Field) {
	if f.Minimum != nil {
		m.add("cloister.minimum", f.Format(contract.Value{Int: *f.Minimum}))
	}
	if f.Maximum != nil {
		m.add("cloister.maximum", f.Format(contract.Value{Int: *f.Maximum}))
	}
	m.number("cloister.min_length", f.MinLength)
	m.number("cloister.max_length", f.MaxLength)
	m.add("cloister.pattern", f.Pattern)
	if len(f.Enum) > 0 {
		if list, err := json.Marshal(f.Enum); err == nil {
			m.add("cloister.enum", string(list))
		}
	}
}

// use says what a query may do with a column.
func use(f *contract.Field) string {
	switch f.Role {
	case contract.Unit:
		return "COUNT(DISTINCT " + f.Name + ")"
	case contract.Dimension:
		return "GROUP BY, WHERE, COUNT"
	case contract.Measure:
		return "SUM, AVG, COUNT"
	default:
		return "none"
	}
}
