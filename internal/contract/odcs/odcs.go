// Package odcs reads data contracts: YAML files of the Open Data Contract
// Standard v3, with Cloister's privacy settings as custom properties. It trusts
// nothing and is strict: what it doesn't know is an error with line and column,
// and so is a rule that the enclave couldn't enforce. docs/spec/contract.md is
// the format. The enclave never reads YAML; contracts reach it in the bundle.
package odcs

import (
	"errors"
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/yamltree"
)

// MaxFile is the largest contract file, in bytes.
const MaxFile = 1 << 20

// Read reads a contract. Its error joins everything that is wrong, each as
// name:line:column: what is wrong and what to write instead. A contract that
// it answers passes contract.Check.
func Read(b []byte, name string) (*contract.Contract, error) {
	tree, err := yamltree.Parse(b, name, MaxFile)
	if err != nil {
		return nil, err
	}
	c, _, err := read(tree)
	return c, err
}

// read reads a contract from its tree and answers its reader, which knows where
// everything stands.
func read(tree *yamltree.Tree) (*contract.Contract, *reader, error) {
	r := &reader{tree: tree, settings: map[string]yamltree.Node{}, broken: map[int]bool{}}
	c := &contract.Contract{Floor: contract.DefaultFloor}
	r.document(c, tree.Root())
	r.check(c)
	if err := tree.Err(); err != nil {
		return nil, nil, err
	}
	return c, r, nil
}

// reader fills a contract and remembers where its parts stand.
type reader struct {
	tree *yamltree.Tree
	// flags says that exclusiveMinimum and exclusiveMaximum are true or false
	// beside a bound, as before v3.1.0, and not bounds themselves.
	flags bool
	// settings is where the contract's settings stand, for check.
	settings map[string]yamltree.Node
	// dataset is where the schema's object stands.
	dataset yamltree.Node
	// columns is where each column stands; broken ones have problems already.
	columns []yamltree.Node
	broken  map[int]bool
	// unscaled are the numbers that take the default scale.
	unscaled []yamltree.Node
}

func (r *reader) document(c *contract.Contract, n yamltree.Node) {
	o, ok := n.Object(both(documentKeys, documentIgnored)...)
	if !ok {
		return
	}
	ignore(o, documentIgnored)
	if n, ok := o.Need("apiVersion", "apiVersion: "+v302); ok {
		version, _ := n.Word(v300, v301, v302, v310)
		r.flags = version != v310
	}
	if n, ok := o.Need("kind", "kind: DataContract"); ok {
		n.Word("DataContract")
	}
	if n, ok := o.Need("id", "id: the contract's identifier"); ok {
		c.ID = r.setting(contract.SettingID, n)
	}
	if n, ok := o.Need("version", "version: 1.0.0"); ok {
		c.Version = r.setting(contract.SettingVersion, n)
	}
	if n, ok := o.Need("status", "status: active"); ok {
		n.Text()
	}
	if n, ok := o.Get("name"); ok {
		n.Text()
	}
	if n, ok := o.Get("description"); ok {
		r.purpose(c, n)
	}
	if n, ok := o.Need("schema", "schema: and one object, the dataset"); ok {
		r.schema(c, n)
	}
}

// setting answers the text of a setting and remembers where it stands.
func (r *reader) setting(setting string, n yamltree.Node) string {
	s, ok := n.Text()
	if ok {
		r.settings[setting] = n
	}
	return s
}

// purpose is the description of a dataset that has none of its own.
func (r *reader) purpose(c *contract.Contract, n yamltree.Node) {
	o, ok := n.Object(both(descriptionKeys, descriptionIgnored)...)
	if !ok {
		return
	}
	ignore(o, descriptionIgnored)
	if n, ok := o.Get("purpose"); ok {
		c.Description = strings.TrimSpace(r.setting(contract.SettingDescription, n))
	}
}

func (r *reader) schema(c *contract.Contract, n yamltree.Node) {
	objects, ok := n.List(limits.Columns)
	if !ok {
		return
	}
	if len(objects) != 1 {
		n.Fail("holds %d objects; write exactly one, since a contract is for one dataset", len(objects))
		return
	}
	o, ok := objects[0].Object(both(objectKeys, objectIgnored)...)
	if !ok {
		return
	}
	ignore(o, objectIgnored)
	r.dataset = o.At()
	if n, ok := o.Need("name", "name: the dataset's name"); ok {
		c.Dataset = r.setting(contract.SettingDataset, n)
	}
	if n, ok := o.Get("logicalType"); ok {
		n.Word("object")
	}
	if n, ok := o.Get("description"); ok {
		c.Description = strings.TrimSpace(r.setting(contract.SettingDescription, n))
	}
	r.privacy(c, o)
	if n, ok := o.Need("properties", "properties: and one entry for each column"); ok {
		r.properties(c, n)
	}
}

// privacy reads the dataset's floor and mode.
func (r *reader) privacy(c *contract.Contract, o yamltree.Object) {
	custom := customProperties(o, ofDataset)
	if n, ok := custom[propertyFloor]; ok {
		floor, ok := n.Whole(contract.MinFloor, contract.MaxFloor)
		c.Floor = int(floor)
		if ok {
			r.settings[contract.SettingFloor] = n
		}
	}
	if n, ok := custom[propertyMode]; ok {
		name, ok := n.Word(contract.DP.String(), contract.Threshold.String())
		c.Mode, _ = contract.ModeNamed(name)
		if ok {
			r.settings[contract.SettingMode] = n
		}
	}
}

func (r *reader) properties(c *contract.Contract, n yamltree.Node) {
	columns, ok := n.List(limits.Columns)
	if !ok {
		return
	}
	r.settings[contract.SettingColumns] = n
	r.settings[contract.SettingUnit] = n
	for i, n := range columns {
		before := r.tree.Count()
		c.Fields = append(c.Fields, r.column(n))
		r.columns = append(r.columns, n)
		if r.broken[i] = r.tree.Count() > before; r.broken[i] {
			// It may have been the unit.
			delete(r.settings, contract.SettingUnit)
		}
	}
}

// check gives the contract's own problems a place. What was already read wrong
// isn't reported again.
func (r *reader) check(c *contract.Contract) {
	for _, problem := range c.Problems() {
		if f, ok := errors.AsType[*contract.FieldError](problem); ok && !r.broken[f.Index] {
			r.columns[f.Index].Fail("column %s: %s", yamltree.Quote(f.Name), f.Reason)
		}
		if s, ok := errors.AsType[*contract.SettingError](problem); ok {
			if n, ok := r.settings[s.Setting]; ok {
				n.Fail("%s: %s", s.Setting, s.Reason)
			}
		}
	}
}
