package sql

import (
	"slices"
	"strconv"
	"unicode"

	"github.com/cloisterhq/cloister/internal/contract"
)

// maxName is the longest name of an output, in bytes.
const maxName = 63

// bind goes through the clauses and answers the plan, or all that was refused.
func (b *binder) bind(s *statement) (*Plan, error) {
	b.plan.limit = -1
	b.grouped, b.names = map[int]bool{}, map[string]int{}
	if b.bounded(s) {
		b.group(s)
		b.outputs(s.items)
		b.where(s.where)
		b.inRelease = true
		b.having(s)
		b.order(s.order)
		b.limit(s.limit)
	}
	dataset := ""
	if b.plan.contract = b.contract; b.contract != nil {
		dataset = b.contract.Dataset
	}
	if err := b.refusal(dataset); err != nil {
		return nil, err
	}
	return &b.plan, nil
}

// bounded refuses lists that no plan should have.
func (b *binder) bounded(s *statement) bool {
	if max(len(s.items), len(s.group), len(s.order)) > maxElements {
		b.refuse(codeTooLarge, span{}, "a list of the query has more than 256 elements", "send a shorter query")
		return false
	}
	return true
}

// group binds GROUP BY. A key is a dimension, or the alias of one in SELECT;
// columns go before aliases, as in the standard.
func (b *binder) group(s *statement) {
	for _, n := range s.group {
		key := n
		if _, ok := b.lookup(n); !ok && n.kind == nodeColumn && n.table == "" {
			key = aliased(s.items, n)
		}
		if key.kind != nodeColumn {
			b.keyExpression(n, key)
			continue
		}
		if c, ok := b.lookup(key); ok {
			b.grouped[c] = true
		}
		if c, ok := b.dimension(key); ok && !slices.Contains(b.plan.keys, c) {
			b.plan.keys = append(b.plan.keys, c)
		}
	}
}

// aliased answers the value of the item that a name is the alias of, or the
// name itself.
func aliased(items []item, n *node) *node {
	for _, i := range items {
		if i.alias != "" && upper(i.alias) == upper(n.text) {
			return i.value
		}
	}
	return n
}

// keyExpression refuses an element of GROUP BY that isn't a column. key is what
// it stands for.
func (b *binder) keyExpression(n, key *node) {
	_, aggregate := aggregateFunction(key.text)
	switch {
	case key.kind == nodeCall && aggregate:
		b.refuse(codeExpression, n.at, "an aggregate can't be a group key", "group by dimensions")
	case key != n: // refused in SELECT
	case n.literal():
		b.refuse(codeExpression, n.at, "a literal can't be a group key", "name the dimension")
	case n.kind == nodeCall && unavailable(n.text):
		b.aggregate(n)
	default:
		b.foreign(n, codeExpression, "group by plain dimensions")
	}
}

// outputs binds the SELECT list.
func (b *binder) outputs(items []item) {
	for i, it := range items {
		out := Output{Key: -1, Aggregate: -1}
		switch n := it.value; n.kind {
		case nodeColumn:
			out.Name, out.Key = b.key(n)
		case nodeCall:
			if a, ok := b.aggregate(n); ok {
				out.Name, out.Aggregate = a.Func.String(), slices.Index(b.plan.aggregates, a)
				if out.Aggregate < 0 {
					out.Aggregate = len(b.plan.aggregates)
					b.plan.aggregates = append(b.plan.aggregates, a)
				}
			}
		default:
			b.foreign(n, codeExpression, "select dimensions and aggregates, and compute on the answer")
		}
		if it.alias != "" {
			out.Name = it.alias
		}
		b.name(i, it, out.Name)
		b.plan.outputs = append(b.plan.outputs, out)
	}
}

// key binds a plain column of SELECT, which must be a key of GROUP BY.
func (b *binder) key(n *node) (name string, key int) {
	c, ok := b.usable(n)
	if !ok {
		return "", -1
	}
	if !b.grouped[c] && !b.totals {
		b.refuse(codeNotAggregated, n.at, "a plain column that isn't in GROUP BY puts out rows", "group by it if it is a dimension, or aggregate it")
	}
	b.dimension(n)
	return b.contract.Fields[c].Name, slices.Index(b.plan.keys, c)
}

// name checks the name of an output and notes it.
func (b *binder) name(i int, it item, name string) {
	if name == "" {
		return
	}
	if len(name) > maxName || !printable(name) {
		b.refuse(codeSyntax, it.value.at, "an alias is 1 to 63 bytes of printable text", "choose another alias")
	}
	if _, twice := b.names[upper(name)]; twice {
		b.refuse(codeDuplicateName, it.value.at, "two outputs have the same name", "give this one an alias with AS")
		return
	}
	b.names[upper(name)] = i
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// output answers the output of a name without a qualifier.
func (b *binder) output(n *node) (int, bool) {
	if n.kind != nodeColumn || n.table != "" {
		return 0, false
	}
	i, ok := b.names[upper(n.text)]
	return i, ok
}

// order binds ORDER BY: outputs by name, by key, by aggregate or by position.
func (b *binder) order(keys []sortKey) {
	for _, k := range keys {
		if i, ok := b.sorted(k.value); ok {
			b.plan.order = append(b.plan.order, Order{Output: i, Descending: k.descending})
		}
	}
}

// sorted answers the output that an element of ORDER BY means.
func (b *binder) sorted(n *node) (int, bool) {
	if i, ok := b.output(n); ok {
		return i, true
	}
	found := -1
	switch n.kind {
	case nodeNumber:
		if i, ok := count(n.text); ok && i >= 1 && i <= len(b.plan.outputs) {
			found = i - 1
		}
	case nodeColumn:
		c, ok := b.lookup(n)
		if ok && (b.contract.Fields[c].Role == contract.Restricted || b.contract.Fields[c].Role == contract.Status) {
			b.usable(n)
			return 0, false
		}
		if key := slices.Index(b.plan.keys, c); ok && key >= 0 {
			found = slices.IndexFunc(b.plan.outputs, func(o Output) bool { return o.Key == key })
		}
	case nodeCall:
		a, ok := b.aggregate(n)
		if !ok {
			return 0, false
		}
		if i := slices.Index(b.plan.aggregates, a); i >= 0 {
			found = slices.IndexFunc(b.plan.outputs, func(o Output) bool { return o.Aggregate == i })
		}
	default:
		b.foreign(n, codeExpression, "order by outputs of SELECT")
		return 0, false
	}
	if found < 0 {
		b.refuse(codeClause, n.at, "ORDER BY takes what SELECT puts out", "name an output of SELECT")
	}
	return found, found >= 0
}

// limit binds LIMIT, which takes a whole number.
func (b *binder) limit(n *node) {
	if n == nil {
		return
	}
	if n.kind == nodeSubquery {
		b.inside(n)
		return
	}
	literal, ok := b.resolve(n, Placeholder{Type: contract.Integer})
	if !ok {
		return
	}
	rows, ok := count(literal.text)
	if literal.kind != nodeNumber || !ok {
		b.refuse(codeClause, n.at, "LIMIT takes a whole number", "write LIMIT and digits")
		b.inside(n)
		return
	}
	b.plan.limit = rows
}

// count reads digits as a number that fits 31 bits.
func count(digits string) (int, bool) {
	n, err := strconv.ParseUint(digits, 10, 31)
	return int(n), err == nil
}
