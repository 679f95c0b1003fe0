package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/cloisterhq/cloister/client"
)

const (
	// barWidth is the number of cells of the bar itself.
	barWidth = 24
	// barPause is the shortest time between two pictures.
	barPause = 100 * time.Millisecond
)

// bar shows progress on a terminal and nothing elsewhere: what is checked, then
// what is sent, in records, MB and MB a second.
type bar struct {
	w     io.Writer
	file  *os.File // the terminal; nil for none
	color bool
	drawn time.Time
	began time.Time // when checking ended
	away  bool      // the note on the enclave was shown
}

func newBar(w io.Writer) *bar {
	b := &bar{w: w}
	kind := os.Getenv("TERM")
	if f, ok := w.(*os.File); ok && kind != "dumb" && term.IsTerminal(int(f.Fd())) {
		b.file = f
	}
	b.color = b.file != nil && os.Getenv("NO_COLOR") == ""
	return b
}

// show draws one picture, not too often.
func (b *bar) show(p client.Progress) {
	if p.Away && !b.away {
		b.away = true
		b.clear()
		fmt.Fprintln(b.w, "the enclave is away: sealing under the pinned bundle, receipts come later")
	}
	now := time.Now()
	sending := p.Summary.Records > 0
	if !sending {
		b.began = now
	}
	if b.file == nil || now.Sub(b.drawn) < barPause {
		return
	}
	b.drawn = now
	if !sending {
		b.draw("checking", float64(p.Checked), float64(p.Size), fmt.Sprintf("%.1f of %.1f MB", megabytes(p.Checked), megabytes(p.Size)))
		return
	}
	s := p.Summary
	text := fmt.Sprintf("%d of %d records  %.1f MB", s.Sent, s.Records, megabytes(s.Bytes))
	if took := now.Sub(b.began).Seconds(); took > 0 {
		text += fmt.Sprintf("  %.1f MB/s", megabytes(s.Bytes)/took)
	}
	if s.Rejected > 0 {
		text += fmt.Sprintf("  %d rejected", s.Rejected)
	}
	if s.Pending > 0 {
		text += fmt.Sprintf("  %d pending", s.Pending)
	}
	b.draw("sending", float64(s.Sent), float64(s.Records), text)
}

// draw draws a line that the next one replaces, cut to the terminal's width.
func (b *bar) draw(what string, done, whole float64, text string) {
	share := 0.0
	if whole > 0 {
		share = min(done/whole, 1)
	}
	full := int(share * barWidth)
	head := fmt.Sprintf("  %-8s ", what)
	tail := fmt.Sprintf(" %3.0f%%  %s", share*100, text)
	if width, _, err := term.GetSize(int(b.file.Fd())); err == nil && width > 0 {
		tail = tail[:max(0, min(len(tail), width-1-len(head)-barWidth-2))]
	}
	cells := strings.Repeat("#", full)
	if b.color {
		cells = "\x1b[32m" + cells + "\x1b[0m"
	}
	fmt.Fprintf(b.w, "\r\x1b[K%s[%s%s]%s", head, cells, strings.Repeat(".", barWidth-full), tail)
}

// clear removes the last picture.
func (b *bar) clear() {
	if b.file != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }
