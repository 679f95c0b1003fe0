package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/test/genuine"
)

// Busy is a query that is asked while rows come. Times are for a million rows
// of the table, because it grows.
type Busy struct {
	Query string `json:"query"`
	// Asked is the rate that the producer tries, in rows a second; 0 is as fast
	// as it can. Came is what was accepted.
	Asked float64 `json:"asked_rows_a_second"`
	Came  float64 `json:"rows_a_second"`
	// Quiet and Busy are medians, in milliseconds for a million rows.
	Quiet    float64 `json:"quiet_ms"`
	Busy     float64 `json:"busy_ms"`
	Slowdown float64 `json:"slowdown"`
}

// burst is how long queries are asked in one turn.
const burst = time.Second / 2

// measureBusy asks the same query with and without ingestion, in turns.
func (r *Ingestion) measureBusy(ctx context.Context, rows, repeats int) error {
	desk, err := genuine.NewDesk(ctx)
	if err != nil {
		return err
	}
	for _, rate := range []float64{500_000, 0} {
		for _, s := range []int{2, len(shapes) - 1} {
			l, err := newLetters(rows, smallEnvelope, sixColumns)
			if err != nil {
				return err
			}
			p, err := newPath(ctx, l)
			if err != nil {
				return err
			}
			grant, err := desk.Grant(ctx, &l.bundle.Datasets[0].Contract, shapes[s].Ours)
			if err != nil {
				return err
			}
			b, err := p.whileIngesting(ctx, &shapes[s], grant, rate, repeats)
			if err != nil {
				return err
			}
			fmt.Printf("%s, asked for %.1f M rows/s: %.1f came, %.2f times slower\n", b.Query, rate/1e6, b.Came/1e6, b.Slowdown)
			r.Busy = append(r.Busy, b)
		}
	}
	return nil
}

// whileIngesting accepts half of the rows first, and the others while it asks.
func (p *path) whileIngesting(ctx context.Context, s *shape, grant *protect.Grant, rate float64, repeats int) (*Busy, error) {
	l := p.letters
	half := len(l.sealed) / 2
	for _, raw := range l.sealed[:half] {
		if err := p.accept(ctx, raw); err != nil {
			return nil, err
		}
	}
	b := &Busy{Query: s.Name, Asked: rate}
	var quiet, busy []float64
	var spent time.Duration
	left, came := l.sealed[half:], 0
	for turn := 0; turn < repeats && len(left) > 0; turn++ {
		p.store.Settle()
		if err := p.ask(ctx, s, grant, &quiet, new(atomic.Bool)); err != nil {
			return nil, err
		}
		begin := time.Now()
		done, err := p.during(ctx, left, rate, func(over *atomic.Bool) error { return p.ask(ctx, s, grant, &busy, over) })
		if err != nil {
			return nil, err
		}
		spent += time.Since(begin)
		left, came = left[done:], came+done
	}
	b.Came = float64(came*len(l.batches[0][person].Ints)) / spent.Seconds()
	b.Quiet, b.Busy = median(quiet), median(busy)
	b.Slowdown = b.Busy / b.Quiet
	return b, nil
}

// ask runs a query again and again until it is over, and notes its times.
func (p *path) ask(ctx context.Context, s *shape, grant *protect.Grant, times *[]float64, over *atomic.Bool) error {
	for begin := time.Now(); time.Since(begin) < burst && !over.Load(); {
		snap, _ := p.store.Snapshot(p.letters.contract.Dataset)
		start := time.Now()
		if _, err := ask(ctx, s, grant, snap); err != nil {
			return err
		}
		*times = append(*times, float64(time.Since(start).Microseconds())*1000/float64(snap.Rows()))
	}
	return nil
}

// during hands envelopes in at a rate while it does something, which hears when
// there are no more, and answers how many were accepted.
func (p *path) during(ctx context.Context, sealed [][]byte, rate float64, do func(over *atomic.Bool) error) (done int, err error) {
	var stop, over atomic.Bool
	var producing sync.WaitGroup
	var failed error
	producing.Go(func() {
		defer over.Store(true)
		begin := time.Now()
		for _, raw := range sealed {
			if rate > 0 {
				due := begin.Add(time.Duration(float64(done*smallEnvelope) / rate * float64(time.Second)))
				time.Sleep(time.Until(due))
			}
			if stop.Load() {
				return
			}
			if failed = p.accept(ctx, raw); failed != nil {
				return
			}
			done++
		}
	})
	err = do(&over)
	stop.Store(true)
	producing.Wait()
	if err == nil {
		err = failed
	}
	return done, err
}
