package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cloister-enclave": main})
}

// TestScripts runs the command where there is no security module.
func TestScripts(t *testing.T) {
	if _, err := os.Stat("/dev/nsm"); err == nil {
		t.Skip("this machine has a security module")
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true})
}
