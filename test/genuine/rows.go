package genuine

import (
	"cmp"
	"slices"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

// Row is a row of a snapshot: the code of its unit and the values of the
// contract's fields, NULL for those that tables don't keep.
type Row struct {
	Unit   uint32
	Values []contract.Value
}

// Rows answers everything that a snapshot shows, by unit. The order of a unit's
// rows means nothing.
func Rows(s *table.Snapshot) []Row {
	var all []Row
	for _, p := range s.Partitions() {
		cursor := p.Cursor(1000)
		for spans := cursor.Next(); spans != nil; spans = cursor.Next() {
			for _, span := range spans {
				all = append(all, rowsOf(s, span)...)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Row) int { return cmp.Compare(a.Unit, b.Unit) })
	return all
}

func rowsOf(s *table.Snapshot, span table.Span) []Row {
	units, rows := make([]uint32, span.Len()), make([]Row, span.Len())
	span.Units(units)
	for i := range rows {
		rows[i] = Row{Unit: units[i], Values: make([]contract.Value, len(s.Contract().Fields))}
	}
	for field, f := range s.Contract().Fields {
		kept := f.Role == contract.Dimension || f.Role == contract.Measure
		var values []int64
		var piece table.Piece
		if kept {
			piece, values = span.Column(field), make([]int64, span.Len())
			piece.Values(values)
		}
		for i := range rows {
			switch {
			case !kept || piece.Nullable() && piece.Null(i):
				rows[i].Values[field].Null = true
			case f.Type == contract.String:
				rows[i].Values[field].Text = string(s.Texts(field).At(int(values[i])))
			default:
				rows[i].Values[field].Int = values[i]
			}
		}
	}
	return rows
}
