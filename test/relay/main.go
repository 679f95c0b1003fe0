// Command relay measures the parent's ways between TCP and vsock beside what
// else could stand there, in turns and in one run: nothing, a bare copying loop
// and socat for the relay, and a loop that writes and syncs for the gateway. It
// writes its tables into docs/PERFORMANCE.md. Unix sockets stand in for vsock.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// sizes say how much is measured in a turn.
type sizes struct {
	repeats   int
	bulk      int64         // bytes of a bulk transfer
	trips     int           // round trips of one connection
	span      time.Duration // of requests by many, and of new connections
	envelopes int64         // bytes of envelopes
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == child {
		if err := serveChild(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "relay:", err)
			os.Exit(1)
		}
		return
	}
	var s sizes
	flag.IntVar(&s.repeats, "repeats", 7, "turns of everything")
	bulk := flag.Int64("bulk", 2048, "MiB of a bulk transfer")
	flag.IntVar(&s.trips, "trips", 5000, "round trips of one connection")
	flag.DurationVar(&s.span, "span", time.Second, "time of requests by many, and of new connections")
	envelopes := flag.Int64("envelopes", 64, "MiB of envelopes")
	page := flag.String("page", filepath.Join("docs", "PERFORMANCE.md"), "file with a place for the tables")
	flag.Parse()
	s.bulk, s.envelopes = *bulk<<20, *envelopes<<20
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s, *page); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

// run measures everything and writes the page.
func run(ctx context.Context, s sizes, page string) error {
	dir, err := os.MkdirTemp("", "cloister-relay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := newReport(s)
	ways, err := open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() {
		for _, w := range ways {
			w.stop()
		}
	}()
	for turn := range s.repeats {
		for i := range measures() {
			for k := range ways {
				if err := ctx.Err(); err != nil {
					return err
				}
				w := ways[(k+turn)%len(ways)]
				if w.inside && measures()[i].name != halfTrip {
					continue
				}
				values, err := measures()[i].take(w, s)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, measures()[i].name, err)
				}
				w.add(values)
			}
		}
	}
	r.ways = ways
	if r.spool, err = measureSpool(ctx, dir, s); err != nil {
		return err
	}
	r.loadAfter = load()
	fmt.Print(r.markdown())
	return r.write(page)
}
