// Package fault_test kills the real processes of a deployment at random moments
// of submission, acceptance and replay, and demands that nothing is lost or
// counted twice.
package fault_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloisterhq/cloister/test/fleet"
)

// bin is the directory with the binaries that all tests run.
var bin string

// What `make crash` sets.
var (
	kills = flag.Int("kills", 12, "how often a process is killed")
	seed  = flag.Uint64("seed", 0, "seed of the crash test; 0 draws one")
)

func TestMain(m *testing.M) {
	os.Exit(build(m))
}

func build(m *testing.M) int {
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	dir, err := os.MkdirTemp("", "cloister-fault-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = fleet.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	return m.Run()
}

// config writes a deployment whose batches hold some 16 records, and answers its
// directory.
func config(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"cloister.yaml": deployment, "crash.yaml": contract} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const deployment = `version: 1
deployment: crash
profile: simulation
datasets:
  - contract: crash.yaml
limits: {max_envelope: 9120B}
`

const contract = `apiVersion: v3.0.2
kind: DataContract
id: crash
name: crash
version: 1.0.0
status: active
schema:
  - name: crash
    logicalType: object
    customProperties:
      - {property: cloister.floor, value: 5}
      - {property: cloister.mode, value: threshold}
    properties:
      - {name: id,   logicalType: integer, required: true, customProperties: [{property: cloister.role, value: unit}]}
      - {name: part, logicalType: integer, required: true, customProperties: [{property: cloister.role, value: dimension}]}
      - {name: x,    logicalType: integer, required: true, logicalTypeOptions: {minimum: 0, maximum: 1000000}, customProperties: [{property: cloister.role, value: measure}]}
`
