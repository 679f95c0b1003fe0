// Command yardstick measures the executor beside DuckDB on the same rows, in
// turns, and writes the table, the numbers and a plot into docs/.
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
)

// threads is how many each side may use.
const threads = 2

func main() {
	rows := flag.Int("rows", 10_000_000, "rows of the comparison")
	growth := flag.String("growth", "1,10,100", "millions of rows of the growth runs, empty for none")
	repeats := flag.Int("repeats", 7, "runs of each query on each side")
	docs := flag.String("docs", filepath.Join("..", "..", "docs"), "directory of PERFORMANCE.md")
	flag.Parse()
	runtime.GOMAXPROCS(threads)
	if err := run(context.Background(), *rows, *growth, *repeats, *docs); err != nil {
		fmt.Fprintln(os.Stderr, "yardstick:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rows int, growth string, repeats int, docs string) error {
	report := newReport(rows, repeats)
	b, err := report.load(ctx, rows)
	if err != nil {
		return err
	}
	defer b.peer.Close()
	for i := range shapes {
		row, err := b.measure(ctx, &shapes[i], repeats)
		if err != nil {
			return err
		}
		fmt.Printf("%-90s theirs %8.1f ms, ours %8.1f, as it came %8.1f, ratio %5.2f\n", row.Name, row.Theirs.Median, row.Ours.Median, row.Came.Median, row.Ratio)
		report.Rows = append(report.Rows, row)
	}
	if err := report.measureBytes(ctx, rows); err != nil {
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
		if err := report.measureGrowth(ctx, sizes, repeats); err != nil {
			return err
		}
	}
	report.LoadAfter = load()
	return report.write(docs)
}
