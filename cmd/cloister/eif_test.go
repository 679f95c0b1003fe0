package main

import (
	"encoding/binary"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// damages are commands of scripts that make bad files.
func damages() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"number": putNumber, "size": resize, "pipe": makePipe, "powerless": powerless}
}

// integer reads a number of a script.
func integer(ts *testscript.TestScript, text string) int64 {
	n, err := strconv.ParseInt(text, 0, 64)
	ts.Check(err)
	return n
}

// putNumber overwrites 8 bytes of a file: number FILE OFFSET VALUE.
func putNumber(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt(binary.BigEndian.AppendUint64(nil, uint64(integer(ts, args[2]))), integer(ts, args[1]))
	ts.Check(err)
}

// resize cuts a file, or adds a hole: size FILE BYTES.
func resize(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Truncate(ts.MkAbs(args[0]), integer(ts, args[1])))
}

// makePipe makes a pipe with a name: pipe FILE.
func makePipe(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o600))
}

// powerless is exits with a file that nobody may read, and for root without its
// power over files: powerless CODE FILE COMMAND [ARG...].
func powerless(ts *testscript.TestScript, neg bool, args []string) {
	file := ts.MkAbs(args[1])
	ts.Check(os.Chmod(file, 0))
	defer func() { ts.Check(os.Chmod(file, 0o600)) }()
	command := append([]string{args[0]}, args[2:]...)
	if os.Geteuid() == 0 {
		if _, err := exec.LookPath("setpriv"); err != nil {
			ts.Fatalf("root reads every file, and setpriv isn't installed")
		}
		const power = "-dac_override,-dac_read_search"
		command = append([]string{args[0], "setpriv", "--bounding-set", power, "--inh-caps", power}, args[2:]...)
	}
	exits(ts, neg, command)
}
