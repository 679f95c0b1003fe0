package enclave

import (
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/limits"
)

// newTurns makes the pool of queries that run at once, and answers what each of
// them may hold, in bytes: what the bundle allows one query, but never more than
// all of them may hold together, a constant share of the machine's memory.
func newTurns(one int64) (turns *admission.Pool, memory int64, err error) {
	machine, err := boot.Memory()
	if err != nil {
		return nil, 0, err
	}
	all := max(1, machine/limits.QueryMemoryShare)
	return admission.New(admission.Config{
		Permits: limits.Queries, PerKey: limits.QueriesPerPrincipal, Weight: all,
		Queue: limits.QueriesWaiting, QueuePerKey: limits.QueriesWaitingPerPrincipal,
		Wait: limits.QueryWait, Retry: limits.Retry,
	}), min(one, all), nil
}
