package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/test/exposition"
)

// canary is in the name of a dataset and of a column, in values, in a query and
// in a name of the inbox, and must be in no log and no metric.
const canary = "canary4e9d"

const quietConfig = `version: 1
deployment: quiet
profile: simulation
datasets:
  - contract: contract.yaml
`

const quietContract = `apiVersion: v3.0.2
kind: DataContract
id: set-canary4e9d
name: set-canary4e9d
version: 1.0.0
status: active
schema:
  - name: set-canary4e9d
    logicalType: object
    customProperties:
      - {property: cloister.floor, value: 5}
      - {property: cloister.mode, value: threshold}
    properties:
      - {name: id, logicalType: integer, required: true, customProperties: [{property: cloister.role, value: unit}]}
      - {name: c_canary4e9d, logicalType: string, logicalTypeOptions: {maxLength: 64}, customProperties: [{property: cloister.role, value: dimension}]}
`

// phrases are all that the enclave says in this test (enclave/phrase.go).
var phrases = regexp.MustCompile(`^enclave: (measured the bundle, locked the registers, verified its own evidence|ready|the parent didn't answer the heartbeat|because: [a-zA-Z0-9' ,]+)\n$`)

// TestQuiet: whatever parent, gateway and enclave carry, refuse and answer,
// their logs and metrics hold sizes, counts and constant words.
func TestQuiet(t *testing.T) {
	config := t.TempDir()
	write(t, config, map[string]string{
		"cloister.yaml": quietConfig, "contract.yaml": quietContract,
		"good.csv": "id,c_canary4e9d\n" + strings.Repeat("1,canary4e9d\n2,b\n3,b\n4,b\n5,b\n6,b\n7,canary4e9d\n", 3),
		"bad.csv":  "id,c_canary4e9d\ncanary4e9d,x\n,canary4e9d\n",
	})
	d := up(t, config)
	d.run(0, "cloister", "submit", "--dataset", "set-"+canary, filepath.Join(config, "good.csv"))
	d.run(1, "cloister", "submit", "--dataset", "set-"+canary, filepath.Join(config, "bad.csv"))
	d.run(0, "cloister", "query", "SELECT c_canary4e9d, COUNT(*) AS n FROM \"set-canary4e9d\" GROUP BY c_canary4e9d")
	d.run(1, "cloister", "query", "SELECT id FROM \"set-canary4e9d\" WHERE c_canary4e9d = 'canary4e9d'")
	d.run(1, "cloister", "query", "SELECT canary4e9d FROM canary4e9d")
	out, _ := d.run(0, "cloister-sim", "status", "--state", d.state, "-o", "json")
	var status struct{ Admin string }
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		t.Fatal(err)
	}
	if err := killRole(d.state, "enclave"); err != nil {
		t.Fatal(err)
	}
	d.run(0, "cloister", "query", "SELECT COUNT(*) AS n FROM \"set-canary4e9d\"")

	ready(t, status.Admin)
	scrape(t, status.Admin)
	d.parentLog()
	d.enclaveLog()
}

// ready waits until the parent says that the enclave is.
func ready(t *testing.T, admin string) {
	t.Helper()
	for range 200 {
		resp, err := http.Get(admin + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the parent never says that the enclave is ready")
}

// scrape reads the metrics of a deployment that has taken a batch.
func scrape(t *testing.T, admin string) {
	t.Helper()
	resp, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	s, err := exposition.Parse(string(b))
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if strings.Contains(string(b), canary) || strings.Contains(string(b), "analyst@") {
		t.Errorf("the metrics say too much:\n%s", b)
	}
	if v, ok := s.Value("cloister_gateway_stored_bytes_total"); !ok || v <= 0 {
		t.Errorf("bytes stored: %v", v)
	}
	// What happened a moment ago isn't told yet, and never one by one.
	for name, f := range s {
		if !strings.HasPrefix(name, "cloister_enclave_") || f.Type != "counter" {
			continue
		}
		for _, sample := range f.Samples {
			if int(sample.Value)%10 != 0 {
				t.Errorf("%s %v: %v isn't coarse", name, sample.Labels, sample.Value)
			}
		}
	}
}

// parentLog demands JSON without a canary and with the events of an envelope.
func (d *deployment) parentLog() {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.state, "log", "parent.log"))
	if err != nil {
		d.t.Fatal(err)
	}
	seen := map[string]int{}
	for line := range strings.Lines(string(b)) {
		var event struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			d.t.Errorf("not JSON: %s", line)
		}
		seen[event.Msg]++
		if strings.Contains(line, canary) || strings.Contains(line, "analyst@") {
			d.t.Errorf("the parent's log says too much: %s", line)
		}
	}
	for _, event := range []string{"gateway: stored", "gateway: forwarded", "gateway: receipted", "relay: closed", "gateway: the enclave is ready"} {
		if seen[event] == 0 {
			d.t.Errorf("no event %q in %v", event, seen)
		}
	}
}

// enclaveLog demands phrases and nothing else.
func (d *deployment) enclaveLog() {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.state, "log", "enclave.log"))
	if err != nil {
		d.t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(b)) {
		lines++
		if !phrases.MatchString(line) {
			d.t.Errorf("the enclave says: %s", line)
		}
	}
	if lines < 4 {
		d.t.Errorf("only %d lines of two lives", lines)
	}
}
