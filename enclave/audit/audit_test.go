package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/test/genuine"
)

// world is a store and the state over it that seals.
type world struct {
	objects *genuine.Objects
	sealer  audit.Sealer
	now     time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	o := genuine.NewObjects()
	s, err := genuine.State(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return &world{objects: o, sealer: s, now: time.UnixMilli(1_700_000_000_000)}
}

func (w *world) config() audit.Config {
	return audit.Config{Objects: w.objects, Sealer: w.sealer, Now: func() time.Time { return w.now }}
}

func (w *world) open(t *testing.T) *audit.Log {
	t.Helper()
	l, err := audit.Open(t.Context(), w.config())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func name(number int) string { return fmt.Sprintf("audit/%020d", number) }

func entry(n int) audit.Entry {
	e := audit.Entry{Issuer: "https://id.example", Subject: fmt.Sprint("subject", n), Dataset: "d", Outcome: audit.Answered, Fingerprint: [32]byte{byte(n)}}
	if n%2 == 1 {
		e.Outcome, e.Codes = audit.Refused, []string{"PQ100_SYNTAX", "PQ207_SUBQUERY"}
	}
	return e
}

// write appends entries from up to to, and answers their ids.
func write(t *testing.T, l *audit.Log, from, to int) (ids []string) {
	t.Helper()
	for n := from; n < to; n++ {
		id, err := l.Append(t.Context(), entry(n))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// walk answers the log's records as text.
func walk(t *testing.T, l *audit.Log) ([]audit.Record, error) {
	t.Helper()
	var all []audit.Record
	err := l.Walk(t.Context(), func(r audit.Record) error {
		all = append(all, r)
		return nil
	})
	return all, err
}

// check demands that the log holds entry 0 to len(ids)-1.
func check(t *testing.T, l *audit.Log, ids []string) {
	t.Helper()
	got, err := walk(t, l)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(ids) {
		t.Fatalf("%d entries, want %d", len(got), len(ids))
	}
	for i, r := range got {
		want := audit.Record{Number: uint64(i), ID: ids[i], Time: r.Time, Entry: entry(i)}
		if fmt.Sprint(r) != fmt.Sprint(want) {
			t.Errorf("entry %d is %v, want %v", i, r, want)
		}
		if i > 0 && r.Time < got[i-1].Time {
			t.Errorf("entry %d is older than the one before", i)
		}
	}
}

func TestRestart(t *testing.T) {
	w := newWorld(t)
	ids := write(t, w.open(t), 0, 1)
	w.now = w.now.Add(-time.Hour) // a clock that went back doesn't turn the log
	ids = append(ids, write(t, w.open(t), 1, 2)...)
	w.now = w.now.Add(2 * time.Hour)
	l := w.open(t)
	ids = append(ids, write(t, l, 2, 5)...)
	check(t, l, ids)
	check(t, w.open(t), ids)
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 5 || len(ids[0]) != 32 {
		t.Errorf("ids: %v", ids)
	}
}

// TestPages restarts over more entries than a page of names has.
func TestPages(t *testing.T) {
	const entries = 2001
	w := newWorld(t)
	ids := write(t, w.open(t), 0, entries)
	l := w.open(t)
	ids = append(ids, write(t, l, entries, entries+1)...)
	check(t, l, ids)
}

// TestSealed demands that nothing of an entry can be read in the store, and
// that sizes don't tell entries apart.
func TestSealed(t *testing.T) {
	w := newWorld(t)
	write(t, w.open(t), 0, 2)
	var sizes []int
	for n := range 2 {
		content, err := w.objects.Get(t.Context(), name(n))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "subject") || strings.Contains(string(content), "example") {
			t.Error("an entry is readable")
		}
		sizes = append(sizes, len(content))
	}
	if sizes[0] != sizes[1] {
		t.Errorf("sizes %v", sizes)
	}
}

// TestTorn changes what the store holds of five entries and demands that
// opening or walking notices it.
func TestTorn(t *testing.T) {
	swap := func(w *world, a, b int) {
		x, _ := w.objects.Get(context.Background(), name(a))
		y, _ := w.objects.Get(context.Background(), name(b))
		w.objects.Set(name(a), y)
		w.objects.Set(name(b), x)
	}
	// foreign answers an entry n that another chain of the same state has.
	foreign := func(t *testing.T, w *world, n int) []byte {
		other := &world{objects: genuine.NewObjects(), sealer: w.sealer, now: w.now}
		write(t, other.open(t), 0, n+1)
		content, err := other.objects.Get(t.Context(), name(n))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	tests := []struct {
		name   string
		change func(t *testing.T, w *world)
		open   bool // whether Open can't see it and Walk must
	}{
		{"first missing", func(_ *testing.T, w *world) { w.objects.Set(name(0), nil) }, false},
		{"middle missing", func(_ *testing.T, w *world) { w.objects.Set(name(2), nil) }, false},
		{"other name", func(_ *testing.T, w *world) { w.objects.Set("audit/x", []byte("x")) }, false},
		{"last changed", func(_ *testing.T, w *world) { w.objects.Set(name(4), []byte("x")) }, false},
		{"last empty", func(_ *testing.T, w *world) { w.objects.Set(name(4), []byte{}) }, false},
		{"last swapped", func(_ *testing.T, w *world) { swap(w, 3, 4) }, false},
		{"last of another chain", func(t *testing.T, w *world) { w.objects.Set(name(4), foreign(t, w, 4)) }, false},
		{"last but one of another chain", func(t *testing.T, w *world) { w.objects.Set(name(3), foreign(t, w, 3)) }, false},
		{"middle changed", func(_ *testing.T, w *world) { w.objects.Set(name(1), []byte("x")) }, true},
		{"middle swapped", func(_ *testing.T, w *world) { swap(w, 0, 1) }, true},
		{"middle of another chain", func(t *testing.T, w *world) { w.objects.Set(name(1), foreign(t, w, 1)) }, true},
		{"first of another chain", func(t *testing.T, w *world) { w.objects.Set(name(0), foreign(t, w, 0)) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			before := w.open(t)
			write(t, before, 0, 5)
			tt.change(t, w)
			l, err := audit.Open(t.Context(), w.config())
			if tt.open != (err == nil) {
				t.Fatalf("Open: %v", err)
			}
			if err != nil && !errors.Is(err, audit.ErrCorrupt) {
				t.Fatalf("Open: %v", err)
			}
			if err == nil {
				if _, err := walk(t, l); !errors.Is(err, audit.ErrCorrupt) {
					t.Errorf("Walk: %v", err)
				}
			}
			if strings.HasPrefix(tt.name, "other name") {
				return // a log that is open doesn't list
			}
			if _, err := walk(t, before); err == nil {
				t.Error("the log that wrote it doesn't notice")
			}
		})
	}
}

// TestSecondWriter opens the log twice: the one that comes late stops for good.
func TestSecondWriter(t *testing.T) {
	w := newWorld(t)
	first, second := w.open(t), w.open(t)
	ids := write(t, first, 0, 1)
	for range 2 {
		if _, err := second.Append(t.Context(), entry(0)); !errors.Is(err, audit.ErrFork) {
			t.Fatalf("got %v", err)
		}
	}
	w.objects.Set(name(0), nil) // it stays stopped, whatever the store says
	if _, err := second.Append(t.Context(), entry(0)); !errors.Is(err, audit.ErrFork) {
		t.Fatalf("got %v", err)
	}
	if names, _ := w.objects.List(t.Context(), "audit/", "", 10); len(names) != 0 {
		t.Errorf("the second writer wrote %v", names)
	}
	ids = append(ids, write(t, first, 1, 2)...)
	if ids[0] == ids[1] {
		t.Error("two entries have one id")
	}
}

// TestHiddenTail is a store that lists less than it has: the next entry meets
// the hidden one.
func TestHiddenTail(t *testing.T) {
	w := newWorld(t)
	write(t, w.open(t), 0, 3)
	c := w.config()
	c.Objects = hiding{w.objects}
	l, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), entry(9)); !errors.Is(err, audit.ErrFork) {
		t.Errorf("got %v", err)
	}
}

type hiding struct{ *genuine.Objects }

func (h hiding) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	names, err := h.Objects.List(ctx, prefix, after, limit)
	return slices.DeleteFunc(names, func(n string) bool { return n == name(2) }), err
}

// faulty is a store whose replies get lost.
type faulty struct {
	*genuine.Objects
	put  func() (store, reply bool)
	mute bool // Get doesn't answer
}

var errLost = errors.New("the reply is lost")

func (f *faulty) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	store, reply := f.put()
	if store {
		if err := f.Objects.PutIfAbsent(ctx, name, content); err != nil {
			return err
		}
	}
	if !reply {
		return errLost
	}
	return nil
}

func (f *faulty) Get(ctx context.Context, name string) ([]byte, error) {
	if f.mute {
		return nil, errLost
	}
	return f.Objects.Get(ctx, name)
}

func TestLostReplies(t *testing.T) {
	tests := []struct {
		name         string
		store, reply bool
		mute         bool
		want         error
	}{
		{"stored, reply lost, read back", true, false, false, nil},
		{"stored, reply lost, nothing can be read", true, false, true, audit.ErrUnsettled},
		{"not stored, reply lost", false, false, false, audit.ErrUnsettled},
		{"not stored, nothing can be read", false, false, true, audit.ErrUnsettled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			write(t, w.open(t), 0, 1)
			f := &faulty{Objects: w.objects, put: func() (bool, bool) { return tt.store, tt.reply }, mute: false}
			c := w.config()
			c.Objects = f
			l, err := audit.Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			f.mute = tt.mute
			id, err := l.Append(t.Context(), entry(1))
			if !errors.Is(err, tt.want) || (err == nil) != (id != "") {
				t.Fatalf("id %q, error %v, want %v", id, err, tt.want)
			}
			// Once the store answers, the entry takes its place before the next.
			f.put, f.mute = func() (bool, bool) { return true, true }, false
			write(t, l, 2, 3)
			got, err := walk(t, w.open(t))
			if err != nil || len(got) != 3 {
				t.Fatalf("%d entries, %v", len(got), err)
			}
			for i, r := range got {
				if fmt.Sprint(r.Entry) != fmt.Sprint(entry(i)) {
					t.Errorf("entry %d is %v", i, r.Entry)
				}
			}
		})
	}
}

// TestContext ends the context before and during an entry.
func TestContext(t *testing.T) {
	w := newWorld(t)
	l := w.open(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ended, entry(0)); err == nil {
		t.Error("an entry was written without a context")
	}
	// Whatever became of it, the log goes on.
	write(t, l, 1, 2)
	if _, err := walk(t, l); err != nil {
		t.Error(err)
	}
	if err := l.Walk(ended, func(audit.Record) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Walk: %v", err)
	}
	if _, err := audit.Open(ended, w.config()); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
}

func TestBadEntries(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	tests := map[string]func(*audit.Entry){
		"no outcome":    func(e *audit.Entry) { e.Outcome = "" },
		"other outcome": func(e *audit.Entry) { e.Outcome = "perhaps" },
		"long issuer":   func(e *audit.Entry) { e.Issuer = long },
		"long subject":  func(e *audit.Entry) { e.Subject = long },
		"long dataset":  func(e *audit.Entry) { e.Dataset = long },
		"not UTF-8":     func(e *audit.Entry) { e.Subject = "\xff" },
		"long code":     func(e *audit.Entry) { e.Codes = []string{long} },
		"bad code":      func(e *audit.Entry) { e.Codes = []string{"\xff"} },
		"many codes":    func(e *audit.Entry) { e.Codes = make([]string, 65) },
	}
	w := newWorld(t)
	l := w.open(t)
	for name, change := range tests {
		e := entry(0)
		change(&e)
		if _, err := l.Append(t.Context(), e); err == nil {
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "xxx") || strings.Contains(err.Error(), "subject") {
			t.Errorf("%s: the error quotes the entry", name)
		}
	}
	check(t, l, nil)
	ids := write(t, l, 0, 1)
	check(t, l, ids)
}

// TestConcurrent appends from several goroutines: every entry stands once.
func TestConcurrent(t *testing.T) {
	const writers, each = 4, 50
	w := newWorld(t)
	l := w.open(t)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if _, err := l.Append(t.Context(), entry(0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := walk(t, w.open(t))
	if err != nil || len(got) != writers*each {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// TestWalkStops demands that the visitor's error ends the walk.
func TestWalkStops(t *testing.T) {
	w := newWorld(t)
	l := w.open(t)
	write(t, l, 0, 3)
	seen := 0
	enough := errors.New("enough")
	err := l.Walk(t.Context(), func(audit.Record) error {
		if seen++; seen == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || seen != 2 {
		t.Errorf("%d visited, %v", seen, err)
	}
}

func TestIncomplete(t *testing.T) {
	w := newWorld(t)
	for i, change := range []func(*audit.Config){
		func(c *audit.Config) { c.Objects = nil },
		func(c *audit.Config) { c.Sealer = nil },
		func(c *audit.Config) { c.Now = nil },
	} {
		c := w.config()
		change(&c)
		if _, err := audit.Open(t.Context(), c); err == nil {
			t.Errorf("configuration %d is taken", i)
		}
	}
}
