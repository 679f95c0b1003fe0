package metrics

import (
	"bufio"
	"slices"
	"strconv"

	"github.com/cloisterhq/cloister/internal/admission"
)

// pool is an admission pool with the name that it is shown under.
type pool struct {
	name string
	pool *admission.Pool
}

// Pool shows how full an admission pool is. The name is a constant of the code
// that has the pool.
func (r *Registry) Pool(name string, p *admission.Pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pools = append(r.pools, pool{name, p})
}

// writePools writes three families over all pools.
func writePools(b *bufio.Writer, pools []pool) {
	if len(pools) == 0 {
		return
	}
	loads := make([]admission.Load, len(pools))
	for i, p := range pools {
		loads[i] = p.pool.Load()
	}
	for _, f := range []struct {
		name, help, kind string
		of               func(admission.Load) uint64
	}{
		{"cloister_admission_inside", "How many a bounded pool holds now.", typeGauge, func(l admission.Load) uint64 { return uint64(l.Inside) }},
		{"cloister_admission_waiting", "How many wait for a place in a bounded pool.", typeGauge, func(l admission.Load) uint64 { return uint64(l.Waiting) }},
		{"cloister_admission_refused_total", "How many a bounded pool had no room for.", typeCounter, func(l admission.Load) uint64 { return l.Refused }},
	} {
		head(b, f.name, f.help, f.kind)
		for i, p := range pools {
			line(b, f.name, pair("pool", p.name), strconv.FormatUint(f.of(loads[i]), 10))
		}
	}
}

// snapshot answers what is registered now.
func (r *Registry) snapshot() ([]*family, []pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.families), slices.Clone(r.pools)
}
