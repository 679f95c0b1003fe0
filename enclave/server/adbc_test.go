package server_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract"
)

// TestADBC runs testdata/adbc.py, which uses the stock ADBC driver for Python.
// It is skipped where that isn't installed.
func TestADBC(t *testing.T) {
	python := os.Getenv("CLOISTER_PYTHON")
	if python == "" {
		python = "python3"
	}
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import adbc_driver_flightsql.dbapi, pyarrow").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: %s has no adbc-driver-flightsql and pyarrow; install both to test the stock ADBC driver (%v, %d bytes)", python, err, len(out))
	}
	lung := study()
	lung.Dataset = "lung-2"
	d := deploy(t, nil, []*contract.Contract{lung}...)
	cmd := exec.CommandContext(t.Context(), python, "testdata/adbc.py")
	cmd.Env = append(os.Environ(), "CLOISTER_URI=grpc://"+d.address, "CLOISTER_TOKEN="+strings.TrimPrefix(d.bearer(t), "Bearer "))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
}
