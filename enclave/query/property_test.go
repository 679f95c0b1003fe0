package query_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

func desk(t testing.TB) *genuine.Desk {
	t.Helper()
	d, err := genuine.NewDesk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// appendTo seals records and gives them to the store.
func appendTo(t testing.TB, s *store.Store, c *contract.Contract, records []columns.Record) {
	t.Helper()
	b, err := genuine.Batch(c, records)
	if err != nil {
		t.Fatal(err)
	}
	if b.Len() != len(records) {
		t.Fatalf("%d of %d records were accepted", b.Len(), len(records))
	}
	if err := s.Append(b); err != nil {
		t.Fatal(err)
	}
}

// runner answers a runner over tables that are open for more.
func runner(t testing.TB, d *genuine.Desk, c *contract.Contract) (*query.Runner, *store.Store) {
	t.Helper()
	catalog, err := genuine.NewCatalog(c)
	if err != nil {
		t.Fatal(err)
	}
	s := store.New([]*contract.Contract{c})
	return query.New(query.Config{
		Catalog: catalog, Store: s, Gate: d.Gate, Limits: exec.Limits{Rows: 1000, Memory: 64 << 20}, Timeout: time.Minute,
	}), s
}

// TestModel asks random questions over random small tables and compares every
// cell with the model's.
func TestModel(t *testing.T) {
	tables, each := 150, 20
	if testing.Short() {
		tables = 40
	}
	d := desk(t)
	var answers, rowsShown, suppressed, nulls int
	for table := range tables {
		g := generator{rand.New(rand.NewPCG(20, uint64(table)))}
		c := g.contract()
		r, s := runner(t, d, c)
		var rows []row
		for range g.IntN(4) {
			more, records := g.rows(c, 1+g.IntN(60))
			appendTo(t, s, c, records)
			rows = append(rows, more...)
		}
		for range each {
			q := g.question(c)
			text := q.text(c)
			released, err := r.Run(t.Context(), d.Who, text)
			if err != nil {
				t.Fatalf("table %d: %s\n%v", table, text, err)
			}
			got, want := released.Answer(), q.answer(c, rows)
			compare(t, table, text, got, want)
			answers++
			rowsShown += len(got.Rows)
			if got.Suppressed {
				suppressed++
			}
			for _, cells := range got.Rows {
				for i, one := range cells {
					if one.Null && !q.items[i].key && !got.Suppressed {
						nulls++
					}
				}
			}
		}
	}
	// What was never met wasn't tested.
	if rowsShown < answers || suppressed == 0 || nulls == 0 {
		t.Errorf("%d answers have %d rows, %d suppressed, %d aggregates that are NULL", answers, rowsShown, suppressed, nulls)
	}
}

func compare(t *testing.T, table int, text string, got *answer.Answer, want expectation) {
	t.Helper()
	if err := got.Check(); err != nil {
		t.Errorf("table %d: %s\n%v", table, text, err)
	}
	if len(got.Rows) != len(want.rows) || got.Suppressed != want.suppressed {
		t.Fatalf("table %d: %s\n%d rows, suppressed %t, want %d, %t\n%v", table, text, len(got.Rows), got.Suppressed, len(want.rows), want.suppressed, got.Rows)
	}
	for i, cells := range got.Rows {
		for k, one := range cells {
			if !shows(got.Columns[k], one, want.rows[i][k]) {
				t.Fatalf("table %d: %s\nrow %d, column %d: %+v, want %+v", table, text, i, k, one, want.rows[i][k])
			}
		}
	}
}

// TestOrderOfArrival asks the same question of a table and of the same one with the
// rows in another order and in other batches: the answer has the same bytes.
func TestOrderOfArrival(t *testing.T) {
	d := desk(t)
	for table := range 40 {
		g := generator{rand.New(rand.NewPCG(21, uint64(table)))}
		c := g.contract()
		one, oneStore := runner(t, d, c)
		two, twoStore := runner(t, d, c)
		_, records := g.rows(c, 100)
		appendTo(t, oneStore, c, records)
		g.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		appendTo(t, twoStore, c, records[:33])
		appendTo(t, twoStore, c, records[33:])
		for range 10 {
			text := g.question(c).text(c)
			var encoded [2]string
			for i, r := range []*query.Runner{one, two} {
				released, err := r.Run(t.Context(), d.Who, text)
				if err != nil {
					t.Fatal(err)
				}
				a := released.Answer()
				a.Snapshot, a.AuditID = 0, ""
				b, err := a.Encode()
				if err != nil {
					t.Fatal(err)
				}
				encoded[i] = string(b)
			}
			if encoded[0] != encoded[1] {
				t.Fatalf("table %d: %s\ndepends on the order of rows", table, text)
			}
		}
	}
}
