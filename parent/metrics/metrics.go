// Package metrics counts what the parent does and shows it in Prometheus's text
// format. The values of a label are fixed when the metric is made, so that no
// name, address or content can become one. It trusts its callers with nothing
// else: what they count is shown to everybody who reaches the admin listener.
package metrics

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Other is what a label shows for a value that it wasn't made with.
const Other = "other"

// Label is a label with all values that it may have.
type Label struct {
	Name   string
	Values []string
}

// Registry holds metrics in the order in which they were made. It is safe for
// use by several goroutines.
type Registry struct {
	mu sync.Mutex
	// What follows is guarded by mu.
	families []*family
	pools    []pool
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return &Registry{} }

// The types of the text format.
const (
	typeCounter   = "counter"
	typeGauge     = "gauge"
	typeHistogram = "histogram"
)

// family is all series of one name.
type family struct {
	name, help, kind string
	labels           []Label
	bounds           []float64      // of a histogram
	series           []*series      // in the order of the labels' values
	read             func() float64 // of a function
}

// series is one line, or those of one histogram.
type series struct {
	values  []string
	bits    atomic.Uint64   // a counter's count or a gauge's IEEE 754 bits
	buckets []atomic.Uint64 // of a histogram, the last one for what is over all bounds
	sum     atomic.Uint64   // of a histogram, IEEE 754 bits
}

// add makes a family with a series for every combination of values.
func (r *Registry) add(f *family) *family {
	for i := range f.labels {
		if f.labels[i].Values = slices.Clone(f.labels[i].Values); !slices.Contains(f.labels[i].Values, Other) {
			f.labels[i].Values = append(f.labels[i].Values, Other)
		}
	}
	for _, values := range combinations(f.labels) {
		f.series = append(f.series, &series{values: values, buckets: make([]atomic.Uint64, len(f.bounds)+1)})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.families = append(r.families, f)
	return f
}

// combinations answers every choice of one value from each label.
func combinations(labels []Label) [][]string {
	all := [][]string{{}}
	for _, l := range labels {
		var next [][]string
		for _, before := range all {
			for _, v := range l.Values {
				next = append(next, append(slices.Clone(before), v))
			}
		}
		all = next
	}
	return all
}

// at answers the series of these values, one for each label. A value that a
// label wasn't made with, or a missing one, is Other. It allocates nothing: it
// counts bytes of every connection.
func (f *family) at(values []string) *series {
	place := 0
	for i, l := range f.labels {
		known := -1
		if i < len(values) {
			known = slices.Index(l.Values, values[i])
		}
		if known < 0 {
			known = slices.Index(l.Values, Other)
		}
		place = place*len(l.Values) + known
	}
	return f.series[place]
}

// Counter is a number that only grows.
type Counter struct{ family *family }

// Counter makes a counter. Its name ends in _total.
func (r *Registry) Counter(name, help string, labels ...Label) *Counter {
	return &Counter{r.add(&family{name: name, help: help, kind: typeCounter, labels: labels})}
}

// Inc adds one to the series of these values.
func (c *Counter) Inc(values ...string) { c.Add(1, values...) }

// Add adds n to the series of these values.
func (c *Counter) Add(n uint64, values ...string) { c.family.at(values).bits.Add(n) }

// Store takes over a count that is kept elsewhere.
func (c *Counter) Store(n uint64, values ...string) { c.family.at(values).bits.Store(n) }

// Gauge is a number that comes and goes.
type Gauge struct{ family *family }

// Gauge makes a gauge.
func (r *Registry) Gauge(name, help string, labels ...Label) *Gauge {
	return &Gauge{r.add(&family{name: name, help: help, kind: typeGauge, labels: labels})}
}

// Set changes the series of these values.
func (g *Gauge) Set(v float64, values ...string) {
	g.family.at(values).bits.Store(math.Float64bits(v))
}

// Add changes the series of these values by d.
func (g *Gauge) Add(d float64, values ...string) { addFloat(&g.family.at(values).bits, d) }

// GaugeFunc makes a gauge whose value is asked for at each scrape.
func (r *Registry) GaugeFunc(name, help string, read func() float64) {
	r.add(&family{name: name, help: help, kind: typeGauge, read: read})
}

// Histogram counts measurements by size.
type Histogram struct{ family *family }

// Histogram makes a histogram of buckets with these upper bounds, which ascend.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...Label) *Histogram {
	return &Histogram{r.add(&family{name: name, help: help, kind: typeHistogram, labels: labels, bounds: slices.Clone(bounds)})}
}

// Observe counts one measurement in the series of these values.
func (h *Histogram) Observe(v float64, values ...string) {
	s := h.family.at(values)
	at, _ := slices.BinarySearch(h.family.bounds, v)
	s.buckets[at].Add(1)
	addFloat(&s.sum, v)
}

func addFloat(bits *atomic.Uint64, d float64) {
	for {
		old := bits.Load()
		if bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+d)) {
			return
		}
	}
}
