package odcs

import (
	"slices"
	"strings"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/yamltree"
)

// customProperties answers the values of Cloister's custom properties of an
// object or a column. Other tools' properties are theirs; a name that looks
// like one of ours and isn't is a slip that could weaken a dataset, so it is
// a problem.
func customProperties(o yamltree.Object, allowed []string) map[string]yamltree.Node {
	n, ok := o.Get("customProperties")
	if !ok {
		return nil
	}
	entries, ok := n.List(limits.Columns)
	if !ok {
		return nil
	}
	values := map[string]yamltree.Node{}
	for _, e := range entries {
		p, ok := e.Object(both(customKeys, customIgnored)...)
		if !ok {
			continue
		}
		at, ok := p.Need("property", "property: the property's name")
		if !ok {
			continue
		}
		name, ok := at.Text()
		if !ok || !ours(name) {
			ignore(p, both(customKeys, customIgnored))
			continue
		}
		value, ok := p.Need("value", "value: the value of "+name)
		_, twice := values[name]
		switch {
		case !slices.Contains(allowed, name):
			misplaced(at, name, allowed)
		case twice:
			at.Fail("%s stands twice; remove one", name)
		case ok:
			values[name] = value
		}
	}
	return values
}

// ours says whether a custom property is, or looks like, one of Cloister's.
func ours(name string) bool { return strings.HasPrefix(strings.ToLower(name), "cloister") }

func misplaced(at yamltree.Node, name string, allowed []string) {
	switch {
	case slices.Contains(ofDataset, name):
		at.Fail("%s has no effect here; write it in the customProperties of the schema's object", name)
	case slices.Contains(ofColumn, name):
		at.Fail("%s has no effect here; write it in the customProperties of a column", name)
	case allowed == nil:
		at.Fail("%s", yamltree.Unknown("property", name, both(ofDataset, ofColumn)))
	default:
		at.Fail("%s", yamltree.Unknown("property", name, allowed))
	}
}

// ignore passes over keys of the standard that say nothing here, and refuses
// Cloister's properties below them: a floor in the wrong place would silently
// be none.
func ignore(o yamltree.Object, keys []string) {
	for _, key := range keys {
		n, ok := o.Get(key)
		if !ok {
			continue
		}
		n.Walk(func(key string, value yamltree.Node) {
			if name, ok := value.Peek(); ok && key == "property" && ours(name) {
				misplaced(value, name, nil)
			}
		})
	}
}
