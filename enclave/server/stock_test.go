package server_test

import (
	"context"
	databasesql "database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/query"
)

// open opens the stock database/sql driver of arrow-go.
func (d *deployed) open(t *testing.T, user *url.Userinfo) *databasesql.DB {
	t.Helper()
	dsn := url.URL{Scheme: "flightsql", Host: d.address, User: user}
	if user == nil {
		dsn.RawQuery = url.Values{"token": {strings.TrimPrefix(d.bearer(t), "Bearer ")}}.Encode()
	}
	db, err := databasesql.Open("flightsql", dsn.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// pairs reads rows of a name and a number.
func pairs(r *databasesql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var all []string
	for r.Next() {
		var name string
		var n int64
		if err := r.Scan(&name, &n); err != nil {
			return nil, err
		}
		all = append(all, fmt.Sprint(name, " ", n))
	}
	return all, r.Err()
}

// TestDatabaseSQL runs queries as arrow-go's database/sql driver does, with and
// without parameters.
func TestDatabaseSQL(t *testing.T) {
	d := deploy(t, nil)
	db := d.open(t, nil)
	const by = "SELECT rx, COUNT(*) AS n FROM colon WHERE %s GROUP BY rx"
	for name, c := range map[string]struct {
		where string
		args  []any
		want  []string
	}{
		"no parameter":       {"nodes < 4", nil, []string{"Lev 20", "Obs 20"}},
		"a number":           {"nodes < ?", []any{int64(4)}, []string{"Lev 20", "Obs 20"}},
		"a text":             {"rx = ?", []any{"Obs"}, []string{"Obs 30"}},
		"a truth value":      {"smoker = ?", []any{true}, []string{"Lev 20", "Obs 10"}},
		"numbered, twice":    {"nodes >= $2 AND nodes <> $1 AND nodes <= $1", []any{int64(3), int64(1)}, []string{"Lev 10", "Obs 10"}},
		"a list":             {"nodes IN (?, ?)", []any{int64(0), int64(1)}, []string{"Lev 10", "Obs 10"}},
		"quotes and a quote": {"rx = ? OR rx = 'Lev'", []any{"it's ' OR 1=1 --"}, []string{"Lev 30"}},
	} {
		got, err := pairs(db.QueryContext(t.Context(), fmt.Sprintf(by, c.where), c.args...))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	// One statement, prepared once.
	s, err := db.PrepareContext(t.Context(), fmt.Sprintf(by, "nodes = ?"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for nodes, want := range []string{"Lev 10", "Obs 10", "Lev 10"} {
		if got, err := pairs(s.QueryContext(t.Context(), int64(nodes))); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%d nodes: %v, %v", nodes, got, err)
		}
	}
	if got, err := pairs(s.QueryContext(t.Context())); err == nil {
		t.Errorf("without its value: %v", got)
	}
}

// TestPassword: the token is good as a password, whoever the user is.
func TestPassword(t *testing.T) {
	d := deploy(t, nil)
	token := strings.TrimPrefix(d.bearer(t), "Bearer ")
	const text = "SELECT rx, COUNT(*) FROM colon GROUP BY rx"
	if got, err := pairs(d.open(t, url.UserPassword("anybody", token)).QueryContext(t.Context(), text)); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	for name, user := range map[string]*url.Userinfo{"no password": url.User("anybody"), "a bad one": url.UserPassword("anybody", "secret")} {
		if got, err := pairs(d.open(t, user).QueryContext(t.Context(), text)); err == nil || !strings.Contains(err.Error(), "Unauthenticated") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if n := len(d.outcomes(t)); n != 1 {
		t.Errorf("%d entries for one query", n)
	}
}

// TestRefusedOnce: a refusal comes before there is a ticket, with code, rule
// and fix in the one line that stock clients show, and it is written down once.
// An answer is written down once too, however many calls lead to it.
func TestRefusedOnce(t *testing.T) {
	d := deploy(t, nil)
	db := d.open(t, nil)
	for _, c := range []struct {
		text string
		args []any
		want string
	}{
		{"SELECT postcode, COUNT(*) FROM colon GROUP BY postcode", nil, "PQ203_COLUMN_RESTRICTED at 7..15: this column is restricted. Fix: leave it out."},
		{"SELECT COUNT(*) FROM colon WHERE nodes = ?", []any{int64(1), int64(2)}, "expected 1 arguments, got 2"},
		{"SELECT COUNT(*) FROM colon WHERE rx LIKE ?", []any{"x"}, "PQ205_EXPR_NOT_ALLOWED"},
		{"SELECT id FROM colon", nil, "PQ201_NOT_AGGREGATED at 7..9"},
	} {
		before := d.outcomes(t)
		got, err := pairs(db.QueryContext(t.Context(), c.text, c.args...))
		if err == nil || !strings.Contains(strings.Split(err.Error(), "\n")[0], c.want) {
			t.Errorf("%s: %v, %v", c.text, got, err)
		}
		after := d.outcomes(t)[len(before):]
		if strings.HasPrefix(c.want, "PQ") && !slices.Equal(after, []audit.Outcome{audit.Refused}) || !strings.HasPrefix(c.want, "PQ") && len(after) > 0 {
			t.Errorf("%s: %v", c.text, after)
		}
	}
	before := d.outcomes(t)
	if _, err := pairs(db.QueryContext(t.Context(), "SELECT rx, COUNT(*) FROM colon WHERE nodes > ? GROUP BY rx", int64(1))); err != nil {
		t.Fatal(err)
	}
	if after := d.outcomes(t)[len(before):]; !slices.Equal(after, []audit.Outcome{audit.Answered}) {
		t.Errorf("one answer: %v", after)
	}
}

// TestReadOnly: nothing that would change something is taken.
func TestReadOnly(t *testing.T) {
	d := deploy(t, nil)
	db := d.open(t, nil)
	if _, err := db.ExecContext(t.Context(), "SELECT COUNT(*) FROM colon"); err == nil || !strings.Contains(err.Error(), "FailedPrecondition desc = read-only") {
		t.Errorf("an update: %v", err)
	}
	if _, err := db.BeginTx(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a transaction: %v", err)
	}
	if n := len(d.outcomes(t)); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// TestSeveralAtOnce runs many queries at once, on one connection and on many.
func TestSeveralAtOnce(t *testing.T) {
	d := deploy(t, nil)
	for _, connections := range []int{1, 8} {
		db := d.open(t, nil)
		db.SetMaxOpenConns(connections)
		var all sync.WaitGroup
		for i := range 24 {
			all.Go(func() {
				nodes := int64(i % 6)
				want := []string{[...]string{"Lev", "Obs"}[nodes%2] + " 10"}
				got, err := pairs(db.QueryContext(t.Context(), "SELECT rx, COUNT(*) FROM colon WHERE nodes = ? GROUP BY rx", nodes))
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%d nodes: %v, %v", nodes, got, err)
				}
			})
		}
		all.Wait()
	}
	// On one HTTP/2 connection, all of them open before the first is read.
	ctx, c := d.client(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			info, err := c.Execute(ctx, "SELECT COUNT(*) FROM colon")
			if err != nil {
				t.Errorf("%v", err)
				return
			}
			if got, err := rows(ctx, c, info); err != nil || !slices.Equal(got, []string{"60|"}) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	all.Wait()
}

// TestContextCancelled: a database/sql context that ends stops the query.
func TestContextCancelled(t *testing.T) {
	d := deploy(t, nil)
	began, ended := d.block()
	db := d.open(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		if got, err := pairs(db.QueryContext(ctx, "SELECT rx, COUNT(*) FROM colon GROUP BY rx")); err == nil {
			t.Errorf("%v", got)
		}
	})
	<-began
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the query ended with %v", err)
	}
	asking.Wait()
}

// TestTimeout: a query that takes longer than it may says so.
func TestTimeout(t *testing.T) {
	d := deploy(t, func(c *query.Config) { c.Timeout = time.Nanosecond })
	got, err := pairs(d.open(t, nil).QueryContext(t.Context(), "SELECT rx, COUNT(*) FROM colon GROUP BY rx"))
	if err == nil || !strings.Contains(err.Error(), "the query ran out of time") {
		t.Errorf("%v, %v", got, err)
	}
}
