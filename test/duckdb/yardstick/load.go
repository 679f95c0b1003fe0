package main

import (
	"context"
	"math"
	"runtime"
	"time"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/test/duckdb"
	"github.com/cloisterhq/cloister/test/genuine"
)

// load fills both sides, in the same batches.
func (r *Queries) load(ctx context.Context, rows int) (*bench, error) {
	desk, err := genuine.NewDesk(ctx)
	if err != nil {
		return nil, err
	}
	peer, err := duckdb.Open(ctx, threads)
	if err != nil {
		return nil, err
	}
	b := &bench{contract: visits(allColumns), peer: peer, desk: desk}
	if err := peer.Create(ctx, b.contract, true); err != nil {
		return nil, err
	}
	t := table.New(b.contract, table.Unlimited())
	g := newGenerator(rows)
	var ours time.Duration
	for {
		n, columns := g.next(allColumns)
		if n == 0 {
			break
		}
		start := time.Now()
		if err := t.Append(n, columns); err != nil {
			return nil, err
		}
		ours += time.Since(start)
		if err := peer.Append(ctx, b.contract, true, n, columns); err != nil {
			return nil, err
		}
	}
	if err := peer.Exec(ctx, "CHECKPOINT data"); err != nil {
		return nil, err
	}
	r.AppendPerSecond = float64(rows) / ours.Seconds()
	t.Settle()
	b.came = t.Snapshot()
	start := time.Now()
	t.Compact()
	r.CompactSeconds = time.Since(start).Seconds()
	b.rested = t.Snapshot()
	b.limit = newClustered(b.rested)
	return b, nil
}

// measureBytes loads the first six columns into both, and asks what they take.
func (r *Queries) measureBytes(ctx context.Context, rows int) error {
	c := visits(sixColumns)
	peer, err := duckdb.Open(ctx, threads)
	if err != nil {
		return err
	}
	defer peer.Close()
	if err := peer.Create(ctx, c, true); err != nil {
		return err
	}
	t := table.New(c, table.Unlimited())
	g := newGenerator(rows)
	for {
		n, columns := g.next(sixColumns)
		if n == 0 {
			break
		}
		if err := t.Append(n, columns); err != nil {
			return err
		}
		if err := peer.Append(ctx, c, true, n, columns); err != nil {
			return err
		}
	}
	if err := peer.Exec(ctx, "CHECKPOINT data"); err != nil {
		return err
	}
	t.Settle()
	r.BytesCame = float64(t.Held()) / float64(rows)
	t.Compact()
	r.BytesOurs = float64(t.Held()) / float64(rows)
	theirs, err := peer.Bytes(ctx)
	r.BytesTheirs = float64(theirs) / float64(rows)
	return err
}

// measureGrowth runs some shapes over tables of several sizes, ours alone.
func (r *Queries) measureGrowth(ctx context.Context, sizes []int, repeats int) error {
	desk, err := genuine.NewDesk(ctx)
	if err != nil {
		return err
	}
	for _, s := range shapes {
		if s.Limit != "" || s.Goal == 5 {
			r.Growth = append(r.Growth, &Growth{Name: s.Name, shape: s})
		}
	}
	c := visits(allColumns)
	for _, rows := range sizes {
		t := table.New(c, table.Unlimited())
		g := newGenerator(rows)
		for n, columns := g.next(allColumns); n > 0; n, columns = g.next(allColumns) {
			if err := t.Append(n, columns); err != nil {
				return err
			}
		}
		t.Settle()
		t.Compact()
		runtime.GC()
		for _, growth := range r.Growth {
			grant, err := desk.Grant(ctx, c, growth.shape.Ours)
			if err != nil {
				return err
			}
			var watch stopwatch
			for range repeats {
				if err := watch.run(func() error { _, err := ask(ctx, &growth.shape, grant, t.Snapshot()); return err }); err != nil {
					return err
				}
			}
			growth.Points = append(growth.Points, Point{Rows: rows, Milliseconds: median(watch.wall)})
		}
	}
	for _, growth := range r.Growth {
		growth.Exponent = slope(growth.Points)
	}
	return nil
}

// slope is that of the least-squares line through the logarithms, 0 for less
// than two points.
func slope(points []Point) float64 {
	var n, sx, sy, sxx, sxy float64
	for _, p := range points {
		x, y := math.Log(float64(p.Rows)), math.Log(p.Milliseconds)
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	if n < 2 {
		return 0
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
