package query_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

func people(mode contract.Mode) *contract.Contract {
	return &contract.Contract{
		Dataset: "data", ID: "data", Version: "1", Mode: mode, Floor: 5,
		Fields: []contract.Field{
			{Name: "unit", Type: contract.Integer, Role: contract.Unit},
			{Name: "site", Type: contract.String, Role: contract.Dimension},
		},
	}
}

func person(unit int) columns.Record {
	return columns.Record{columns.Int("unit", int64(unit)), columns.Text("site", "a")}
}

// watched is a store that says what the audit log held when data was read.
type watched struct {
	*store.Store
	desk *genuine.Desk
	seen [][]audit.Record
}

func (w *watched) Snapshot(dataset string) (*table.Snapshot, bool) {
	records, err := w.desk.Records(context.Background())
	if err != nil {
		return nil, false
	}
	w.seen = append(w.seen, records)
	return w.Store.Snapshot(dataset)
}

// scene is a runner and everything around it. change may alter its
// configuration.
type scene struct {
	desk   *genuine.Desk
	data   *watched
	runner *query.Runner
}

func newScene(t *testing.T, mode contract.Mode, change func(*query.Config, *genuine.Desk)) *scene {
	t.Helper()
	c := people(mode)
	catalog, err := genuine.NewCatalog(c)
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{desk: desk(t)}
	s.data = &watched{Store: store.New([]*contract.Contract{c}), desk: s.desk}
	config := query.Config{
		Catalog: catalog, Store: s.data, Gate: s.desk.Gate, Limits: exec.Limits{Rows: 100, Memory: 1 << 20}, Timeout: time.Minute,
	}
	if change != nil {
		change(&config, s.desk)
	}
	s.runner = query.New(config)
	var records []columns.Record
	for unit := range 6 {
		records = append(records, person(unit))
	}
	appendTo(t, s.data.Store, c, records)
	return s
}

func (s *scene) records(t *testing.T) []audit.Record {
	t.Helper()
	all, err := s.desk.Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAuditedBeforeRead demands that the entry which the answer names was
// durable when data was read.
func TestAuditedBeforeRead(t *testing.T) {
	const text = "SELECT site, COUNT(*) FROM data WHERE site = 'a' GROUP BY site"
	s := newScene(t, contract.Threshold, nil)
	for i := range 3 {
		released, err := s.runner.Run(t.Context(), s.desk.Who, text)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.data.seen) != i+1 || len(s.data.seen[i]) != i+1 {
			t.Fatalf("entries when data was read: %v", s.data.seen)
		}
		r := s.data.seen[i][i]
		if r.Entry.Outcome != audit.Answered || r.ID != released.Answer().AuditID || r.Entry.Subject != "somebody" || r.Entry.Dataset != "data" {
			t.Errorf("record %+v, answer's %s", r, released.Answer().AuditID)
		}
		if i > 0 && r.Entry.Fingerprint != s.data.seen[i][0].Entry.Fingerprint {
			t.Error("the same query has two fingerprints")
		}
		if strings.Contains(fmt.Sprintf("%+v", r), "'a'") {
			t.Error("the entry holds the query")
		}
	}
}

// TestNoAuditNoRead lets somebody else take the audit log: no data is read.
func TestNoAuditNoRead(t *testing.T) {
	s := newScene(t, contract.Threshold, nil)
	s.desk.Objects.Set("audit/00000000000000000000", []byte("somebody else's"))
	for _, text := range []string{"SELECT COUNT(*) FROM data", "SELECT nonsense"} {
		released, err := s.runner.Run(t.Context(), s.desk.Who, text)
		if released != nil || !errors.Is(err, audit.ErrFork) {
			t.Errorf("%s: %v", text, err)
		}
		if _, ok := errors.AsType[*sql.Refusal](err); ok {
			t.Errorf("%s: the refusal came out", text)
		}
	}
	if len(s.data.seen) != 0 {
		t.Error("data was read")
	}
}

// TestRefused is everything that reads no data.
func TestRefused(t *testing.T) {
	nobody, err := genuine.Principal(t.Context(), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	const good = "SELECT COUNT(*) FROM data"
	tests := []struct {
		name, text string
		mode       contract.Mode
		who        *identity.Principal // nil for the analyst
		profile    string
		code       string
	}{
		{"syntax", "SELECT", contract.Threshold, nil, bundle.Simulation, "PQ100_SYNTAX"},
		{"rows", "SELECT unit FROM data GROUP BY unit", contract.Threshold, nil, bundle.Simulation, "PQ301_COLUMN_ROLE"},
		{"no role", good, contract.Threshold, nobody, bundle.Simulation, "PQ300_NOT_ALLOWED"},
		{"no role, and a bad query", "SELECT unit FROM data", contract.Threshold, nobody, bundle.Simulation, "PQ300_NOT_ALLOWED"},
		{"dp", good, contract.DP, nil, bundle.Simulation, "PQ404_MODE_NOT_AVAILABLE"},
		{"production", good, contract.Threshold, nil, bundle.Production, "PQ404_MODE_NOT_AVAILABLE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, tt.mode, func(c *query.Config, d *genuine.Desk) {
				c.Gate = protect.New(protect.Config{Profile: tt.profile, Audit: d.Log})
			})
			who := s.desk.Who
			if tt.who != nil {
				who = tt.who
			}
			released, err := s.runner.Run(t.Context(), who, tt.text)
			if released != nil || err == nil {
				t.Fatal("answered")
			}
			refusal, ok := errors.AsType[*sql.Refusal](err)
			if ok == errors.Is(err, identity.ErrNotAllowed) || ok && !strings.Contains(refusal.Error(), tt.code) {
				t.Errorf("got %v", err)
			}
			records := s.records(t)
			if len(records) != 1 || records[0].Entry.Outcome != audit.Refused || !strings.Contains(fmt.Sprint(records[0].Entry.Codes), tt.code) {
				t.Fatalf("records %+v", records)
			}
			if tt.text != good && records[0].Entry.Fingerprint != sha256.Sum256([]byte(tt.text)) {
				t.Error("the entry isn't about the text")
			}
			if len(s.data.seen) != 0 {
				t.Error("data was read")
			}
		})
	}
}

func TestLimits(t *testing.T) {
	const text = "SELECT site, COUNT(*) FROM data GROUP BY site"
	tests := []struct {
		name   string
		change func(*query.Config, *genuine.Desk)
		want   error
	}{
		{"none", nil, nil},
		{"rows", func(c *query.Config, _ *genuine.Desk) { c.Limits.Rows = 0 }, exec.ErrLimit},
		{"memory", func(c *query.Config, _ *genuine.Desk) { c.Limits.Memory = 1000 }, exec.ErrLimit},
		{"time", func(c *query.Config, _ *genuine.Desk) { c.Timeout = 1 }, context.DeadlineExceeded},
		{"no time", func(c *query.Config, _ *genuine.Desk) { c.Timeout = 0 }, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, contract.Threshold, tt.change)
			if _, err := s.runner.Run(t.Context(), s.desk.Who, text); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s := newScene(t, contract.Threshold, nil)
	if _, err := s.runner.Run(ended, s.desk.Who, text); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	if len(s.data.seen) != 0 {
		t.Error("data was read after the end")
	}
}

// TestNoTable is a catalogue with a dataset that the store lacks.
func TestNoTable(t *testing.T) {
	s := newScene(t, contract.Threshold, func(c *query.Config, _ *genuine.Desk) { c.Store = store.New(nil) })
	released, err := s.runner.Run(t.Context(), s.desk.Who, "SELECT COUNT(*) FROM data")
	if _, ok := errors.AsType[*sql.Refusal](err); released != nil || err == nil || ok {
		t.Errorf("got %v", err)
	}
}

// TestWhileIntake runs queries while batches come. Every batch brings one
// person more, so the snapshot's number tells the only right answer.
func TestWhileIntake(t *testing.T) {
	const batches = 150
	d, c := desk(t), people(contract.Threshold)
	r, tables := runner(t, d, c)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for last := uint64(0); last < batches; {
				released, err := r.Run(context.Background(), d.Who, "SELECT COUNT(*), COUNT(DISTINCT unit) AS people FROM data")
				if err != nil {
					t.Error(err)
					return
				}
				a := released.Answer()
				if a.Snapshot < last || a.Suppressed != (a.Snapshot < 5) {
					t.Errorf("snapshot %d after %d, suppressed %t", a.Snapshot, last, a.Suppressed)
					return
				}
				if want := int64(a.Snapshot); !a.Suppressed && (a.Rows[0][0].Int != want || a.Rows[0][1].Int != want) {
					t.Errorf("snapshot %d shows %v", a.Snapshot, a.Rows[0])
					return
				}
				last = a.Snapshot
			}
		})
	}
	for unit := range batches {
		appendTo(t, tables, c, []columns.Record{person(unit)})
	}
	wg.Wait()
}

// TestFloorHolds counts people alone: whatever is asked, no shown number of
// units is under the floor, and no shown group has fewer in the rows.
func TestFloorHolds(t *testing.T) {
	d := desk(t)
	shown := 0
	for table := range 60 {
		g := generator{rand.New(rand.NewPCG(22, uint64(table)))}
		c := g.contract()
		r, s := runner(t, d, c)
		_, records := g.rows(c, 80)
		appendTo(t, s, c, records)
		for range 10 {
			q := g.question(c)
			q.items = append(q.items, item{fn: "units", column: -1})
			released, err := r.Run(t.Context(), d.Who, q.text(c))
			if err != nil {
				t.Fatal(err)
			}
			a := released.Answer()
			for _, row := range a.Rows {
				last := row[len(row)-1]
				if last.Null != a.Suppressed || !last.Null && last.Int < int64(c.Floor) {
					t.Fatalf("%s: %v under %d", q.text(c), row, c.Floor)
				}
				shown++
			}
			if a.Mode != answer.ModeThreshold || a.Protected || a.Floor != c.Floor {
				t.Fatalf("answer %+v", a)
			}
		}
	}
	if shown < 200 {
		t.Errorf("%d rows were shown", shown)
	}
}
