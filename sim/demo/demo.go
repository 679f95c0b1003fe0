// Package demo shows the main job on real clinical records, and what is
// refused: it starts a simulated deployment of its own, walks through it with
// the cloister command as a newcomer would, and checks what it sees against a
// computation of its own. It trusts nothing that it prints: any answer other
// than the expected one ends it with an error.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cloisterhq/cloister/sim/stack"
)

// dataset is the one that the demo's data belongs to.
const dataset = "flchain"

// Options say what the demo runs with.
type Options struct {
	// Bin is the directory with the cloister binary.
	Bin string
	// Data is the directory with cloister.yaml, contracts and records.
	Data string
	// Image runs the enclave from this image file in a virtual machine; empty
	// runs it as a process.
	Image string
	// QEMU is the program for Image; empty fetches one.
	QEMU string
	// Out takes what the demo shows.
	Out io.Writer
}

// demo is one run.
type demo struct {
	Options
	dir    string
	layout stack.Layout
	facts  *records
	step   int
	// answer is the first query's rows, which must come back after the crash.
	answer string
}

// Run shows everything in a temporary directory and takes it down again. An
// error means that something wasn't as it must be.
func Run(ctx context.Context, o Options) error {
	for _, need := range []string{filepath.Join(o.Bin, "cloister"), filepath.Join(o.Data, "cloister.yaml")} {
		if _, err := os.Stat(need); err != nil {
			return fmt.Errorf("demo: %w; run `make build` in the repository first", err)
		}
	}
	dir, err := os.MkdirTemp("", "cloister-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(dir)
	d := &demo{Options: o, dir: dir}
	if d.layout, err = stack.At(filepath.Join(dir, "state")); err != nil {
		return err
	}
	if d.facts, err = readRecords(filepath.Join(o.Data, "flchain.csv")); err != nil {
		return err
	}
	defer func() {
		// Also when ctx has ended: no process may outlive the demo.
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		_ = stack.Down(down, d.layout)
	}()
	if err := d.run(ctx); err != nil {
		return fmt.Errorf("demo: step %d: %w", d.step, err)
	}
	fmt.Fprintln(o.Out, "\ndemo: ok")
	return nil
}

// run is the story, one step after the other.
func (d *demo) run(ctx context.Context) error {
	fmt.Fprintf(d.Out, "Cloister demo: %d people of a study of free light chains and mortality.\n", d.facts.people)
	fmt.Fprintln(d.Out, "The code is the real one; NSM, KMS and vsock are simulated, so no hardware protects anything here.")
	for _, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"Four processes: KMS, issuer, parent (the untrusted host) and " + d.enclave(), d.up},
		{"The enclave proves which image and which bundle it runs", d.verify},
		{"A producer seals its records; the parent carries what it can't read", d.submit},
		{"Aggregates come out, over attested TLS, signed", d.query},
		{"Small groups don't: chapters of fewer than 10 people are absent, and not counted", d.suppressed},
		{"Rows don't: a query for single people is refused before any data is read", d.refused},
		{"A batch that was changed on the way is refused", d.tampered},
		{"Another image of the enclave gets no key from KMS, and no trust from clients", d.otherImage},
		{"So does the right image with another bundle (a floor of 5 instead of 10)", d.otherBundle},
		{"kill -9 of the enclave, then of the parent: the same answer", d.crash},
	} {
		d.step++
		fmt.Fprintf(d.Out, "\n%2d. %s\n", d.step, step.title)
		if err := step.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// role is the process that the enclave runs in.
func (d *demo) role() string {
	if d.Image != "" {
		return stack.VM
	}
	return stack.Enclave
}

// enclave says in the first step's title what the enclave runs in.
func (d *demo) enclave() string {
	if d.Image != "" {
		return "an enclave image in a virtual machine"
	}
	return "enclave"
}

// start brings the deployment up and demands that the enclave reaches a phase.
func (d *demo) start(ctx context.Context, o stack.Options, want string) (*stack.Status, error) {
	o.State, o.Out = d.layout.Dir(), io.Discard
	if d.Image != "" {
		o.Machine = &stack.Machine{Image: d.Image, QEMU: d.QEMU}
		if o.Config != "" {
			o.Out = d.Out // the first start may fetch a QEMU, which takes a while
		}
	}
	s, err := stack.Up(ctx, o)
	if err != nil {
		return nil, err
	}
	if s.Phase != want {
		return nil, fmt.Errorf("the enclave is %q, not %q; its log says:\n%s", s.Phase, want, d.layout.LogTail(d.role(), 2000))
	}
	return s, nil
}

func (d *demo) up(ctx context.Context) error {
	s, err := d.start(ctx, stack.Options{Config: d.Data}, "ready")
	if err != nil {
		return err
	}
	for _, role := range []string{stack.KMS, stack.Issuer, stack.Parent, d.role(), stack.QEMU} {
		if pid := s.Processes[role]; pid != 0 {
			d.sayf("%-8s process %d", role, pid)
		}
	}
	d.sayf("deployment %s is %s", s.Deployment, s.Phase)
	return nil
}

func (d *demo) verify(ctx context.Context) error {
	_, err := d.cloister(ctx, 0, "verify")
	return err
}

func (d *demo) submit(ctx context.Context) error {
	counts, err := d.submission(ctx, 0, "flchain.csv")
	if err != nil {
		return err
	}
	if counts.Accepted != d.facts.people || counts.Rejected != 0 {
		return fmt.Errorf("%d accepted and %d rejected of %d records", counts.Accepted, counts.Rejected, d.facts.people)
	}
	good, err := readRecords(filepath.Join(d.Data, "broken.csv"))
	if err != nil {
		return err
	}
	counts, err = d.submission(ctx, 1, "broken.csv")
	if err != nil {
		return err
	}
	if counts.Rejected == 0 || counts.Accepted == 0 || counts.Accepted+counts.Rejected != good.people {
		return fmt.Errorf("%d accepted and %d rejected of %d records, some of them broken", counts.Accepted, counts.Rejected, good.people)
	}
	if err := d.facts.addAccepted(filepath.Join(d.Data, "broken.csv"), counts.bad); err != nil {
		return err
	}
	return d.search()
}

// search looks for words of the records in everything that the parent stored.
func (d *demo) search() error {
	files, bytes := 0, int64(0)
	err := filepath.WalkDir(d.layout.ParentDir(), func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files, bytes = files+1, bytes+int64(len(content))
		if word, found := d.facts.anyWord(content); found {
			return fmt.Errorf("the parent's file %s holds %q, a word of the records", filepath.Base(path), word)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if files == 0 {
		return errors.New("the parent stored nothing")
	}
	d.sayf("the parent holds %d files, %d bytes; none of the records' words is in them", files, bytes)
	return nil
}
