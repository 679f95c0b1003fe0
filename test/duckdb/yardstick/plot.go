package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strings"
)

// The measures of the plot, in pixels.
const (
	labelWidth = 430
	chartWidth = 420
	barHeight  = 10
	rowHeight  = 3*barHeight + 14
	margin     = 40
)

// side is one of the bars of a row.
type side struct {
	name, color string
	time        func(*Row) *Timing
}

// sides are the bars of each row.
func sides() []side {
	return []side{
		{"DuckDB, compressed", "#c9a227", func(r *Row) *Timing { return r.Theirs }},
		{"Cloister", "#1f6f8b", func(r *Row) *Timing { return r.Ours }},
		{"Cloister, as it came", "#8fc1d4", func(r *Row) *Timing { return r.Came }},
	}
}

// plot draws the medians, milliseconds on a logarithmic scale from 1 on.
func (r *Queries) plot() []byte {
	longest := 10.0
	for _, row := range r.Rows {
		for _, s := range sides() {
			longest = max(longest, s.time(row).Median)
		}
	}
	decades := math.Ceil(math.Log10(longest))
	place := func(ms float64) float64 { return chartWidth * max(0, math.Log10(ms)) / decades }
	height := margin + len(r.Rows)*rowHeight + margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", labelWidth+chartWidth+80, height)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, s := range sides() {
		fmt.Fprintf(&b, `<rect x="%d" y="12" width="10" height="10" fill="%s"/><text x="%d" y="21">%s</text>`+"\n", labelWidth+i*150, s.color, labelWidth+14+i*150, s.name)
	}
	for d := range int(decades) + 1 {
		x := labelWidth + place(math.Pow10(d))
		fmt.Fprintf(&b, `<line x1="%.0f" y1="%d" x2="%.0f" y2="%d" stroke="#ddd"/>`, x, margin, x, height-margin)
		fmt.Fprintf(&b, `<text x="%.0f" y="%d" text-anchor="middle" fill="#555">%.0f ms</text>`+"\n", x, height-margin+16, math.Pow10(d))
	}
	for i, row := range r.Rows {
		top := margin + i*rowHeight + 6
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" font-size="10">%s</text>`+"\n", labelWidth-8, top+2*barHeight-2, html.EscapeString(strings.ReplaceAll(row.Name, "*", "")))
		for k, s := range sides() {
			width := place(s.time(row).Median)
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, labelWidth, top+k*barHeight, width, barHeight-1, s.color)
			fmt.Fprintf(&b, `<text x="%.0f" y="%d" font-size="9">%.1f</text>`+"\n", labelWidth+width+4, top+k*barHeight+8, s.time(row).Median)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
