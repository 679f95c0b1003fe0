package odcs

import (
	"fmt"
	"math"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/yamltree"
)

const (
	// manyValues is from how many possible values on a dimension is said to
	// single people out.
	manyValues = 1000
	// manyGroups is the same for all dimensions together.
	manyGroups = 100_000
	// wideMeasure is the largest bound of a measure, in its own unit, that
	// doesn't raise a question.
	wideMeasure = 1e9
)

// Advise is Read, and says besides what a good contract allows and its owner
// may not want: each piece of advice is a *yamltree.Problem with its place.
func Advise(b []byte, name string) (c *contract.Contract, advice []*yamltree.Problem, err error) {
	tree, err := yamltree.Parse(b, name, MaxFile)
	if err != nil {
		return nil, nil, err
	}
	c, r, err := read(tree)
	if err != nil {
		return nil, nil, err
	}
	r.advise(c)
	return c, tree.Problems(), nil
}

// advise keeps advice in the tree, which has no problems so far.
func (r *reader) advise(c *contract.Contract) {
	if n, ok := r.settings[contract.SettingMode]; ok && c.Mode == contract.Threshold {
		n.Fail("exact answers above a floor aren't protected against differencing; only simulation takes this mode")
	}
	if _, ok := r.settings[contract.SettingFloor]; !ok {
		r.dataset.Fail("no %s: a group needs %d people; write the number, so that changing it shows", propertyFloor, contract.DefaultFloor)
	}
	for _, n := range r.unscaled {
		n.Fail("no %s: this number keeps %d decimal places; write how many it needs", propertyScale, contract.DefaultScale)
	}
	groups, usable := 1.0, false
	for i := range c.Fields {
		f := &c.Fields[i]
		if text := adviceOn(f); text != "" {
			r.columns[i].Fail("column %s: %s", yamltree.Quote(f.Name), text)
		}
		if n, known := possible(f); f.Role == contract.Dimension && known {
			groups *= n
		}
		usable = usable || f.Role == contract.Dimension || f.Role == contract.Measure
	}
	if groups > manyGroups {
		r.settings[contract.SettingColumns].Fail("the dimensions together make up to %.0f groups: grouped by all of them, people stand alone; name fewer or coarser ones", groups)
	}
	if !usable {
		r.settings[contract.SettingColumns].Fail("no column is a dimension or a measure: an analyst can count people and nothing else")
	}
}

// adviceOn says what a column's role and rules allow that its owner may not
// want; empty for nothing.
func adviceOn(f *contract.Field) string {
	switch f.Role {
	case contract.Unit:
		if !f.Required {
			return "a record without the unit is rejected anyway; write required: true"
		}
	case contract.Dimension:
		return adviceOnDimension(f)
	case contract.Measure:
		reach := max(math.Abs(float64(*f.Minimum)), math.Abs(float64(*f.Maximum))) / math.Pow10(f.Scale)
		switch {
		case *f.Minimum == *f.Maximum:
			return "minimum and maximum are one value"
		case reach > wideMeasure:
			return "its bounds decide the noise, and one person may move a sum by as much; make them as narrow as what is possible"
		}
	}
	return ""
}

func adviceOnDimension(f *contract.Field) string {
	n, known := possible(f)
	switch {
	case f.Type == contract.String && !known:
		return fmt.Sprintf("a dimension of any text: every value is a group, and rare ones single people out; list the values in %s", propertyEnum)
	case !known:
		return fmt.Sprintf("a dimension without %s or bounds: every value is a group, and rare ones single people out", propertyEnum)
	case n > manyValues:
		return fmt.Sprintf("a dimension of up to %.0f values: most are groups of few people; make it coarser, or a measure", n)
	}
	return ""
}

// possible answers how many values a column can have, false when nothing
// bounds them.
func possible(f *contract.Field) (float64, bool) {
	switch {
	case len(f.Enum) > 0:
		return float64(len(f.Enum)), true
	case f.Type == contract.Boolean:
		return 2, true
	case f.Minimum != nil && f.Maximum != nil:
		return float64(*f.Maximum) - float64(*f.Minimum) + 1, true
	}
	return 0, false
}
