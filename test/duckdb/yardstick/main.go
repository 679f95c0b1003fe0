// Command yardstick measures queries and ingestion beside DuckDB on the same rows,
// in turns, and writes the table, the numbers and a plot into docs/.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/cloisterhq/cloister/internal/limits"
)

// threads is how many each side may use.
const threads = 2

func main() {
	rows := flag.Int("rows", 10_000_000, "rows of the comparison")
	growth := flag.String("growth", "1,10,100", "millions of rows of the growth runs, empty for none")
	repeats := flag.Int("repeats", 7, "runs of each query on each side")
	only := flag.String("only", "", "queries or ingestion, empty for both")
	bin := flag.String("bin", filepath.Join("..", "..", "bin"), "directory with cloister-sim, for the whole stack")
	docs := flag.String("docs", filepath.Join("..", "..", "docs"), "directory of PERFORMANCE.md")
	flag.Parse()
	runtime.GOMAXPROCS(threads)
	if err := run(context.Background(), &settings{*rows, *growth, *repeats, *only, *bin, *docs}); err != nil {
		fmt.Fprintln(os.Stderr, "yardstick:", err)
		os.Exit(1)
	}
}

// settings are what the flags say.
type settings struct {
	rows    int
	growth  string
	repeats int
	only    string
	bin     string
	docs    string
}

func run(ctx context.Context, s *settings) error {
	report, err := readReport(s.docs)
	if err != nil {
		return err
	}
	switch s.only {
	case "", "queries", "ingestion":
	default:
		return fmt.Errorf("only: %q is neither queries nor ingestion", s.only)
	}
	if s.only != "ingestion" {
		report.Queries = newQueries(s.rows, s.repeats)
		if err := report.Queries.measure(ctx, s.growth); err != nil {
			return err
		}
	}
	if s.only != "queries" {
		report.Ingestion = newIngestion(s.rows, s.repeats)
		if err := report.Ingestion.measure(ctx, s.bin); err != nil {
			return err
		}
	}
	return report.write(s.docs)
}

// measure asks all shapes on both sides, and ours of several sizes.
func (r *Queries) measure(ctx context.Context, growth string) error {
	b, err := r.load(ctx, r.Size)
	if err != nil {
		return err
	}
	defer b.peer.Close()
	for i := range shapes {
		row, err := b.measure(ctx, &shapes[i], r.Repeats)
		if err != nil {
			return err
		}
		fmt.Printf("%-90s theirs %8.1f ms, ours %8.1f, as it came %8.1f, ratio %5.2f\n", row.Name, row.Theirs.Median, row.Ours.Median, row.Came.Median, row.Ratio)
		r.Rows = append(r.Rows, row)
	}
	if err := r.measureBytes(ctx, r.Size); err != nil {
		return err
	}
	if growth != "" {
		var sizes []int
		for _, text := range strings.Split(growth, ",") {
			millions, err := strconv.Atoi(text)
			if err != nil || millions < 1 {
				return fmt.Errorf("growth: %q isn't a number of millions", text)
			}
			sizes = append(sizes, millions*1_000_000)
		}
		b.came, b.rested, b.limit = nil, nil, nil // room for the largest
		if err := r.measureGrowth(ctx, sizes, r.Repeats); err != nil {
			return err
		}
	}
	r.After = load()
	return nil
}

// measure takes the record path and the whole stack, and asks while rows come.
func (r *Ingestion) measure(ctx context.Context, bin string) error {
	for _, size := range []int{limits.BatchRows, smallEnvelope} {
		for workers := range threads {
			if err := r.measureIntake(ctx, r.Size, size, workers+1, r.Repeats); err != nil {
				return err
			}
		}
	}
	if err := r.measureSteps(r.Size, r.Repeats); err != nil {
		return err
	}
	if err := r.measureBusy(ctx, r.Size, r.Repeats); err != nil {
		return err
	}
	if err := r.measureStack(ctx, bin, r.Size/4, r.Repeats); err != nil {
		return err
	}
	r.After = load()
	return nil
}
