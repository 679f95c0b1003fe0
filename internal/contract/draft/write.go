package draft

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// mostlyDifferent is the share of different values from which on a column
	// may name people.
	mostlyDifferent = 0.95
	// rare is how often a value must stand in the file to be written: rarer
	// ones are about few people.
	rare = contract.DefaultFloor
)

// Options say how a contract is written.
type Options struct {
	// Dataset is its name, contract.IsID.
	Dataset string
	// Values writes the values of short lists as cloister.enum. Without it no
	// value of the data is written.
	Values bool
}

const head = `# A proposal from the columns of a file, which stayed where it is. Read every line.
# No column can be queried until you give it a role: take away "# " before ONE
# line "value: unit", the protected person, and before each role that you want to
# allow. What has no role stays hidden from everybody.
apiVersion: v3.0.2
kind: DataContract
id: %[1]s
name: %[1]s
version: 0.1.0
status: draft
schema:
  - name: %[1]s
    logicalType: object
    customProperties:
      - {property: cloister.floor, value: %[2]d}         # a group of fewer people is never shown
      # - {property: cloister.mode, value: threshold}  # exact answers, simulation only; differential privacy without it
    properties:
`

// Write writes the contract. Once a column is made the unit, odcs.Read takes it.
func (t *Table) Write(w io.Writer, o Options) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, head, strconv.Quote(o.Dataset), contract.DefaultFloor)
	for _, c := range t.columns {
		c.write(&b, t.rows, o)
	}
	_, err := b.WriteTo(w)
	return err
}

func (c *column) write(b *bytes.Buffer, rows int, o Options) {
	kind := c.kind()
	fmt.Fprintf(b, "      - name: %s\n        logicalType: %s\n", strconv.Quote(c.name), kind)
	if rows > 0 && c.empty == 0 {
		fmt.Fprint(b, "        required: true\n")
	}
	lowHigh, bounded := c.bounds()
	switch {
	case bounded:
		fmt.Fprintf(b, "        logicalTypeOptions: {minimum: %s, maximum: %s}\n", lowHigh.low, lowHigh.high)
	case kind == contract.String && c.filled > 0:
		fmt.Fprintf(b, "        logicalTypeOptions: {maxLength: %d}\n", min(roomy(c.length), limits.Text))
	}
	fmt.Fprint(b, "        customProperties:\n")
	if kind == contract.Number {
		fmt.Fprintf(b, "          - {property: cloister.scale, value: %d}\n", c.places)
	}
	c.list(b, o.Values)
	for _, p := range c.roles(rows, bounded, lowHigh.units) {
		fmt.Fprintf(b, "          # - {property: cloister.role, value: %s}  # %s\n", p.role, p.why)
	}
}

// list writes the values of a short list, or says that there is one.
func (c *column) list(b *bytes.Buffer, allowed bool) {
	counts, few := c.values.few()
	kind := c.kind()
	if !few || c.filled == 0 || c.mangled || kind != contract.String && kind != contract.Integer {
		return
	}
	seldom := 0
	for _, n := range counts {
		if n < rare {
			seldom++
		}
	}
	switch {
	case !allowed && kind == contract.String:
		fmt.Fprint(b, "          # few different texts: list them as {property: cloister.enum, value: [...]}; --with-values does\n")
	case allowed && seldom > 0:
		fmt.Fprintf(b, "          # few different values, some in fewer than %d records: list those that may be known as {property: cloister.enum, value: [...]}\n", rare)
	case allowed:
		fmt.Fprintf(b, "          - {property: cloister.enum, value: [%s]}\n", strings.Join(c.sorted(counts), ", "))
	}
}

// sorted answers the values as the contract writes them.
func (c *column) sorted(counts map[string]int) []string {
	f := contract.Field{Type: c.kind()}
	var values []contract.Value
	for text := range counts {
		if v, err := f.Parse(text); err == nil && !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	slices.SortFunc(values, func(a, b contract.Value) int {
		if a.Int != b.Int {
			return int(max(min(a.Int-b.Int, 1), -1))
		}
		return strings.Compare(a.Text, b.Text)
	})
	var out []string
	for _, v := range values {
		if c.kind() == contract.String {
			out = append(out, strconv.Quote(v.Text))
			continue
		}
		out = append(out, f.Format(v))
	}
	return out
}

// proposal is a role that a column might have.
type proposal struct {
	role contract.Role
	why  string
}

// roles proposes roles, the likeliest first.
func (c *column) roles(rows int, bounded bool, units float64) (out []proposal) {
	kind := c.kind()
	_, few := c.values.few()
	different := rows > 1 && c.values.estimate() >= mostlyDifferent*float64(rows)
	countable := kind == contract.String || kind == contract.Integer
	if countable && c.empty == 0 && (different && !few || named(c.name)) {
		why := "looks like the person or company: COUNT(DISTINCT) alone"
		if !different {
			why += "; several records may be about one"
		}
		out = append(out, proposal{contract.Unit, why})
	}
	if c.filled == 0 {
		return append(out, proposal{contract.Restricted, "nothing was seen of it; listed and refused"})
	}
	if few && kind != contract.Number {
		out = append(out, proposal{contract.Dimension, "few different values: GROUP BY, WHERE"})
	}
	if (kind == contract.Integer || kind == contract.Number) && bounded && units <= contract.MaxMeasure && !named(c.name) {
		out = append(out, proposal{contract.Measure, "SUM and AVG; the bounds decide the noise, so make them as narrow as what is possible"})
	}
	if len(out) == 0 || out[len(out)-1].role == contract.Unit {
		out = append(out, proposal{contract.Restricted, "many different values would single people out: listed, and refused in queries"})
	}
	return out
}

// named says whether a column's name is one of those that people give to
// identifiers.
func named(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains([]string{"id", "uid", "subject", "patient", "person", "participant", "customer", "user", "mrn", "ssn"}, name) ||
		strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "_no")
}
