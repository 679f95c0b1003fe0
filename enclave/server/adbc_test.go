package server_test

import (
	"os"
	"os/exec"
	"testing"
)

// TestADBC runs testdata/adbc.py, which uses the stock ADBC driver for Python,
// under CLOISTER_PYTHON or python3, through the proxy of `cloister connect`. It is skipped where that isn't installed.
func TestADBC(t *testing.T) {
	python := os.Getenv("CLOISTER_PYTHON")
	if python == "" {
		python = "python3"
	}
	if err := exec.CommandContext(t.Context(), python, "-c", "import adbc_driver_flightsql.dbapi, pyarrow").Run(); err != nil {
		t.Skipf("SKIPPED, the stock ADBC driver is NOT tested: %s has no adbc-driver-flightsql and pyarrow (%v)", python, err)
	}
	d := deployTwo(t)
	address, password := d.sidecar(t)
	cmd := exec.CommandContext(t.Context(), python, "testdata/adbc.py")
	cmd.Env = append(os.Environ(), "CLOISTER_URI=grpc://"+address, "CLOISTER_PASSWORD="+password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestJDBC runs testdata/Jdbc.java with the stock JDBC driver, the jar that
// CLOISTER_JDBC_JAR names. It is skipped without one.
func TestJDBC(t *testing.T) {
	jar := os.Getenv("CLOISTER_JDBC_JAR")
	if jar == "" {
		t.Skip("SKIPPED, the stock JDBC driver is NOT tested: CLOISTER_JDBC_JAR names no flight-sql-jdbc-driver-18.3.0.jar")
	}
	d := deployTwo(t)
	address, password := d.sidecar(t)
	cmd := exec.CommandContext(t.Context(), "java", "--add-opens=java.base/java.nio=ALL-UNNAMED", "-cp", jar, "testdata/Jdbc.java")
	cmd.Env = append(os.Environ(), "CLOISTER_URI=jdbc:arrow-flight-sql://"+address+"/?useEncryption=false", "CLOISTER_PASSWORD="+password, "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// deployTwo deploys the study, and an empty one whose name needs quotes.
func deployTwo(t *testing.T) *deployed {
	t.Helper()
	lung := study()
	lung.Dataset = "lung-2"
	return deploy(t, nil, lung)
}
