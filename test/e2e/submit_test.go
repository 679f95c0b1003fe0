package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/rogpeppe/go-internal/testscript"
)

// submitCommands are the commands of the scripts about submissions.
func submitCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "kill9": kill9, "halt": halt, "rows": rows, "context": editContext, "killsubmit": killSubmit}
}

// halt kills the supervisor and then processes of the script's deployment, so
// that they stay away until `cloister-sim up`: halt ROLE...
func halt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: halt ROLE...")
	}
	for _, role := range append([]string{"supervisor"}, args...) {
		b, err := os.ReadFile(filepath.Join(ts.Getenv("STATE"), "run", role+".pid"))
		ts.Check(err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		ts.Check(err)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && (role != "supervisor" || !errors.Is(err, syscall.ESRCH)) {
			ts.Fatalf("kill %s: %v", role, err)
		}
		for range 500 {
			if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err != nil || len(line) == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// rows writes so many records of flchain with ids from a number on; the age of
// every hundredth is over the maximum: rows FILE COUNT FIRST.
func rows(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: rows FILE COUNT FIRST")
	}
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	first, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(writeRows(ts.MkAbs(args[0]), count, first))
}

func writeRows(path string, count, first int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "id,age,sex,sample_yr,kappa,lambda,flc_grp,creatinine,mgus,futime,death,chapter")
	for i := range count {
		age := 50 + i%50
		if i%100 == 7 {
			age = 500
		}
		fmt.Fprintf(w, "%d,%d,%s,1997,1.25,1.5,%d,,0,%d,0,\n", first+i, age, []string{"F", "M"}[i%2], 1+i%10, i%5000)
	}
	return errors.Join(w.Flush(), f.Close())
}

// editContext writes a context file like the deployment's, with other values;
// an empty one takes a key away: context FILE KEY=VALUE...
func editContext(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: context FILE KEY=VALUE...")
	}
	b, err := os.ReadFile(filepath.Join(ts.Getenv("STATE"), "context.json"))
	ts.Check(err)
	all := map[string]any{}
	ts.Check(json.Unmarshal(b, &all))
	for _, pair := range args[1:] {
		key, value, _ := strings.Cut(pair, "=")
		in := all
		if outer, inner, nested := strings.Cut(key, "."); nested {
			in, key = all[outer].(map[string]any), inner
		}
		if in[key] = value; value == "" {
			delete(in, key)
		}
	}
	b, err = json.Marshal(all)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// killSubmit starts a submission, sends it a signal as soon as the spool has its
// first batch, and keeps what it says in killed.txt: killsubmit KILL|INT FILE.
func killSubmit(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"KILL": os.Kill, "INT": os.Interrupt}
	if neg || len(args) != 2 || signals[args[0]] == nil {
		ts.Fatalf("usage: killsubmit KILL|INT FILE")
	}
	cmd := exec.Command(filepath.Join(bin, "cloister"), "submit", "--dataset", "flchain", ts.MkAbs(args[1]))
	cmd.Env = []string{"CLOISTER_CONTEXT=" + ts.Getenv("CLOISTER_CONTEXT")}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	before := batches(ts.Getenv("STATE"))
	ts.Check(cmd.Start())
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && batches(ts.Getenv("STATE")) == before; {
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Process.Signal(signals[args[0]])
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == 1 {
		ts.Fatalf("the submission came to its end before it was killed:\n%s", errs.String())
	}
	if batches(ts.Getenv("STATE")) == before {
		ts.Fatalf("nothing was sealed:\n%s", errs.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("killed.txt"), errs.Bytes(), 0o600))
}

// batches counts what a deployment's spool holds. A batch whose receipt has just
// come is there twice and counts once.
func batches(state string) int {
	all := map[string]bool{}
	for _, sub := range []string{"sealed", "receipts"} {
		files, _ := filepath.Glob(filepath.Join(state, "spool", "*", sub, "0*"))
		for _, f := range files {
			number, _, _ := strings.Cut(filepath.Base(f), ".")
			all[filepath.Join(filepath.Dir(filepath.Dir(f)), number)] = true
		}
	}
	return len(all)
}

// TestSubmitKilledAgainAndAgain kills a submission at random moments, and the
// enclave and the parent in between, until a run comes to its end: every record
// is counted once, and the last run tells the whole truth.
func TestSubmitKilledAgainAndAgain(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	d := up(t, filepath.Join("..", "data"))
	const count = 200_000
	file := filepath.Join(t.TempDir(), "rows.csv")
	if err := writeRows(file, count, 1); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		cmd := exec.Command(filepath.Join(bin, "cloister"), "submit", "--dataset", "flchain", file)
		cmd.Env = []string{"CLOISTER_CONTEXT=" + filepath.Join(d.state, "context.json")}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
		if role := []string{"", "", "enclave", "parent"}[random.IntN(4)]; role != "" {
			if err := killRole(d.state, role); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	rejects := filepath.Join(t.TempDir(), "rejects.ndjson")
	out, errs := d.run(1, "cloister", "submit", "--dataset", "flchain", file, "--rejects", rejects, "-o", "json", "--wait", "60s")
	var sum struct{ Sent, Accepted, Rejected, Pending, Repeated int }
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.Sent != count || sum.Rejected != count/100 || sum.Pending != 0 || sum.Accepted+sum.Repeated != count-count/100 {
		t.Errorf("%+v\n%s", sum, errs)
	}
	b, err := os.ReadFile(rejects)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if want := fmt.Sprintf(`{"record":%d,"field":"age","rule":"maximum"}`+"\n", 100*n+7); line != want {
			t.Fatalf("reject %d is %s, want %s", n, line, want)
		}
		n++
	}
	if n != count/100 {
		t.Errorf("%d rejects, want %d", n, count/100)
	}
	answer := d.query("SELECT COUNT(*) AS n, COUNT(DISTINCT id) AS people FROM flchain")
	if got := fmt.Sprint(answer.Rows); got != fmt.Sprintf("[[%d %d]]", count-count/100, count-count/100) {
		t.Errorf("the enclave counts %s", got)
	}
}

// TestProgress looks at what a terminal shows, and what NO_COLOR and a dumb
// terminal change.
func TestProgress(t *testing.T) {
	d := up(t, filepath.Join("..", "data"))
	for i, c := range []struct {
		env             []string
		pictures, color bool
	}{
		{[]string{"TERM=xterm"}, true, true},
		{[]string{"TERM=xterm", "NO_COLOR=1"}, true, false},
		{[]string{"TERM=dumb"}, false, false},
	} {
		file := filepath.Join(t.TempDir(), "rows.csv")
		if err := writeRows(file, 70_000, 1+100_000*i); err != nil {
			t.Fatal(err)
		}
		shown := d.onTerminal(c.env, "submit", "--dataset", "flchain", file)
		if got := strings.Contains(shown, "sending  [") && strings.Contains(shown, "of 70000 records") && strings.Contains(shown, "MB/s"); got != c.pictures {
			t.Errorf("%v: pictures %t: %q", c.env, got, shown)
		}
		if got := strings.Contains(shown, "\x1b[32m"); got != c.color {
			t.Errorf("%v: color %t: %q", c.env, got, shown)
		}
		if !strings.Contains(shown, "sent 70000 accepted 69300 rejected 700 pending 0\r\n") {
			t.Errorf("%v: %q", c.env, shown)
		}
	}
	_, errs := d.run(1, "cloister", "submit", "--dataset", "flchain", filepath.Join("..", "data", "broken.csv"))
	if strings.ContainsAny(errs, "\r\x1b") {
		t.Errorf("no terminal: %q", errs)
	}
}

// onTerminal runs cloister with a pseudoterminal as its standard error and
// answers what that shows.
func (d *deployment) onTerminal(env []string, args ...string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	master, slave := terminal(d.t)
	defer master.Close()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "cloister"), args...)
	cmd.Stderr = slave
	cmd.Env = append([]string{"CLOISTER_CONTEXT=" + filepath.Join(d.state, "context.json")}, env...)
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	slave.Close()
	var shown bytes.Buffer
	_, _ = shown.ReadFrom(master) // ends with an error when the other side does
	_ = cmd.Wait()
	return shown.String()
}

// terminal opens a pseudoterminal, see pts(4).
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudoterminals here: %v", err)
	}
	var number, lock int32
	for request, value := range map[uintptr]*int32{syscall.TIOCSPTLCK: &lock, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
			t.Fatal(errno)
		}
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
