package sql

import "github.com/cloisterhq/cloister/internal/contract"

// maxElements is the largest number of elements of each clause's list.
const maxElements = 256

// binder turns a statement into a plan. It goes through all of it, whatever it
// has refused already.
type binder struct {
	reasons
	parameters []Parameter
	// draft says that no values are bound yet: every placeholder stands for
	// some value, and wanted, by number from zero, says of what kind.
	draft  bool
	wanted []Placeholder
	// contract is that of the first table of FROM, nil when there is none such.
	// Other tables are never looked up: a refusal names one dataset, and the
	// right to query that one is all that is checked before it is shown.
	contract *contract.Contract
	// table is what qualifies the columns of the first table, in capitals.
	table string
	// visible are its columns that a query may see, by their names in capitals.
	visible map[string]int
	// incomplete says that an unknown column may be one of a table that wasn't
	// looked up.
	incomplete bool
	plan       Plan
	// grouped are the columns of GROUP BY, refused ones included; totals says
	// that GROUP BY has something that may be any column.
	grouped map[int]bool
	totals  bool
	// names are the indexes of the outputs, by their names in capitals. A
	// refused item has an output too, without key or aggregate.
	names map[string]int
	// inRelease says that the clause is about what SELECT puts out, so that
	// outputs have names as columns do.
	inRelease bool
}

// from looks up the dataset of FROM and refuses joins. A name that may stand
// for a refused common table expression isn't refused once more.
func (b *binder) from(sources []source, catalog Catalog, derived bool) {
	first := sources[0]
	b.table = first.qualifier()
	b.incomplete = first.notATable || len(sources) > 1
	if c, ok := catalog.Contract(lower(first.name)); ok && !first.notATable {
		b.contract, b.visible = c, visible(c)
	} else if b.incomplete = true; !first.notATable && !derived {
		b.refuse(codeTable, first.nameAt, "there is no such dataset, or it isn't yours to query",
			"name a dataset that the catalogue lists; a name with - stands in double quotes")
	}
	for _, s := range sources[1:] {
		b.join(first, s)
	}
}

// qualifier is what qualifies the columns of a table, in capitals.
func (s source) qualifier() string {
	if s.alias != "" {
		return upper(s.alias)
	}
	return upper(s.name)
}

// visible answers the columns that aren't hidden. Nothing in this package asks
// for a column in another way, so a hidden one can't differ from one that
// isn't there.
func visible(c *contract.Contract) map[string]int {
	all := make(map[string]int, len(c.Fields))
	for i := range c.Fields {
		if c.Fields[i].Role != contract.Hidden {
			all[upper(c.Fields[i].Name)] = i
		}
	}
	return all
}

// join refuses a join: one on the unit as not available yet, every other one
// for good.
func (b *binder) join(first, s source) {
	if b.onUnit(first, s) {
		b.refuse(codeNotAvailable, s.join, "joins on the unit aren't available yet", "query one dataset at a time")
		return
	}
	fix := phrase("query one dataset at a time")
	if b.contract != nil && lower(first.name) != lower(s.name) {
		fix = phrase(`join on the unit of both, which is "` + b.contract.Dataset + `".` + b.contract.Fields[b.contract.UnitIndex()].Name + " on this side")
	}
	b.refuse(codeJoin, s.join, "both sides hold protected people, so a join needs the unit of both", fix)
	if s.on != nil {
		b.inside(s.on)
	}
}

// onUnit says whether a table is joined by equality of the first one's unit
// with a column of its own.
func (b *binder) onUnit(first, s source) bool {
	on := s.on
	if on == nil || on.kind != nodeCompare || on.text != "=" || lower(first.name) == lower(s.name) {
		return false
	}
	for i, n := range on.args {
		unit, ok := b.lookup(n)
		other := on.args[1-i]
		if ok && b.contract.Fields[unit].Role == contract.Unit && other.kind == nodeColumn && upper(other.table) == s.qualifier() {
			return true
		}
	}
	return false
}

// lookup answers the index of the visible column that a node names.
func (b *binder) lookup(n *node) (int, bool) {
	if n.kind != nodeColumn || n.table != "" && upper(n.table) != b.table {
		return 0, false
	}
	i, ok := b.visible[upper(n.text)]
	return i, ok
}

// usable answers the column of a name, and refuses what no clause may use.
// Unknown and hidden columns give the same refusal.
func (b *binder) usable(n *node) (int, bool) {
	c, ok := b.lookup(n)
	switch {
	case !ok && pseudoColumn(n.text):
		b.refuse(codeStatement, n.at, "rows have no addresses", "leave it out")
	case !ok && b.incomplete:
	case !ok:
		b.refuse(codeRole, n.at, "there is no such column, or it can't be used", "use a column that the catalogue lists")
	case b.contract.Fields[c].Role == contract.Restricted:
		b.refuse(codeRestricted, n.at, "this column is restricted", "leave it out")
	case b.contract.Fields[c].Role == contract.Status:
		b.refuse(codeRole, n.at, "the status of entries is set by the server, not by queries", "leave it out")
	default:
		return c, true
	}
	return 0, false
}

// dimension answers the column of a name that groups or filters.
func (b *binder) dimension(n *node) (int, bool) {
	c, ok := b.usable(n)
	if !ok {
		return c, false
	}
	switch b.contract.Fields[c].Role {
	case contract.Dimension:
		return c, true
	case contract.Unit:
		b.refuse(codeRole, n.at, "this column names the protected people and can only be counted", "use it in COUNT(DISTINCT …) alone")
	default:
		b.refuse(codeRole, n.at, "this column is a measure and can only be aggregated", "use SUM, AVG or COUNT of it in SELECT, and a dimension here")
	}
	return c, false
}

// inside refuses what no clause may use inside an expression that is refused
// as a whole.
func (b *binder) inside(n *node) {
	if n.refused {
		return
	}
	switch n.kind {
	case nodeColumn:
		if _, ok := b.output(n); !ok || !b.inRelease {
			b.usable(n)
		}
	case nodeSubquery:
		b.refuse(codeSubquery, n.at, "a query inside the query could carry single rows", "query the dataset directly")
	case nodeCall:
		b.forbidden(n)
	}
	for _, a := range n.args {
		b.inside(a)
	}
}

// foreign refuses an expression that isn't part of the dialect, and what stands
// inside it.
func (b *binder) foreign(n *node, code string, fix phrase) {
	switch {
	case n.kind == nodeForeign && (n.refused || n.what == ""):
	case n.kind == nodeForeign:
		b.refuse(code, n.at, n.what+" isn't part of the dialect", fix)
	case n.kind == nodeStar:
		b.refuse(codeNotAggregated, n.at, "* puts out rows", "name dimensions of GROUP BY, and aggregates")
	case n.kind == nodeSubquery, n.kind == nodeCall && forbiddenCode(n.text) != "":
	case n.kind == nodeCall:
		b.refuse(code, n.at, "this function isn't part of the dialect", fix)
	default:
		b.refuse(code, n.at, "this expression isn't part of the dialect", fix)
	}
	b.inside(n)
}
