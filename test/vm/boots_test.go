package vm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/sim/vm"
)

// TestBoots boots the image again and again, each time to a heartbeat, to
// evidence that verifies and to an answer, and prints how long that took.
func TestBoots(t *testing.T) {
	d := start(t, killsDir(t))
	d.submitFew(t)
	var beats, verified, answered []time.Duration
	t.Logf("%5s  %-10s  %-10s  %-10s  %s", "boot", "heartbeat", "verified", "answered", "attempts")
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
		d.answer(t)
		all := time.Since(began)
		t.Logf("%5d  %-10s  %-10s  %-10s  %d", n+1, round(beat), round(took), round(all), attempts)
		beats = append(beats, beat)
		if n > 0 { // the first was verified while the deployment came up
			verified, answered = append(verified, took), append(answered, all)
		}
	}
	t.Logf("%d boots without a failure; heartbeat after %s", len(beats), spread(beats))
	t.Logf("from kill -9 to verified evidence: %s", spread(verified))
	t.Logf("from kill -9 to the first attested answer: %s", spread(answered))
}

// submitFew submits the records that answer counts.
func (d *deployment) submitFew(t *testing.T) {
	t.Helper()
	var b strings.Builder
	b.WriteString("id,site,value,grade\n")
	for i := range few {
		fmt.Fprintf(&b, "%d,north,%d,low\n", i, i%1000)
	}
	file := filepath.Join(t.TempDir(), "few.csv")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run(0, "cloister", "submit", "--dataset", "kills", "--wait", "2m", file)
}

// few is how many records, each of another person.
const few = 500

// answer waits until the enclave is ready, asks it a query and wants the answer.
func (d *deployment) answer(t *testing.T) {
	t.Helper()
	eventually(t, "the enclave is ready", func() bool {
		s, err := stack.Inspect(t.Context(), d.layout)
		return err == nil && s.Phase == "ready"
	})
	out, _ := d.run(0, "cloister", "query", "SELECT COUNT(*) AS n, COUNT(DISTINCT id) AS people FROM kills", "-o", "csv")
	if want := fmt.Sprintf("n,people\n%d,%d\n", few, few); out != want {
		t.Errorf("%q, want %q", out, want)
	}
}

// round rounds a time for print.
func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// spread says the smallest, the middle and the largest.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "never"
	}
	all = slices.Sorted(slices.Values(all))
	return fmt.Sprintf("%s to %s, median %s", round(all[0]), round(all[len(all)-1]), round(all[len(all)/2]))
}
