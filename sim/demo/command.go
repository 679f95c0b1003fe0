package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// sayf shows one line.
func (d *demo) sayf(format string, args ...any) {
	fmt.Fprintf(d.Out, "    "+format+"\n", args...)
}

// cloister shows and runs a command line of the cloister binary, shows what it
// prints, and demands an exit code.
func (d *demo) cloister(ctx context.Context, want int, args ...string) (stdout string, err error) {
	d.sayf("$ cloister %s", quote(args))
	stdout, stderr, err := d.run1(ctx, want, args...)
	for _, text := range []string{stdout, stderr} {
		for line := range strings.Lines(text) {
			d.sayf("%s", strings.TrimRight(line, "\n"))
		}
	}
	return stdout, err
}

// run1 runs a command line without showing it.
func (d *demo) run1(ctx context.Context, want int, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.Bin, "cloister"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = []string{"CLOISTER_CONTEXT=" + d.layout.Context(), "NO_COLOR=1"}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", "", err
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		return out.String(), errs.String(), fmt.Errorf("cloister %s: exit code %d, not %d\n%s%s", args[0], got, want, out.String(), errs.String())
	}
	return out.String(), errs.String(), nil
}

// quote writes a command line as a shell would read it.
func quote(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; strings.ContainsAny(a, " '()*") {
			out[i] = `"` + a + `"`
		}
	}
	return strings.Join(out, " ")
}

// counts is what cloister submit says.
type counts struct {
	Accepted int `json:"accepted"`
	Rejected int `json:"rejected"`
	// bad are the numbers of the rejected records.
	bad map[int]bool
}

// submission submits one file of the data directory and shows the words that
// go with it.
func (d *demo) submission(ctx context.Context, want int, file string) (*counts, error) {
	rejects := filepath.Join(d.dir, file+".rejects")
	d.sayf("$ cloister submit --dataset %s --rejects rejects.ndjson %s", dataset, file)
	stdout, stderr, err := d.run1(ctx, want, "submit", "--dataset", dataset, "--rejects", rejects, "-o", "json", filepath.Join(d.Data, file))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(stderr) {
		d.sayf("%s", strings.TrimRight(line, "\n"))
	}
	c := &counts{bad: map[int]bool{}}
	if err := json.Unmarshal([]byte(stdout), c); err != nil {
		return nil, fmt.Errorf("cloister submit -o json: %w", err)
	}
	return c, d.readRejects(rejects, c)
}

// readRejects shows the rejects file and keeps which records it names.
func (d *demo) readRejects(path string, c *counts) error {
	b, err := readSmall(path)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	for shown := 0; ; shown++ {
		var r struct {
			Record int    `json:"record"`
			Field  string `json:"field"`
			Rule   string `json:"rule"`
		}
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("rejects file: %w", err)
		}
		if shown < 4 {
			d.sayf("record %d: field %s breaks %s", r.Record, r.Field, r.Rule)
		}
		if shown == 4 {
			d.sayf("… (field and rule, never the value)")
		}
		c.bad[r.Record] = true
	}
}
