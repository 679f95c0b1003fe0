package sql_test

import (
	"fmt"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
	"os"
	"strings"
	"testing"
)

type cat map[string]*contract.Contract

func (c cat) Contract(d string) (*contract.Contract, bool) { x, ok := c[d]; return x, ok }
func TestZZ(t *testing.T) {
	i := func(v int64) *int64 { return &v }
	colon := &contract.Contract{Dataset: "colon", ID: "colon", Version: "1", Floor: 10, Fields: []contract.Field{
		{Name: "id", Type: contract.Integer, Role: contract.Unit, Required: true}, {Name: "rx", Type: contract.String, Role: contract.Dimension},
		{Name: "age", Type: contract.Integer, Role: contract.Measure, Minimum: i(0), Maximum: i(120)}, {Name: "nodes", Type: contract.Integer, Role: contract.Dimension},
		{Name: "price", Type: contract.Number, Scale: 2, Role: contract.Dimension}, {Name: "ts", Type: contract.Timestamp, Role: contract.Dimension},
		{Name: "note", Type: contract.String}, {Name: "zip", Type: contract.String, Role: contract.Restricted}, {Name: "st", Type: contract.String, Role: contract.Status}}}
	if err := colon.Check(); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile("/tmp/scratch/q.txt")
	for _, q := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		p, err := sql.Compile(q, nil, cat{"colon": colon})
		fmt.Println("##", q)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(string(p.Canonical()), p.Conditions(), p.Keys(), p.Aggregates(), p.Outputs(), p.Having(), p.Order())
	}
}
