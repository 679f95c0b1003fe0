package metrics

import (
	"bufio"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ContentType is the text format's media type (prometheus.io, "Exposition
// formats", version 0.0.4).
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes all metrics in the text format. Series that nobody made with a
// value of their own (Other) are left out while they are zero.
func (r *Registry) Write(w io.Writer) error {
	families, pools := r.snapshot()
	b := bufio.NewWriter(w)
	for _, f := range families {
		f.write(b)
	}
	writePools(b, pools)
	return b.Flush()
}

// head writes what stands before the series of a family.
func head(b *bufio.Writer, name, help, kind string) {
	// A writer that failed keeps its error for Flush.
	_, _ = b.WriteString("# HELP " + name + " " + escapeHelp(help) + "\n")
	_, _ = b.WriteString("# TYPE " + name + " " + kind + "\n")
}

func (f *family) write(b *bufio.Writer) {
	head(b, f.name, f.help, f.kind)
	if f.read != nil {
		line(b, f.name, "", float(f.read()))
		return
	}
	for _, s := range f.series {
		labels := f.pairs(s)
		switch f.kind {
		case typeHistogram:
			f.histogram(b, s, labels)
		case typeCounter:
			if n := s.bits.Load(); n != 0 || !slices.Contains(s.values, Other) {
				line(b, f.name, labels, strconv.FormatUint(n, 10))
			}
		default:
			if n := s.bits.Load(); n != 0 || !slices.Contains(s.values, Other) {
				line(b, f.name, labels, float(math.Float64frombits(n)))
			}
		}
	}
}

// histogram writes the cumulative buckets, sum and count of one series.
func (f *family) histogram(b *bufio.Writer, s *series, labels string) {
	counts := make([]uint64, len(s.buckets))
	total := uint64(0)
	for i := range s.buckets {
		total += s.buckets[i].Load()
		counts[i] = total
	}
	if total == 0 && slices.Contains(s.values, Other) {
		return
	}
	for i, n := range counts {
		bound := "+Inf"
		if i < len(f.bounds) {
			bound = float(f.bounds[i])
		}
		line(b, f.name+"_bucket", join(labels, pair("le", bound)), strconv.FormatUint(n, 10))
	}
	line(b, f.name+"_sum", labels, float(math.Float64frombits(s.sum.Load())))
	line(b, f.name+"_count", labels, strconv.FormatUint(total, 10))
}

// pairs writes the labels of a series, without braces.
func (f *family) pairs(s *series) string {
	all := ""
	for i, l := range f.labels {
		all = join(all, pair(l.Name, s.values[i]))
	}
	return all
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "," + b
}

func pair(name, value string) string {
	return name + `="` + strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(value) + `"`
}

func escapeHelp(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s)
}

func line(b *bufio.Writer, name, labels, value string) {
	_, _ = b.WriteString(name)
	if labels != "" {
		_, _ = b.WriteString("{" + labels + "}")
	}
	_, _ = b.WriteString(" " + value + "\n")
}

func float(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
