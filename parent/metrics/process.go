package metrics

import (
	"runtime/metrics"
	"time"
)

// Process adds what Go knows of this process, under the names that Prometheus's
// own libraries use.
func (r *Registry) Process(started time.Time) {
	r.GaugeFunc("process_start_time_seconds", "Start time of the process since the Unix epoch in seconds.", func() float64 {
		return float64(started.UnixMilli()) / 1000
	})
	r.GaugeFunc("go_goroutines", "Number of goroutines that currently exist.", sample("/sched/goroutines:goroutines"))
	r.GaugeFunc("go_memstats_heap_alloc_bytes", "Bytes of heap objects.", sample("/memory/classes/heap/objects:bytes"))
	r.GaugeFunc("go_memory_total_bytes", "Bytes of memory that the Go runtime has from the system.", sample("/memory/classes/total:bytes"))
}

// sample reads one of the runtime's own numbers.
func sample(name string) func() float64 {
	return func() float64 {
		s := []metrics.Sample{{Name: name}}
		metrics.Read(s)
		if s[0].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return float64(s[0].Value.Uint64())
	}
}
