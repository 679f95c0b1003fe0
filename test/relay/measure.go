package main

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	flows = 8  // of the second bulk transfer
	many  = 32 // connections of the requests, and callers of new connections
)

// The columns.
const (
	oneFlow     = "1 flow, GB/s"
	eightFlows  = "8 flows, GB/s"
	halfTrip    = "round trip p50, µs"
	longTrip    = "round trip p99, µs"
	requests    = "requests/s, 32 connections"
	connections = "new connections/s"
	cpuPerGB    = "CPU s/GB, all processes"
)

// measure is something that is done with each way in a turn.
type measure struct {
	name string
	take func(*way, sizes) (map[string]float64, error)
}

func measures() []measure {
	return []measure{
		{oneFlow, takeOneFlow},
		{eightFlows, func(w *way, s sizes) (map[string]float64, error) {
			rate, err := transfer(w, flows, s.bulk)
			return map[string]float64{eightFlows: rate}, err
		}},
		{halfTrip, takeTrips},
		{requests, takeRequests},
		{connections, takeConnections},
	}
}

// takeOneFlow measures a bulk transfer, and the processor's time of it on all
// sides.
func takeOneFlow(w *way, s sizes) (map[string]float64, error) {
	before, err := w.cpu()
	if err != nil {
		return nil, err
	}
	own := ownCPU()
	rate, err := transfer(w, 1, s.bulk)
	if err != nil {
		return nil, err
	}
	own = ownCPU() - own
	after, err := w.cpu()
	return map[string]float64{oneFlow: rate, cpuPerGB: (own + after - before) / (float64(s.bulk) / 1e9)}, err
}

// ownCPU is the processor's seconds of this process.
func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// connect opens connections.
func connect(w *way, n int) ([]net.Conn, func(), error) {
	var all []net.Conn
	closeAll := func() {
		for _, c := range all {
			c.Close()
		}
	}
	for range n {
		c, err := w.dial()
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all = append(all, c)
	}
	return all, closeAll, nil
}

// together calls do for each of n at the same time.
func together(n int, do func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// transfer answers the GB/s of so many bytes over so many connections.
func transfer(w *way, n int, length int64) (float64, error) {
	all, closeAll, err := connect(w, n)
	if err != nil {
		return 0, err
	}
	defer closeAll()
	start := time.Now()
	err = together(n, func(i int) error { return send(all[i], length/int64(n)) })
	return float64(length) / time.Since(start).Seconds() / 1e9, err
}

func takeTrips(w *way, s sizes) (map[string]float64, error) {
	all, closeAll, err := connect(w, 1)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	if err := begin(all[0]); err != nil {
		return nil, err
	}
	took, b := make([]float64, s.trips), make([]byte, message)
	for i := range took {
		start := time.Now()
		if err := trip(all[0], b); err != nil {
			return nil, err
		}
		took[i] = float64(time.Since(start).Nanoseconds()) / 1000
	}
	slices.Sort(took)
	return map[string]float64{halfTrip: took[len(took)/2], longTrip: took[len(took)*99/100]}, nil
}

func takeRequests(w *way, s sizes) (map[string]float64, error) {
	all, closeAll, err := connect(w, many)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	for _, c := range all {
		if err := begin(c); err != nil {
			return nil, err
		}
	}
	rate, err := during(s.span, func(i int) func() error {
		b := make([]byte, message)
		return func() error { return trip(all[i], b) }
	})
	return map[string]float64{requests: rate}, err
}

func takeConnections(w *way, s sizes) (map[string]float64, error) {
	rate, err := during(s.span, func(int) func() error {
		return func() error {
			c, err := w.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return begin(c)
		}
	})
	return map[string]float64{connections: rate}, err
}

// during answers how often a second many callers could do something.
func during(span time.Duration, caller func(i int) func() error) (float64, error) {
	var done atomic.Int64
	var over atomic.Bool
	timer := time.AfterFunc(span, func() { over.Store(true) })
	defer timer.Stop()
	start := time.Now()
	err := together(many, func(i int) error {
		do := caller(i)
		for !over.Load() {
			if err := do(); err != nil {
				return err
			}
			done.Add(1)
		}
		return nil
	})
	return float64(done.Load()) / time.Since(start).Seconds(), err
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
