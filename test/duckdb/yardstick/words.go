package main

import (
	"bytes"
	"fmt"
	"strings"
)

// markdown writes the part on ingestion.
func (r *Ingestion) markdown() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n%s\n\n", r.words())
	r.writePath(&b)
	r.writeSteps(&b)
	r.writeBusy(&b)
	r.writeStack(&b)
	return b.String()
}

func (r *Ingestion) writePath(b *bytes.Buffer) {
	b.WriteString("| rows an envelope, envelopes at a time | hash, open, decode | with both hashes | accepted | and merged | DuckDB's append | accepted, of the first | of the second | goal | accepted / DuckDB | merged / DuckDB | goal |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|---|\n")
	for _, i := range r.Intakes {
		cell := func(t *Timing) string { return fmt.Sprintf("%.1f (%.0f)", i.speed(t), i.cost(t)) }
		share, both := i.Open.Median/i.Accepted.Median, i.Hashes.Median/i.Accepted.Median
		ahead, merged := i.Theirs.Median/i.Accepted.Median, i.Theirs.Median/i.Merged.Median
		fmt.Fprintf(b, "| %s, %d | %s | %s | %s | %s | %s | %.2f | %.2f | %s | %.2f | %.2f | %s |\n", thousands(i.EnvelopeRows), i.Workers,
			cell(i.Open), cell(i.Hashes), cell(i.Accepted), cell(i.Merged), cell(i.Theirs), share, both, verdict(share >= 0.5, "0.5 or more"),
			ahead, merged, verdict(merged > 1, "more than 1"))
	}
	fmt.Fprintf(b, "\nMillions of rows a second, in parentheses the processor's nanoseconds a row; %.1f bytes a row in envelopes.\n\n", r.Intakes[0].Bytes)
}

func (r *Ingestion) writeSteps(b *bytes.Buffer) {
	b.WriteString("| step, one envelope of 65,536 rows after the other | ns a row |\n|---|--:|\n")
	for _, s := range r.Steps {
		fmt.Fprintf(b, "| %s | %.1f |\n", s.Name, s.Nanoseconds)
	}
	b.WriteString("\n")
}

func (r *Ingestion) writeBusy(b *bytes.Buffer) {
	b.WriteString("| query while rows come | rows a second | quiet, ms for a million rows | busy | slower by | goal |\n|---|--:|--:|--:|--:|---|\n")
	for _, q := range r.Busy {
		name, _, _ := strings.Cut(q.Query, "; peer")
		came := fmt.Sprintf("%s, asked for %s", thousands(int(q.Came)), thousands(int(q.Asked)))
		if q.Asked == 0 {
			came = thousands(int(q.Came)) + ", as fast as one producer can"
		}
		fmt.Fprintf(b, "| %s | %s | %.2f | %.2f | %.0f %% | %s |\n", name, came, q.Quiet, q.Busy, 100*(q.Slowdown-1), verdict(q.Slowdown < 4.0/3, "less than a third"))
	}
	b.WriteString("\n")
}

func (r *Ingestion) writeStack(b *bytes.Buffer) {
	b.WriteString("| whole stack, rows an envelope | rows a second | producer's connection, ns a row | parent | enclave |\n|---|--:|--:|--:|--:|\n")
	for _, w := range r.Stack.Waves {
		fmt.Fprintf(b, "| %s | %s | %.0f | %.0f | %.0f |\n", thousands(w.EnvelopeRows), thousands(int(w.RowsASecond)), w.Producer, w.Parent, w.Enclave)
	}
	b.WriteString("\n")
}
