package main

import (
	"fmt"
	"os"
	"runtime/pprof"
	"strconv"
	"testing"
)

func TestIntakeScratch(t *testing.T) {
	rows, _ := strconv.Atoi(os.Getenv("ROWS"))
	if rows == 0 {
		rows = 2_000_000
	}
	for _, size := range []int{65536, 10000} {
		l, err := newLetters(rows, size, sixColumns)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []int{1, 2} {
			a, err := l.measureIntake(t.Context(), 5, w)
			if err != nil {
				t.Fatal(err)
			}
			show := func(name string, s *stopwatch) {
				x := s.timing()
				fmt.Printf("%6d x%d %-10s %6.1f ns/row wall, %6.1f cpu  (%.1f B/row)\n", size, w, name, x.Median*1e6/float64(rows), x.CPU*1e6/float64(rows), float64(l.bytes)/float64(rows))
			}
			show("limit", &a.limit)
			show("+digest", &a.digest)
			show("whole", &a.whole)
			show("settled", &a.settled)
		}
	}
}

func TestScratchProf(t *testing.T) {
	rows, _ := strconv.Atoi(os.Getenv("ROWS"))
	l, err := newLetters(rows, 65536, sixColumns)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := os.Create("/tmp/cpu2.prof")
	pprof.StartCPUProfile(f)
	defer pprof.StopCPUProfile()
	for range 6 {
		p, err := newPath(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		var s stopwatch
		s.run(func() error {
			l.each(2, func(raw []byte) error { _, err := p.in.Accept(t.Context(), raw); return err })
			p.store.Settle()
			return nil
		})
		x := s.timing()
		fmt.Printf("%6.1f ns/row wall, %6.1f cpu\n", x.Median*1e6/float64(rows), x.CPU*1e6/float64(rows))
	}
}
