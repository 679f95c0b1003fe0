package odcs

import (
	"math"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/yamltree"
)

// options reads a column's logicalTypeOptions.
func (r *reader) options(f *contract.Field, n yamltree.Node) {
	known := optionKeys(f.Type)
	if len(known) == 0 {
		n.Fail("a column of type %s has no options; remove them", f.Type)
		return
	}
	o, ok := n.Object(known...)
	if !ok {
		return
	}
	if n, ok := o.Get("multipleOf"); ok {
		n.Fail("multipleOf is a rule that Cloister can't enforce; remove it")
	}
	switch f.Type {
	case contract.String:
		f.MinLength, f.MaxLength = length(o, "minLength"), length(o, "maxLength")
		if n, ok := o.Get("pattern"); ok {
			f.Pattern, _ = n.Text()
		}
	default:
		f.Minimum = r.end(f, o, "minimum", "exclusiveMinimum", 1)
		f.Maximum = r.end(f, o, "maximum", "exclusiveMaximum", -1)
	}
	format(f, o)
	zone(o)
}

func length(o yamltree.Object, key string) *int {
	n, ok := o.Get(key)
	if !ok {
		return nil
	}
	v, ok := n.Whole(0, limits.Text)
	if !ok {
		return nil
	}
	out := int(v)
	return &out
}

// end reads one end of a range, in stored units. Stored values are whole, so an
// exclusive bound is the inclusive one a step further in.
func (r *reader) end(f *contract.Field, o yamltree.Object, key, exclusive string, step int64) *int64 {
	var bound *int64
	plain, given := o.Get(key)
	if given {
		if v, ok := value(f, plain); ok {
			bound = &v.Int
		}
	}
	n, ok := o.Get(exclusive)
	if !ok {
		return bound
	}
	if r.flags {
		yes, ok := n.Bool()
		switch {
		case !ok || !yes:
			return bound
		case !given:
			n.Fail("%s: true needs %s beside it", exclusive, key)
			return nil
		case bound == nil:
			return nil
		}
		return further(n, *bound, step)
	}
	v, ok := value(f, n)
	if !ok {
		return bound
	}
	return tighter(bound, further(n, v.Int, step), step)
}

// tighter answers the bound that allows less; step is 1 for minima and -1 for
// maxima.
func tighter(a, b *int64, step int64) *int64 {
	switch {
	case a == nil:
		return b
	case b == nil || step > 0 && *a > *b || step < 0 && *a < *b:
		return a
	}
	return b
}

func further(n yamltree.Node, v, step int64) *int64 {
	if v == math.MaxInt64 && step > 0 || v == math.MinInt64 && step < 0 {
		n.Fail("no value lies beyond it")
		return nil
	}
	v += step
	return &v
}

// widths are the values that the standard's integer formats hold, as far as
// a column does.
var widths = []struct {
	name      string
	low, high int64
}{
	{"i8", math.MinInt8, math.MaxInt8},
	{"i16", math.MinInt16, math.MaxInt16},
	{"i32", math.MinInt32, math.MaxInt32},
	{"i64", math.MinInt64, math.MaxInt64},
	{"i128", math.MinInt64, math.MaxInt64},
	{"u8", 0, math.MaxUint8},
	{"u16", 0, math.MaxUint16},
	{"u32", 0, math.MaxUint32},
	{"u64", 0, math.MaxInt64},
	{"u128", 0, math.MaxInt64},
}

// format reads how the standard says a value is written or stored. Cloister
// reads dates and timestamps in one form, so another form is a problem; the
// format of a string is a hint for people.
func format(f *contract.Field, o yamltree.Object) {
	n, ok := o.Get("format")
	if !ok {
		return
	}
	switch f.Type {
	case contract.Integer:
		width(f, n)
	case contract.Number:
		n.Word("f32", "f64")
	case contract.Date:
		n.Word("yyyy-MM-dd")
	case contract.Timestamp:
		n.Word("yyyy-MM-dd'T'HH:mm:ssXXX", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "yyyy-MM-dd'T'HH:mm:ss", "yyyy-MM-dd HH:mm:ss")
	default:
		n.Text()
	}
}

// width narrows a column to what its integer format holds. The bounds of a
// measure decide how much noise there is, so it needs bounds of its own.
func width(f *contract.Field, n yamltree.Node) {
	var names []string
	for _, w := range widths {
		names = append(names, w.name)
	}
	name, _ := n.Word(names...)
	for _, w := range widths {
		if w.name != name {
			continue
		}
		if f.Minimum != nil || f.Role != contract.Measure {
			f.Minimum = tighter(f.Minimum, &w.low, 1)
		}
		if f.Maximum != nil || f.Role != contract.Measure {
			f.Maximum = tighter(f.Maximum, &w.high, -1)
		}
	}
}

// zone holds that a timestamp without an offset is UTC.
func zone(o yamltree.Object) {
	if n, ok := o.Get("timezone"); ok {
		n.Bool()
	}
	if n, ok := o.Get("defaultTimezone"); ok {
		n.Word("Etc/UTC", "UTC")
	}
}
