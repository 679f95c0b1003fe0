// Package leak_test plants values in records, in rejected records, in queries
// and in the token, lets real processes handle them, and searches everything
// that the parent has or sees: memory, core dump, disk, logs, metrics, and every
// byte on its sockets. The same search finds them in the enclave.
package leak_test

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/test/fleet"
)

const deployment = `version: 1
deployment: leak
profile: simulation
datasets:
  - contract: leak.yaml
`

const contract = `apiVersion: v3.0.2
kind: DataContract
id: leak
name: leak
version: 1.0.0
status: active
schema:
  - name: leak
    logicalType: object
    customProperties:
      - {property: cloister.floor, value: 5}
      - {property: cloister.mode, value: threshold}
    properties:
      - {name: id,    logicalType: integer, required: true, customProperties: [{property: cloister.role, value: unit}]}
      - {name: site,  logicalType: string,  logicalTypeOptions: {maxLength: 40}, customProperties: [{property: cloister.role, value: dimension}]}
      - {name: code,  logicalType: integer, customProperties: [{property: cloister.role, value: dimension}]}
      - {name: grade, logicalType: string,  customProperties: [{property: cloister.role, value: dimension}, {property: cloister.enum, value: [low, high]}]}
      - {name: note,  logicalType: string,  logicalTypeOptions: {pattern: "[a-z ]*"}, customProperties: [{property: cloister.role, value: hidden}]}
`

// word answers a text that is nowhere else.
func word(t *testing.T) string {
	t.Helper()
	var b [9]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return "kanari" + hex.EncodeToString(b[:])
}

// planted are the values of one run.
type planted struct {
	site, rejected, badNote, literal, refused, piped string
	code                                             int64
	token                                            string
}

func plant(t *testing.T) *planted {
	t.Helper()
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return &planted{
		site: word(t), rejected: word(t), badNote: word(t) + "9", literal: word(t), refused: word(t), piped: word(t),
		code: int64(binary.BigEndian.Uint64(b[:])>>1 | 1<<60),
	}
}

// canaries are all that the parent must never have.
func (p *planted) canaries() []canary {
	return []canary{
		text("in records", p.site), text("in records from a pipe", p.piped), number("in records", p.code),
		text("in a rejected record", p.rejected), text("in another rejected record", p.badNote),
		text("in a query", p.literal), text("in a refused query", p.refused), text("as the analyst's token", p.token),
	}
}

// csv are the records of a file: enough people with each value that answers
// show it.
func (p *planted) csv() string {
	var b strings.Builder
	b.WriteString("id,site,code,grade,note\n")
	for i := range 20 {
		fmt.Fprintf(&b, "%d,%s,%d,low,\n", i, p.site, p.code)
		fmt.Fprintf(&b, "%d,%s,%d,high,\n", 100+i, p.literal, i)
	}
	fmt.Fprintf(&b, "200,,,%s,\n201,,,low,%s\n", p.rejected, p.badNote)
	return b.String()
}

// world is a deployment with wires on all its ways.
type world struct {
	*planted
	t     *testing.T
	fleet *fleet.Fleet
	wire  *fleet.Wire
	admin string
	dir   string // of the users
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, bin := t.TempDir(), t.TempDir()
	if err := fleet.Build(bin); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"cloister.yaml": deployment, "leak.yaml": contract} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{planted: plant(t), t: t, fleet: fleet.New(t, bin, dir), wire: fleet.NewWire(t, nil), dir: t.TempDir()}
	// A crash prints all that it can, and leaves a core.
	w.fleet.Env = []string{"GOTRACEBACK=crash"}
	token, err := os.ReadFile(filepath.Join(w.fleet.Layout().Dir(), "token"))
	if err != nil {
		t.Fatal(err)
	}
	w.token = strings.TrimSpace(string(token))
	w.wire.Between(w.fleet)
	status, err := stack.Inspect(t.Context(), w.fleet.Layout())
	if err != nil {
		t.Fatal(err)
	}
	w.admin = status.Admin
	context, err := client.Load(w.fleet.Layout().Context())
	if err == nil {
		context.Gateway, context.Attested = w.wire.TCP(context.Gateway), w.wire.TCP(context.Attested)
		err = context.Save(w.fleet.Layout().Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// client runs the command and demands its exit code.
func (w *world) client(code int, args ...string) string {
	w.t.Helper()
	got, out, errs := w.fleet.Client(args...)
	if got != code {
		w.t.Fatalf("cloister %s: exit code %d, not %d: %s", args[0], got, code, errs)
	}
	return out
}

// use lets producers and analysts do all that they do.
func (w *world) use() {
	w.t.Helper()
	input := filepath.Join(w.dir, "records.csv")
	if err := os.WriteFile(input, []byte(w.csv()), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.client(1, "submit", "--dataset", "leak", "--rejects", filepath.Join(w.dir, "rejects.ndjson"), input)
	w.client(1, "submit", "--dataset", "leak", input) // again: told from memory
	w.pipe()
	out := w.client(0, "query", "-o", "json", "SELECT site, code, COUNT(*) AS n FROM leak GROUP BY site, code")
	if !strings.Contains(out, w.site) || !strings.Contains(out, fmt.Sprint(w.code)) || !strings.Contains(out, w.piped) {
		w.t.Fatalf("the planted values aren't in the answer: %s", out)
	}
	if out := w.client(0, "query", "-o", "json", fmt.Sprintf("SELECT COUNT(*) AS n FROM leak WHERE site = '%s'", w.literal)); !strings.Contains(out, "[[20]]") {
		w.t.Errorf("got %s", out)
	}
	w.client(1, "query", fmt.Sprintf("SELECT COUNT(*) FROM leak WHERE note = '%s'", w.refused))
	w.client(1, "query", "SELECT "+w.refused+" FROM leak")
	w.client(1, "query", w.refused)
}

// pipe submits NDJSON while the enclave is away, so that it waits at the parent.
func (w *world) pipe() {
	w.t.Helper()
	w.fleet.Kill(stack.Enclave, syscall.SIGKILL)
	var b strings.Builder
	for i := range 6 {
		fmt.Fprintf(&b, `{"id": %d, "site": %q, "code": 7, "grade": "low"}`+"\n", 300+i, w.piped)
	}
	cmd := w.fleet.Command(w.t.Context(), "submit", "--dataset", "leak", "--format", "ndjson", "--wait", "200ms", "-")
	cmd.Stdin = strings.NewReader(b.String())
	if code, _, errs := fleet.Run(w.t, cmd); code != 0 || !strings.Contains(errs, "pending 6") {
		w.t.Fatalf("exit code %d: %s", code, errs)
	}
	w.fleet.Start(stack.Enclave)
	w.fleet.Ready()
	w.client(0, "receipts")
}

// page reads one of the parent's pages for operators.
func (w *world) page(path string) []byte {
	w.t.Helper()
	resp, err := http.Get(w.admin + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || len(b) == 0 {
		w.t.Fatalf("%s: %d bytes: %v", path, len(b), err)
	}
	return b
}

func TestNothingLeaks(t *testing.T) {
	cores(t)
	w := newWorld(t)
	w.fleet.Start()
	w.fleet.Ready()
	w.use()
	all := w.canaries()

	// What the enclave must have, the same search finds in it.
	enclave := w.fleet.PID(stack.Enclave)
	for _, c := range []canary{text("", w.site), text("", w.piped), number("", w.code)} {
		if !inMemory(t, enclave, c) {
			t.Errorf("the search doesn't find records in the enclave's memory")
		}
	}
	for _, role := range []string{stack.Parent, stack.KMS, stack.Issuer} {
		seen := all
		if role == stack.Issuer { // it made the token
			seen = all[:len(all)-1]
		}
		searchMemory(t, "the "+role, w.fleet.PID(role), seen)
	}
	for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
		search(t, page, w.page(page), all)
	}
	w.searchFiles(all)

	// The parent crashes, and tells all that it knows.
	w.fleet.Kill(stack.Parent, syscall.SIGABRT)
	log, err := os.ReadFile(w.fleet.Layout().Log(stack.Parent))
	if err != nil || !strings.Contains(string(log), "goroutine") {
		t.Errorf("%v; no traceback in the parent's log", err)
	}
	w.searchCore(all)
	w.searchFiles(all)
	carried := w.wire.Recorded()
	search(t, "the parent's sockets", carried, all)
	if len(carried) < 10_000 {
		t.Errorf("only %d bytes were carried", len(carried))
	}
}

// searchFiles searches everything that is on the host's disk but the users' own
// files: the analyst's token is where the context names it.
func (w *world) searchFiles(all []canary) {
	w.t.Helper()
	own := func(rel string) bool { return rel == "token" || strings.HasPrefix(filepath.Base(rel), "core") }
	if n := searchDir(w.t, w.fleet.Layout().Dir(), all, own); n < 15 {
		w.t.Errorf("only %d files were searched", n)
	}
}

// cores lets processes leave core dumps while the test runs.
func cores(t *testing.T) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: before.Max, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &before) })
}

// searchCore searches the parent's core dump, where the machine leaves one
// beside the process. Its memory was searched anyway.
func (w *world) searchCore(all []canary) {
	w.t.Helper()
	var found []string
	for range 40 {
		if found, _ = filepath.Glob(filepath.Join(w.fleet.Layout().Dir(), "core*")); len(found) > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(found) == 0 {
		w.t.Log("this machine leaves no core dump beside the process; its memory was searched")
		return
	}
	for _, path := range found {
		core, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		search(w.t, "the parent's core dump", core, all)
		if len(core) < 1<<20 {
			w.t.Errorf("a core dump of %d bytes", len(core))
		}
		w.t.Logf("searched a core dump of %d bytes", len(core))
	}
}
