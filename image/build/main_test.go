package main

import (
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"build": main}) }

// TestScripts runs what needs no compiler and no network.
func TestScripts(t *testing.T) {
	program, err := exec.LookPath("build")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("BUILD", program) // for scripts that take PATH away
			return nil
		},
	})
}
