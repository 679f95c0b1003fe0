package metrics_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/parent/metrics"
	"github.com/cloisterhq/cloister/test/exposition"
)

// scrape writes a registry and reads it back.
func scrape(t *testing.T, r *metrics.Registry) (exposition.Scrape, string) {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	s, err := exposition.Parse(b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return s, b.String()
}

// want demands the value of a series.
func want(t *testing.T, s exposition.Scrape, value float64, name string, labels ...string) {
	t.Helper()
	if got, ok := s.Value(name, labels...); !ok || got != value {
		t.Errorf("%s %v: %v (%v), want %v", name, labels, got, ok, value)
	}
}

// TestText is the whole format, byte for byte.
func TestText(t *testing.T) {
	r := metrics.NewRegistry()
	c := r.Counter("a_total", `Back\slash and
line.`, metrics.Label{Name: "x", Values: []string{"one", "t\"w\\o\n"}})
	c.Add(1<<63, "one")
	g := r.Gauge("b", "A gauge.")
	g.Set(-0.25)
	h := r.Histogram("h", "A histogram.", []float64{0.5, 2}, metrics.Label{Name: "y", Values: []string{"z"}})
	for _, v := range []float64{0.5, 0.25, 2, 3} {
		h.Observe(v, "z")
	}
	r.GaugeFunc("f", "A function.", func() float64 { return math.Inf(-1) })
	_, got := scrape(t, r)
	if text := `# HELP a_total Back\\slash and\nline.
# TYPE a_total counter
a_total{x="one"} 9223372036854775808
a_total{x="t\"w\\o\n"} 0
# HELP b A gauge.
# TYPE b gauge
b -0.25
# HELP h A histogram.
# TYPE h histogram
h_bucket{y="z",le="0.5"} 2
h_bucket{y="z",le="2"} 3
h_bucket{y="z",le="+Inf"} 4
h_sum{y="z"} 5.75
h_count{y="z"} 4
# HELP f A function.
# TYPE f gauge
f -Inf
`; got != text {
		t.Errorf("got\n%swant\n%s", got, text)
	}
}

// TestLabelsAreFixed: a value that a label wasn't made with is never shown,
// whatever it is, and none is lost.
func TestLabelsAreFixed(t *testing.T) {
	r := metrics.NewRegistry()
	hosts := []string{"a:1", "b:2"}
	c := r.Counter("c_total", "C.", metrics.Label{Name: "host", Values: hosts}, metrics.Label{Name: "outcome", Values: []string{"good", "bad"}})
	g := r.Gauge("g", "G.", metrics.Label{Name: "host", Values: hosts})
	h := r.Histogram("h", "H.", []float64{1}, metrics.Label{Name: "host", Values: hosts})
	hosts[0] = "canary-later"
	s, text := scrape(t, r)
	want(t, s, 0, "c_total", "host", "a:1", "outcome", "good")
	want(t, s, 0, "h_count", "host", "b:2")
	if strings.Contains(text, metrics.Other) {
		t.Errorf("a series for nothing:\n%s", text)
	}
	c.Inc("canary-host", "good")
	c.Inc("a:1", "canary\noutcome")
	c.Inc("a:1")
	c.Add(5, "a:1", "good", "canary-third")
	g.Set(7, "canary-host")
	g.Add(1.5, "a:1")
	g.Add(-0.5, "a:1")
	h.Observe(9, "canary-host")
	s, text = scrape(t, r)
	want(t, s, 1, "c_total", "host", metrics.Other, "outcome", "good")
	want(t, s, 2, "c_total", "host", "a:1", "outcome", metrics.Other)
	want(t, s, 5, "c_total", "host", "a:1", "outcome", "good")
	want(t, s, 7, "g", "host", metrics.Other)
	want(t, s, 1, "g", "host", "a:1")
	want(t, s, 1, "h_bucket", "host", metrics.Other, "le", "+Inf")
	if strings.Contains(text, "canary") {
		t.Errorf("a label holds what it wasn't made with:\n%s", text)
	}
}

func TestStore(t *testing.T) {
	r := metrics.NewRegistry()
	c := r.Counter("c_total", "C.")
	c.Add(3)
	c.Store(20)
	s, _ := scrape(t, r)
	want(t, s, 20, "c_total")
}

func TestPools(t *testing.T) {
	r := metrics.NewRegistry()
	busy, idle := admission.New(admission.Config{Permits: 1}), admission.New(admission.Config{Permits: 1})
	r.Pool("busy", busy)
	r.Pool("idle", idle)
	if _, err := busy.Try("", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := busy.Try("", 0); err == nil {
		t.Fatal("two got in")
	}
	s, _ := scrape(t, r)
	want(t, s, 1, "cloister_admission_inside", "pool", "busy")
	want(t, s, 1, "cloister_admission_refused_total", "pool", "busy")
	want(t, s, 0, "cloister_admission_waiting", "pool", "busy")
	want(t, s, 0, "cloister_admission_inside", "pool", "idle")
}

func TestProcess(t *testing.T) {
	r := metrics.NewRegistry()
	r.Process(time.UnixMilli(1_700_000_000_500))
	s, _ := scrape(t, r)
	want(t, s, 1_700_000_000.5, "process_start_time_seconds")
	for _, name := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes", "go_memory_total_bytes"} {
		if v, ok := s.Value(name); !ok || v < 1 {
			t.Errorf("%s: %v, %v", name, v, ok)
		}
	}
}

// TestConcurrent: nothing is lost, and scrapes in between are whole.
func TestConcurrent(t *testing.T) {
	r := metrics.NewRegistry()
	c := r.Counter("c_total", "C.")
	g := r.Gauge("g", "G.")
	h := r.Histogram("h", "H.", []float64{1})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				c.Inc()
				g.Add(0.5)
				h.Observe(2)
			}
		})
	}
	for range 20 {
		scrape(t, r)
	}
	all.Wait()
	s, _ := scrape(t, r)
	want(t, s, 4000, "c_total")
	want(t, s, 2000, "g")
	want(t, s, 8000, "h_sum")
}

// broken takes nothing.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no more") }

func TestBrokenWriter(t *testing.T) {
	r := metrics.NewRegistry()
	r.Gauge("g", "G.")
	if err := r.Write(broken{}); err == nil {
		t.Error("a scrape into nothing is no error")
	}
}

// TestAddAllocatesNothing, because every piece of every connection is counted.
func TestAddAllocatesNothing(t *testing.T) {
	c := metrics.NewRegistry().Counter("pieces_total", "Pieces.",
		metrics.Label{Name: "one", Values: []string{"a", "b"}}, metrics.Label{Name: "two", Values: []string{"c", "d", "e"}})
	if n := testing.AllocsPerRun(100, func() { c.Add(1, "b", "e"); c.Add(1, "b", "elsewhere"); c.Add(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
