package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/test/fleet"
)

// evolving is a deployment whose configuration changes while it has records.
type evolving struct {
	t     *testing.T
	dir   string
	fleet *fleet.Fleet
}

// set changes cloister.yaml and the contract.
func (e *evolving) set(epoch int, version, fields string) {
	e.t.Helper()
	contract := strings.Replace(strings.Replace(unseenContract, "version: 1.0.0", "version: "+version, 1), "maxLength: 16", "maxLength: 20", 1) + fields
	write(e.t, e.dir, map[string]string{"cloister.yaml": unseenConfig + fmt.Sprintf("    key_epoch: %d\n", epoch), "contracts/visits.yaml": contract})
}

// again starts everything under the configuration as it is now.
func (e *evolving) again() {
	e.t.Helper()
	e.fleet.Close()
	e.fleet.Provision(e.dir)
	e.fleet.Start()
}

// submit submits records and demands the client's last word.
func (e *evolving) submit(csv, want string, code int, args ...string) {
	e.t.Helper()
	path := filepath.Join(e.t.TempDir(), "visits.csv")
	if err := os.WriteFile(path, []byte(csv), 0o600); err != nil {
		e.t.Fatal(err)
	}
	got, _, errs := e.fleet.Client(append([]string{"submit", "--dataset", "visits", path}, args...)...)
	if got != code || !strings.Contains(errs, want) {
		e.t.Fatalf("exit code %d: %s; want %d: %s", got, errs, code, want)
	}
}

// ask demands the rows of an answer.
func (e *evolving) ask(sql, rows string) {
	e.t.Helper()
	code, out, errs := e.fleet.Client("query", "-o", "csv", sql)
	if _, got, _ := strings.Cut(out, "\n"); code != 0 || got != rows {
		e.t.Errorf("%s: exit code %d: %s\n%swant\n%s", sql, code, errs, out, rows)
	}
}

// visitors writes visits of ten people down, with what stands behind each.
func visitors(first int, header, behind string) string {
	var b strings.Builder
	b.WriteString("id,rx,age,nodes,dose" + header + "\n")
	for i := range 10 {
		fmt.Fprintf(&b, "%d,Obs,60,%d,1.5%s\n", first+i, i, behind)
	}
	return b.String()
}

const site = "      - {name: site, logicalType: string, logicalTypeOptions: {maxLength: 8}, customProperties: [{property: cloister.role, value: dimension}]}\n"

// TestVersions changes contract and key epoch under a deployment that has
// records. Those of each version are in the answers; what was sealed under the
// old one and not accepted in time is refused, and says why.
func TestVersions(t *testing.T) {
	e := &evolving{t: t, dir: t.TempDir()}
	e.set(1, "1.0.0", "")
	e.fleet = fleet.New(t, bin, e.dir)
	e.fleet.Start()
	e.fleet.Ready()
	e.submit(visitors(1, "", ""), "sent 10 accepted 10 rejected 0 pending 0", 0)
	e.fleet.Kill(stack.Enclave, syscall.SIGKILL)
	e.submit(visitors(11, "", ""), "sent 10 accepted 0 rejected 0 pending 10", 0, "--wait", "100ms", "--stream", "late")

	e.set(1, "1.1.0", site)
	e.again()
	e.fleet.Ready()
	code, _, errs := e.fleet.Client("receipts", "--stream", "late")
	if want := "cloister: the enclave refused batch 0 (10 records) of stream late: the envelope is for another version of the contract; it was sealed for version 1.0.0 of visits"; code != 1 || !strings.HasPrefix(lastLine(errs), want) {
		t.Errorf("the late batch: exit code %d: %s", code, errs)
	}
	e.submit(visitors(21, ",site", ",north"), "accepted 10", 0)
	const bySite = "SELECT site, COUNT(*) AS n, SUM(dose) AS dose FROM visits GROUP BY site"
	e.ask(bySite, "north,10,15.00\n,10,15.00\n")
	e.ask("SELECT COUNT(*) AS n, COUNT(DISTINCT id) AS people FROM visits WHERE site IS NULL", "10,10\n")

	// A new epoch of the key, and yet another column; the first file again.
	e.set(2, "2.0.0", site+strings.ReplaceAll(site, "site", "ward"))
	e.again()
	e.fleet.Ready()
	e.submit(visitors(31, ",site,ward", ",south,w1"), "accepted 10", 0)
	e.submit(visitors(1, "", ""), "repeated 10 (already counted)", 0)
	for range 2 {
		e.ask(bySite, "north,10,15.00\nsouth,10,15.00\n,10,15.00\n")
		e.ask("SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward", "w1,10\n,20\n")
		e.fleet.Kill(stack.Enclave, syscall.SIGKILL)
		e.fleet.Start(stack.Enclave)
		e.fleet.Ready()
	}

	// A contract that might not allow all of them is refused, and nothing is
	// lost by that.
	e.set(2, "2.1.0", strings.Replace(site, "maxLength: 8", "maxLength: 4", 1))
	e.again()
	reason := e.fleet.Await("failed")
	if reason != "a contract in the bundle doesn't allow all that its older version did, of which records are stored" {
		t.Errorf("failed: %s", reason)
	}
	e.set(2, "2.1.0", site)
	e.again()
	e.fleet.Ready()
	e.ask(bySite, "north,10,15.00\nsouth,10,15.00\n,10,15.00\n")
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
