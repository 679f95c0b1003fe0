package vm_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/sim/vm"
)

// TestBoots boots the image again and again, each time to a heartbeat and to
// evidence that verifies, and prints how long that took.
func TestBoots(t *testing.T) {
	d := start(t, data)
	var beats, verified []time.Duration
	t.Logf("%5s  %-10s  %-10s  %s", "boot", "heartbeat", "verified", "attempts")
	for n := range *boots {
		before := len(d.events())
		began := time.Now()
		if n > 0 {
			old, qemu := d.layout.PID(stack.VM), d.layout.QEMU()
			kill(t, strconv.Itoa(old))
			eventually(t, "QEMU ended with the process that had started it", func() bool {
				_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(qemu)))
				return errors.Is(err, fs.ErrNotExist)
			})
			eventually(t, "another machine", func() bool {
				now := d.layout.PID(stack.VM)
				return now != 0 && now != old
			})
		} else {
			before = 0
		}
		var beat time.Duration
		attempts := 0
		eventually(t, "a heartbeat", func() bool {
			attempts = 0
			for _, e := range d.events()[before:] {
				switch {
				case e.Msg == vm.Heartbeat && e.Answered:
					beat = e.After
				case e.Msg == vm.Started:
					attempts++
				}
			}
			return beat != 0
		})
		d.verify()
		took := time.Since(began)
		t.Logf("%5d  %-10s  %-10s  %d", n+1, beat.Round(10*time.Millisecond), took.Round(10*time.Millisecond), attempts)
		beats = append(beats, beat)
		if n > 0 { // the first was verified while the deployment came up
			verified = append(verified, took)
		}
	}
	t.Logf("%d boots without a failure; heartbeat after %s", len(beats), spread(beats))
	t.Logf("from kill -9 to verified evidence: %s", spread(verified))
}

// spread says the smallest, the middle and the largest.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "never"
	}
	all = slices.Sorted(slices.Values(all))
	round := func(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
	return round(all[0]) + " to " + round(all[len(all)-1]) + ", median " + round(all[len(all)/2])
}
