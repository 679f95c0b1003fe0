package odcs

import (
	"errors"
	"strconv"
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/yamltree"
)

// column reads one property of the dataset's object. Bounds and enums come
// last: they are values of the type that the rest says.
func (r *reader) column(n yamltree.Node) contract.Field {
	var f contract.Field
	o, ok := n.Object(both(columnKeys, columnIgnored)...)
	if !ok {
		return f
	}
	ignore(o, columnIgnored)
	if n, ok := o.Need("name", "name: the column's name"); ok {
		f.Name, _ = n.Text()
	}
	if n, ok := o.Need("logicalType", "logicalType: and one of "+strings.Join(typeNames(), ", ")); ok {
		name, _ := n.Word(typeNames()...)
		f.Type, _ = contract.TypeNamed(name)
	}
	if n, ok := o.Get("required"); ok {
		f.Required, _ = n.Bool()
	}
	if n, ok := o.Get("description"); ok {
		s, _ := n.Text()
		f.Description = strings.TrimSpace(s)
	}
	custom := customProperties(o, ofColumn)
	if n, ok := custom[propertyRole]; ok {
		name, _ := n.Word(roleNames()...)
		f.Role, _ = contract.RoleNamed(name)
	}
	scale(&f, custom, o.At())
	if _, ok := custom[propertyScale]; !ok && f.Type == contract.Number {
		r.unscaled = append(r.unscaled, o.At())
	}
	if f.Type == 0 {
		return f
	}
	if n, ok := o.Get("logicalTypeOptions"); ok {
		r.options(&f, n)
	}
	if n, ok := custom[propertyEnum]; ok {
		f.Enum = enum(&f, n)
	}
	return f
}

// scale reads the number of decimal places. A number measure must say it: it
// decides what is rounded away.
func scale(f *contract.Field, custom map[string]yamltree.Node, column yamltree.Node) {
	n, ok := custom[propertyScale]
	switch {
	case ok:
		places, _ := n.Whole(0, contract.MaxScale)
		f.Scale = int(places)
	case f.Type == contract.Number && f.Role == contract.Measure:
		column.Fail("column %s: a number measure needs %s, the decimal places to keep; write {property: %s, value: 2}", yamltree.Quote(f.Name), propertyScale, propertyScale)
	case f.Type == contract.Number:
		f.Scale = contract.DefaultScale
	}
}

func enum(f *contract.Field, n yamltree.Node) []string {
	values, ok := n.List(contract.MaxEnum)
	if !ok {
		return nil
	}
	if len(values) == 0 {
		n.Fail("an empty list would allow nothing; write the values or remove %s", propertyEnum)
	}
	var out []string
	for _, n := range values {
		if v, ok := value(f, n); ok {
			out = append(out, f.Format(v))
		}
	}
	return out
}

// value reads a bound or a value of an enum as a value of the column.
func value(f *contract.Field, n yamltree.Node) (contract.Value, bool) {
	text, ok := "", false
	switch f.Type {
	case contract.Integer, contract.Number:
		text, ok = n.Numeral()
	case contract.Boolean:
		yes, isBool := n.Bool()
		text, ok = strconv.FormatBool(yes), isBool
	default:
		text, ok = n.Text()
	}
	if !ok {
		return contract.Value{}, false
	}
	v, err := f.ParseExact(text)
	switch {
	case err == nil:
		return v, true
	case errors.Is(err, contract.ErrRange) && f.Type == contract.Number:
		n.Fail("has more than %d decimal places or is too large; the column keeps %d (%s)", f.Scale, f.Scale, propertyScale)
	case errors.Is(err, contract.ErrRange):
		n.Fail("is beyond what a column of type %s holds", f.Type)
	default:
		n.Fail("isn't a value of type %s; write one such as %s", f.Type, example(f.Type))
	}
	return contract.Value{}, false
}

// example is a value of a type as a contract writes it.
func example(t contract.Type) string {
	switch t {
	case contract.Date:
		return "2026-01-31"
	case contract.Timestamp:
		return "2026-01-31T12:00:00Z"
	}
	return "12"
}
