package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/duckdb"
	"github.com/cloisterhq/cloister/test/genuine"
)

// Timing is several runs of one thing, in milliseconds.
type Timing struct {
	Median, Least, Most float64
	// CPU is the processor's time of a run, by both threads.
	CPU float64
}

// stopwatch collects runs.
type stopwatch struct{ wall, cpu []float64 }

func (s *stopwatch) run(do func() error) error {
	cpu, start := cpuTime(), time.Now()
	err := do()
	s.wall = append(s.wall, float64(time.Since(start).Microseconds())/1000)
	s.cpu = append(s.cpu, float64((cpuTime()-cpu).Microseconds())/1000)
	return err
}

func (s *stopwatch) timing() *Timing {
	if len(s.wall) == 0 {
		return nil
	}
	return &Timing{Median: median(s.wall), Least: slices.Min(s.wall), Most: slices.Max(s.wall), CPU: median(s.cpu)}
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// cpuTime is the processor's time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bench is both sides with the same rows.
type bench struct {
	contract *contract.Contract
	peer     *duckdb.Peer
	desk     *genuine.Desk
	// came is the table as it was after the last batch, rested after Compact.
	came, rested *table.Snapshot
	limit        *clustered
}

// ask runs a granted query, without looking at the answer.
func ask(ctx context.Context, s *shape, grant *protect.Grant, snap *table.Snapshot) (*exec.Groups, error) {
	limits := exec.Limits{Rows: math.MaxInt64, Memory: 4 << 30}
	if s.Bounded {
		return exec.AggregateBounded(ctx, grant, bounds(), snap, limits)
	}
	return exec.Aggregate(ctx, grant, snap, limits)
}

// measure runs a shape on all sides in turns.
func (b *bench) measure(ctx context.Context, s *shape, repeats int) (*Row, error) {
	grant, err := b.desk.Grant(ctx, b.contract, s.Ours)
	if err != nil {
		return nil, err
	}
	if s.Same {
		if err := b.compare(ctx, s, grant); err != nil {
			return nil, err
		}
	}
	var ours, came, theirs, limit stopwatch
	for range repeats {
		for _, turn := range []struct {
			watch *stopwatch
			do    func() error
		}{
			{&theirs, func() error { _, err := b.peer.Rows(ctx, s.Theirs); return err }},
			{&ours, func() error { _, err := ask(ctx, s, grant, b.rested); return err }},
			{&came, func() error { _, err := ask(ctx, s, grant, b.came); return err }},
			{&limit, func() error { b.limit.run(s.Limit); return nil }},
		} {
			if turn.watch == &limit && s.Limit == "" {
				continue
			}
			if err := turn.watch.run(turn.do); err != nil {
				return nil, err
			}
		}
	}
	return &Row{
		Name: s.Name, Goal: s.Goal, Ours: ours.timing(), Came: came.timing(), Theirs: theirs.timing(), Limit: limit.timing(),
		Ratio: theirs.timing().Median / ours.timing().Median,
	}, nil
}

// compare demands that both sides give the same answer: counts exactly, sums as
// far as the peer's are exact.
func (b *bench) compare(ctx context.Context, s *shape, grant *protect.Grant) error {
	want, err := b.peer.Rows(ctx, s.Theirs)
	if err != nil {
		return err
	}
	groups, err := ask(ctx, s, grant, b.rested)
	if err != nil {
		return err
	}
	keys := len(grant.Plan().Keys())
	byKeys := map[string][]float64{}
	for i := range groups.Len() {
		values, totals := groups.Group(i)
		var names []string
		for k, v := range values {
			if b.contract.Fields[grant.Plan().Keys()[k]].Type == contract.String {
				names = append(names, v.Text)
			} else {
				names = append(names, strconv.FormatInt(v.Int, 10))
			}
		}
		byKeys[strings.Join(names, "|")] = cells(grant, totals)
	}
	for _, row := range want {
		parts := strings.Split(row, "|")
		got := byKeys[strings.Join(parts[:keys], "|")]
		for i, cell := range parts[keys:] {
			number, err := strconv.ParseFloat(cell, 64)
			if err != nil || i >= len(got) || math.Abs(got[i]-number) > 1e-9*math.Abs(number) {
				return fmt.Errorf("%s: the answers differ", s.Name)
			}
		}
	}
	if len(want) != groups.Len() {
		return fmt.Errorf("%s: %d groups, the peer has %d", s.Name, groups.Len(), len(want))
	}
	return nil
}

// cells are what the peer answers for a group.
func cells(grant *protect.Grant, totals []protect.Total) []float64 {
	var all []float64
	for i, a := range grant.Plan().Aggregates() {
		sum, _ := totals[i].Sum.Big().Float64()
		switch a.Func.String() {
		case "count":
			all = append(all, float64(totals[i].Values))
		case "sum":
			all = append(all, sum/100)
		default:
			all = append(all, sum/100/float64(totals[i].Values))
		}
	}
	return all
}
