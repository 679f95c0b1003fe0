package enclave_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave"
	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/enclave/counters"
	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/test/genuine"
)

const statement = "SELECT COUNT(*) AS n FROM visits"

// visits is a dataset without records.
func visits() *contract.Contract {
	return &contract.Contract{
		Dataset: "visits", ID: "visits", Version: "1.0.0", Floor: contract.DefaultFloor, Mode: contract.Threshold,
		Fields: []contract.Field{
			{Name: "id", Type: contract.Integer, Role: contract.Unit, Required: true},
		},
	}
}

// slow is an object store that writes nothing until it is let.
type slow struct {
	*genuine.Objects
	let     chan struct{}
	written *sync.Map
}

// PutIfAbsent waits and writes.
func (s slow) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	select {
	case <-s.let:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.written.Store(name, true)
	return s.Objects.PutIfAbsent(ctx, name, content)
}

// people signs two analysts in.
func people(t *testing.T) (ada, bob *identity.Principal) {
	t.Helper()
	var err error
	for name, who := range map[string]**identity.Principal{"ada": &ada, "bob": &bob} {
		if *who, err = genuine.Principal(t.Context(), name, "analyst"); err != nil {
			t.Fatal(err)
		}
	}
	return ada, bob
}

// newDesk makes a desk over a real state, gate and audit log.
func newDesk(t *testing.T, objects audit.Objects, s *state.State, one int64, c *counters.Counters) *enclave.Desk {
	t.Helper()
	log, err := audit.Open(t.Context(), audit.Config{Objects: objects, Sealer: s, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := genuine.NewCatalog(visits())
	if err != nil {
		t.Fatal(err)
	}
	runner := query.New(query.Config{
		Catalog: catalog, Store: store.New([]*contract.Contract{visits()}), Gate: protect.New(protect.Config{Profile: bundle.Simulation, Audit: log}),
		Limits: exec.Limits{Rows: 100, Memory: 1 << 20}, Timeout: time.Hour,
	})
	d, err := enclave.NewDesk(runner, s, one, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ask asks in the background.
func ask(d *enclave.Desk, who *identity.Principal, n int) []chan error {
	var all []chan error
	for range n {
		done := make(chan error, 1)
		all = append(all, done)
		go func() {
			_, _, err := d.Query(context.Background(), who, statement)
			done <- err
		}()
	}
	synctest.Wait()
	return all
}

// reasons counts how queries ended: "" for an answer, "waits" for none.
func reasons(all []chan error) map[string]int {
	found := map[string]int{}
	for _, done := range all {
		select {
		case err := <-done:
			done <- err
			full, _ := errors.AsType[*admission.Full](err)
			switch {
			case err == nil:
				found[""]++
			case full != nil:
				found[full.Reason]++
			default:
				found[err.Error()]++
			}
		default:
			found["waits"]++
		}
	}
	return found
}

// TestTurns: a number of queries run, fewer of one analyst, and who waits in
// vain is told to come again before anything was written or charged.
func TestTurns(t *testing.T) {
	ada, bob := people(t)
	synctest.Test(t, func(t *testing.T) {
		objects := slow{genuine.NewObjects(), make(chan struct{}), new(sync.Map)}
		s, err := genuine.State(t.Context(), objects.Objects)
		if err != nil {
			t.Fatal(err)
		}
		d := newDesk(t, objects, s, 1<<20, counters.New())
		hers := ask(d, ada, limits.QueriesPerPrincipal+limits.QueriesWaitingPerPrincipal+1)
		if got := reasons(hers); got["waits"] != limits.QueriesPerPrincipal+limits.QueriesWaitingPerPrincipal || got[admission.ReasonKey] != 1 {
			t.Errorf("one analyst: %v", got)
		}
		his := ask(d, bob, 1)
		if l := d.Turns.Load(); l.Inside != limits.QueriesPerPrincipal+1 || l.Waiting != limits.QueriesWaitingPerPrincipal {
			t.Errorf("with another analyst: %+v", l)
		}
		time.Sleep(limits.QueryWait)
		synctest.Wait()
		if got := reasons(hers); got[admission.ReasonWait] != limits.QueriesWaitingPerPrincipal || got["waits"] != limits.QueriesPerPrincipal {
			t.Errorf("after the wait: %v", got)
		}
		close(objects.let)
		synctest.Wait()
		if got := reasons(append(hers, his...)); got[""] != limits.QueriesPerPrincipal+1 {
			t.Errorf("at the end: %v", got)
		}
		entries := 0
		objects.written.Range(func(any, any) bool { entries++; return true })
		if entries != limits.QueriesPerPrincipal+1 {
			t.Errorf("%d audit entries for %d queries that ran", entries, limits.QueriesPerPrincipal+1)
		}
		if l := d.Turns.Load(); l.Inside != 0 || l.Waiting != 0 || l.Weight != 0 {
			t.Errorf("load %+v", l)
		}
	})
}

// TestQueryMemory: together the running queries never hold more than their
// share of the machine, however much the bundle allows one of them.
func TestQueryMemory(t *testing.T) {
	ada, bob := people(t)
	machine, err := boot.Memory()
	if err != nil {
		t.Fatal(err)
	}
	share := machine / limits.QueryMemoryShare
	for name, c := range map[string]struct{ one, memory, inside int64 }{
		"little":              {1 << 20, 1 << 20, 3},
		"half of the share":   {share / 2, share / 2, 2},
		"more than a half":    {share/2 + 1, share/2 + 1, 1},
		"the share":           {share, share, 1},
		"more than there is":  {1 << 40, min(1<<40, share), 1},
		"more than is listed": {1<<63 - 1, share, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			objects := slow{genuine.NewObjects(), make(chan struct{}), new(sync.Map)}
			s, err := genuine.State(t.Context(), objects.Objects)
			if err != nil {
				t.Fatal(err)
			}
			d := newDesk(t, objects, s, c.one, counters.New())
			all := append(ask(d, ada, 2), ask(d, bob, 1)...)
			if l := d.Turns.Load(); d.Memory != c.memory || l.Inside != int(c.inside) || l.Weight > share {
				t.Errorf("%s: %d bytes each, load %+v", name, d.Memory, l)
			}
			close(objects.let)
			synctest.Wait()
			if got := reasons(all); got[""] != 3 {
				t.Errorf("%s: %v", name, got)
			}
		})
	}
}

// picture answers what the counters show an interval later.
func picture(t *testing.T, c *counters.Counters) counters.Published {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go c.Run(ctx)
	time.Sleep(counters.Interval)
	synctest.Wait()
	return c.Published()
}

// TestCountedQueries: what is refused before or at the desk is counted as such.
func TestCountedQueries(t *testing.T) {
	ada, _ := people(t)
	stranger, err := genuine.Principal(t.Context(), "eve", "visitor")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		o := genuine.NewObjects()
		s, err := genuine.State(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		c := counters.New()
		d := newDesk(t, o, s, 1<<20, c)
		for range 10 {
			if _, _, err := d.Query(t.Context(), ada, statement); err != nil {
				t.Fatal(err)
			}
			_, err := d.Check(t.Context(), ada, "SELECT id FROM visits")
			if _, ok := errors.AsType[*sql.Refusal](err); !ok {
				t.Fatalf("a refused statement: %v", err)
			}
			if _, _, err := d.Query(t.Context(), stranger, statement); !errors.Is(err, identity.ErrNotAllowed) {
				t.Fatalf("somebody without a role: %v", err)
			}
			if _, err := d.Check(t.Context(), ada, statement); err != nil {
				t.Fatal(err)
			}
		}
		if got := picture(t, c); got != (counters.Published{counters.QueryAnswered: 10, counters.QueryRefused: 20}) {
			t.Errorf("%v", got)
		}
	})
}
