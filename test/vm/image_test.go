package vm_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/sim/vm"
)

// data is the repository's deployment.
var data = filepath.Join("..", "data")

// kill ends a process by its id.
func kill(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil || n <= 1 {
		t.Fatalf("no process id: %q", pid)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestEvidence compares what the image's enclave says of itself with what the
// image file measures.
func TestEvidence(t *testing.T) {
	d := start(t, data)
	out, _ := d.run(0, "cloister", "eif", "measure", image(t), "-o", "json")
	var measured struct {
		PCRs map[string]string `json:"pcrs"`
	}
	if err := json.Unmarshal([]byte(out), &measured); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(d.layout.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	pcr16 := bundle.PCR16(raw)
	want := map[string]string{"0": "", "1": "", "2": "", "8": "", "16": hex.EncodeToString(pcr16[:])}
	for i, v := range measured.PCRs {
		want[i] = v
	}
	peer := d.verify()
	document := peer.Result.Document()
	for i, v := range want {
		n, err := strconv.Atoi(i)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := document.PCR(n); !ok || got.String() != v {
			t.Errorf("PCR%s is %s in the evidence, want %q", i, got, v)
		}
	}
	if document.PCRs()[8].IsZero() {
		t.Error("PCR8 is zero, of a signed image")
	}
	if _, err := verifier.Authenticate(document.Raw(), verifier.AWS(), time.Now()); err == nil {
		t.Error("AWS's root vouches for a simulated document")
	}
	parent, err := os.ReadFile(d.layout.Log(stack.Parent))
	if err != nil || !strings.Contains(string(parent), "the enclave has booted") {
		t.Errorf("the parent noticed no heartbeat: %v", err)
	}
	for _, e := range d.events() {
		if e.Msg == vm.Heartbeat && !e.Answered {
			t.Error("a heartbeat went unanswered")
		}
	}
	d.run(0, "cloister", "verify")
	if s := d.status(0); s.Phase != "ready" || s.Image == "" || s.Processes[stack.VM] == 0 || s.Processes[stack.QEMU] == 0 {
		t.Errorf("status: %+v", s)
	}

	first := document.ModuleID()
	d.up()
	if second := d.verify().Result.Document().ModuleID(); second == first {
		t.Errorf("the module is %s again after another start", first)
	}
	// The state and its keys are those from before: the image is the same.
	d.run(0, "cloister", "datasets")
}

// TestDemo runs the whole demo with the image in place of the process.
func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(*binFlag, "cloister-sim"), "demo", "--bin", *binFlag, "--data", data, "--image", image(t), "--qemu", interpreter(t).Path())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.HasSuffix(out, []byte("\ndemo: ok\n")) {
		t.Errorf("the last line isn't `demo: ok`:\n%s", out)
	}
}

const killsConfig = `version: 1
deployment: kills
profile: simulation
datasets:
  - contract: kills.yaml
`

const killsContract = `apiVersion: v3.0.2
kind: DataContract
id: kills
name: kills
version: 1.0.0
status: active
schema:
  - name: kills
    logicalType: object
    customProperties:
      - {property: cloister.floor, value: 5}
      - {property: cloister.mode, value: threshold}
    properties:
      - {name: id,    logicalType: integer, required: true, customProperties: [{property: cloister.role, value: unit}]}
      - {name: site,  logicalType: string,  logicalTypeOptions: {maxLength: 40}, customProperties: [{property: cloister.role, value: dimension}]}
      - {name: value, logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 1000000}, customProperties: [{property: cloister.role, value: measure}]}
      - {name: grade, logicalType: string,  customProperties: [{property: cloister.role, value: dimension}, {property: cloister.enum, value: [low, high]}]}
`

// word answers a text that is nowhere else.
func word() string {
	b := make([]byte, 9)
	rand.Read(b)
	return "kanari" + hex.EncodeToString(b)
}

// forms are how a text could turn up.
func forms(text string) map[string][]byte {
	all := map[string][]byte{"text": []byte(text), "hex": []byte(hex.EncodeToString([]byte(text)))}
	for shift := range 3 { // what stands before a text decides which base64 it has
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), text...))
		all[fmt.Sprint("base64 ", shift)] = []byte(encoded[(8*shift+5)/6 : (8*shift+8*len(text))/6])
	}
	return all
}

// rounds, batches and rows are how many files are submitted, in how many batches
// each, and of how many people.
const (
	rounds  = 3
	batches = 8
	rows    = (batches-1)*limits.BatchRows + 10_000
)

// killsDir writes the configuration of a deployment with one small dataset.
func killsDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"cloister.yaml": killsConfig, "kills.yaml": killsContract} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestKilledDuringIngestion kills QEMU while records come in, again and again:
// every record counts once in the end, and nothing of them is on the console.
func TestKilledDuringIngestion(t *testing.T) {
	inputs := t.TempDir()
	d := start(t, killsDir(t))
	good, bad := word(), word()
	sum := 0
	for round := range rounds {
		var b strings.Builder
		b.WriteString("id,site,value,grade\n")
		for i := range rows {
			value := (round*rows + i) % 1000
			sum += value
			fmt.Fprintf(&b, "%d,%s,%d,low\n", round*rows+i, good, value)
		}
		fmt.Fprintf(&b, "%d,%s,1,%s\n", 1_000_000+round, bad, bad) // rejected: no such grade
		file := filepath.Join(inputs, fmt.Sprintf("%d.csv", round))
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		d.submitUnderFire(file, round)
	}
	eventually(t, "the enclave is ready", func() bool {
		s, err := stack.Inspect(t.Context(), d.layout)
		return err == nil && s.Phase == "ready"
	})
	out, _ := d.run(0, "cloister", "query", "SELECT COUNT(*) AS n, COUNT(DISTINCT id) AS people, SUM(value) AS total FROM kills WHERE site = '"+good+"'", "-o", "csv")
	if want := fmt.Sprintf("n,people,total\n%d,%d,%d\n", rounds*rows, rounds*rows, sum); out != want {
		t.Errorf("after %d kills: %q, want %q", rounds, out, want)
	}
	d.run(1, "cloister", "query", "SELECT id FROM kills WHERE site = '"+bad+"'")
	d.searchConsole(good, bad)
}

// submitUnderFire submits a file and kills QEMU in the middle of it, then
// submits it again until nothing is pending.
func (d *deployment) submitUnderFire(file string, round int) {
	d.t.Helper()
	old := d.layout.QEMU()
	if old == 0 {
		d.t.Fatalf("QEMU doesn't run\n%s", d.words())
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), hang)
	defer cancel()
	args := []string{"submit", "--dataset", "kills", "--wait", "2m", file}
	cmd := d.command(ctx, "cloister", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	before := d.accepted()
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // 1 for the rejected record, or what the kill made of it
		close(ended)
	}()
	accepted := 0
	eventually(d.t, "a batch is accepted", func() bool {
		accepted = d.accepted() - before
		return accepted > 2*round
	})
	select {
	case <-ended:
		d.t.Errorf("round %d: the submission ended before the kill", round)
	default:
	}
	kill(d.t, strconv.Itoa(old))
	<-ended
	d.t.Logf("round %d, QEMU %d killed after %d batches of %d: %s", round, old, accepted, batches, strings.TrimSpace(said.String()))
	eventually(d.t, "another QEMU", func() bool {
		now := d.layout.QEMU()
		return now != 0 && now != old
	})
	_, errs := d.run(1, "cloister", args...)
	if !strings.Contains(errs, "pending 0") {
		d.t.Errorf("round %d, submitted again: %s", round, errs)
	}
}

// accepted is how many batches the parent has manifests of.
func (d *deployment) accepted() int {
	d.t.Helper()
	manifests, err := os.ReadDir(filepath.Join(d.layout.ParentDir(), "manifest"))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(manifests)
}

// searchConsole looks for planted values in everything that the machine, and
// the process around it, has said.
func (d *deployment) searchConsole(planted ...string) {
	d.t.Helper()
	console, err := vm.ReadConsole(d.layout.Console())
	if err != nil || !strings.Contains(console, "cloister-enclave: ready") {
		d.t.Fatalf("the console has no word of the enclave: %v", err)
	}
	log, err := os.ReadFile(d.layout.Log(stack.VM))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, value := range planted {
		for form, b := range forms(value) {
			if strings.Contains(console, string(b)) {
				d.t.Errorf("a planted value is on the console, as %s", form)
			}
			if bytes.Contains(log, b) {
				d.t.Errorf("a planted value is in the machine's log, as %s", form)
			}
		}
	}
}
