package admission_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/admission"
)

// TestBoundsHold: whatever a crowd does, no bound is exceeded at any moment,
// everybody is answered, and the pool is empty when they have gone.
func TestBoundsHold(t *testing.T) {
	const permits, weight, perKey, queue = 5, 40, 2, 20
	p := admission.New(admission.Config{Permits: permits, Weight: weight, PerKey: perKey, Queue: queue, QueuePerKey: 8, Wait: 20 * time.Millisecond})
	var inside, heavy atomic.Int64
	keys := make([]atomic.Int64, 3)
	var crowd sync.WaitGroup
	var got atomic.Int64
	for i := range 40 {
		crowd.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range 50 {
				key, w := random.IntN(len(keys)), random.Int64N(15)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(5)+1)*time.Millisecond)
				permit, err := p.Acquire(ctx, strconv.Itoa(key), w)
				if err == nil {
					got.Add(1)
					if inside.Add(1) > permits || heavy.Add(w) > weight || keys[key].Add(1) > perKey {
						t.Error("a bound is exceeded")
					}
					if random.IntN(4) == 0 {
						time.Sleep(50 * time.Microsecond)
					}
					inside.Add(-1)
					heavy.Add(-w)
					keys[key].Add(-1)
					permit.Release()
				}
				if l := p.Load(); l.Inside > permits || l.Weight > weight || l.Waiting > queue {
					t.Errorf("load %+v", l)
				}
				cancel()
			}
		})
	}
	crowd.Wait()
	if l := p.Load(); l.Inside != 0 || l.Weight != 0 || l.Waiting != 0 {
		t.Errorf("load %+v at the end", l)
	}
	if got.Load() == 0 {
		t.Error("nobody got in")
	}
}
