package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/bundle"
)

// turning is a file that becomes another one once it was read to its end.
type turning struct {
	*bytes.Reader
	later []byte
}

func (f *turning) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if errors.Is(err, io.EOF) && f.later != nil {
		f.Reader, f.later = bytes.NewReader(f.later), nil
		_, _ = f.Seek(0, io.SeekEnd)
	}
	return n, err
}

// TestInputChanges: not one record of a changed input is sealed; what came
// before it is sent; and the input put back as it was goes on from there.
func TestInputChanges(t *testing.T) {
	s := newStudy(t, func(b *bundle.Bundle) { b.Limits.MaxEnvelope = 64 << 10 })
	text := []byte(csvOf(50_000)) // a little more than two blocks
	if len(text) < 512<<10 || len(text) > 768<<10 {
		t.Fatalf("the input has %d bytes", len(text))
	}
	c := s.producer(20*time.Second, nil)
	for _, change := range []struct {
		name  string
		later func() []byte
		sent  bool // something may be sent before the change is met
	}{
		{"at the beginning", func() []byte { return replaced(text, 20) }, false},
		{"gone", func() []byte { return []byte{} }, false},
		{"at the end", func() []byte { return replaced(text, len(text)-10) }, true},
		{"shorter", func() []byte { return text[:len(text)-20] }, true},
		{"longer", func() []byte { return append(bytes.Clone(text), "7,Obs,20\n"...) }, true},
	} {
		job := submission("")
		job.Input = &turning{bytes.NewReader(text), change.later()}
		sum, err := c.Submit(t.Context(), job)
		var bad *client.InputError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "the input changed while it was read") {
			t.Fatalf("%s: %v", change.name, err)
		}
		if (sum.Sent > 0) != change.sent || sum.Sent >= 50_000 {
			t.Errorf("%s: %d records sent", change.name, sum.Sent)
		}
		if change.sent && !strings.Contains(err.Error(), "put the input back as it was") {
			t.Errorf("%s: %v", change.name, err)
		}
	}
	sum, err := c.Submit(t.Context(), submission(string(text)))
	check(t, err)
	if got := of(sum); got != (totals{50_000, 45_000, 5_000, 0, 0}) || s.counted.Load() != 45_000 {
		t.Errorf("%+v, %d counted", got, s.counted.Load())
	}
}

func replaced(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// TestPipe: an input that can be read once only is one like others.
func TestPipe(t *testing.T) {
	s := newStudy(t, nil)
	c := s.producer(20*time.Second, nil)
	text := csvOf(10)
	for i, want := range []totals{{10, 9, 1, 0, 0}, {10, 0, 1, 0, 9}} {
		job := submission("")
		job.Input = io.MultiReader(strings.NewReader(text[:7]), strings.NewReader(text[7:]))
		sum, err := c.Submit(t.Context(), job)
		check(t, err)
		if of(sum) != want {
			t.Errorf("run %d: %+v", i, of(sum))
		}
		check(t, sum.Told(t.Context()))
	}
}

// TestPipeInterrupted: a pipe that says nothing doesn't hold anybody up.
func TestPipeInterrupted(t *testing.T) {
	s := newStudy(t, nil)
	r, w, err := os.Pipe()
	check(t, err)
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	job := submission("")
	job.Input = r
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := s.producer(0, nil).Submit(ctx, job); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestPipeFails: half an input isn't one.
func TestPipeFails(t *testing.T) {
	s := newStudy(t, nil)
	job := submission("")
	broken := errors.New("broken")
	job.Input = io.MultiReader(strings.NewReader(csvOf(5)), failing{broken})
	if _, err := s.producer(0, nil).Submit(t.Context(), job); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if s.counted.Load() != 0 {
		t.Error("half an input was counted")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
