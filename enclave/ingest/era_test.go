package ingest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

// newer is colon's contract with a column more.
func newer(b *bundle.Bundle) {
	c := &b.Datasets[0].Contract
	c.Version = "1.1.0"
	c.Fields = append(c.Fields, contract.Field{Name: "y", Type: contract.Integer, Role: contract.Dimension})
}

// TestAcceptedStays changes the bundle in every way that would have an envelope
// refused. What was accepted before is replayed and keeps its receipt, also
// when the parent has lost that and hands the envelope in again; only what is
// new is refused.
func TestAcceptedStays(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(b *bundle.Bundle)
		want   string // for a new envelope of the old kind
	}{
		"nothing": {func(*bundle.Bundle) {}, ""},
		"version": {func(b *bundle.Bundle) { b.Datasets[0].Contract.Version = "1.0.1" }, ingest.ReasonContract},
		"column":  {newer, ingest.ReasonContract},
		"the same version with a column": {func(b *bundle.Bundle) {
			newer(b)
			b.Datasets[0].Contract.Version = "1.0.0"
		}, ""},
		"epoch":       {func(b *bundle.Bundle) { b.Datasets[0].KeyEpoch++ }, ingest.ReasonKey},
		"key":         {func(b *bundle.Bundle) { b.Datasets[0].KeyARN, b.Datasets[0].KeyEpoch = keyColon+"-2", 9 }, ingest.ReasonKey},
		"retired":     {func(b *bundle.Bundle) { b.Producers[0].Retired = true }, ingest.ReasonRetired},
		"gone":        {func(b *bundle.Bundle) { b.Producers = b.Producers[1:] }, ingest.ReasonProducer},
		"another key": {func(b *bundle.Bundle) { b.Producers[0].Key = registered("clinic-n", false).Key }, ingest.ReasonSignature},
		"no right":    {func(b *bundle.Bundle) { b.Producers[0].Datasets = []string{"visits"} }, ingest.ReasonRight},
		"size":        {func(b *bundle.Bundle) { b.Limits.MaxEnvelope = 10 }, ingest.ReasonSize},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			raw := write(1).raw(t)
			first := w.accepts(raw)
			tt.change(w.bundle)
			for range 2 {
				w.boot()
				if got := w.rows("colon"); got != "1 0:100 1:101 2:102" || w.keys.reopened != 1 {
					t.Errorf("queries see %s, %d keys", got, w.keys.reopened)
				}
				again := w.accepts(raw)
				if !bytes.Equal(again.Receipt, first.Receipt) || !bytes.Equal(again.Report, first.Report) {
					t.Error("another receipt")
				}
			}
			if w.state.Head() != 1 {
				t.Errorf("head %d", w.state.Head())
			}
			if _, err := w.accept(write(2).raw(t)); reason(err) != tt.want || tt.want != "" && err == nil {
				t.Errorf("a new one: %v", err)
			}
		})
	}
}

// TestVersions lets a contract grow twice, with records of each version.
func TestVersions(t *testing.T) {
	w := newWorld(t)
	w.accepts(write(1).raw(t))
	newer(w.bundle)
	w.boot()
	l := write(2)
	l.header.Contract = "1.1.0"
	l.records[0] = append(l.records[0], columns.Int("y", 5))
	w.accepts(l.raw(t))
	w.bundle.Datasets[0].KeyEpoch, w.bundle.Datasets[0].Contract.Version = 4, "2.0.0"
	w.bundle.Datasets[0].Contract.Fields[1].Maximum = at(int64(2_000_000))
	w.boot()
	l = write(3)
	l.header.Contract, l.header.Wrap.Epoch = "2.0.0", 4
	l.records[0][1].Int = 1_500_000
	raw, key := l.seal(t)
	first := w.accepts(raw)
	if _, report := w.verified(first, raw, key); report.Accepted != 3 {
		t.Errorf("report %+v", report)
	}
	for range 3 {
		if got, want := w.rows("colon"), "3 0:100 1:101 2:102 3:200 4:201 5:202 6:1500000 7:301 8:302"; got != want {
			t.Errorf("queries see %s", got)
		}
		if got, want := w.added(), "NULL NULL NULL 5 NULL NULL NULL NULL NULL"; got != want {
			t.Errorf("the added column is %s", got)
		}
		w.boot()
	}
	// Each version is kept once.
	kept := 0
	for name := range w.disk.objects {
		if strings.HasPrefix(name, "contracts/") {
			kept++
		}
	}
	if kept != 3 {
		t.Errorf("%d contracts for three versions", kept)
	}
}

// added writes down the column that newer adds.
func (w *world) added() string {
	var all []string
	snapshot, _ := w.tables.Snapshot("colon")
	for _, row := range genuine.Rows(snapshot) {
		if v := row.Values[2]; v.Null {
			all = append(all, "NULL")
		} else {
			all = append(all, fmt.Sprint(v.Int))
		}
	}
	return strings.Join(all, " ")
}

// TestNoSuccession refuses to replay records under a contract that might not
// allow them. It shows nothing and promises nothing.
func TestNoSuccession(t *testing.T) {
	for name, change := range map[string]func(c *contract.Contract){
		"type":     func(c *contract.Contract) { c.Fields[1].Type, c.Fields[1].Scale = contract.Number, 2 },
		"unit":     func(c *contract.Contract) { c.Fields[0].Role, c.Fields[1].Role = contract.Hidden, contract.Unit },
		"range":    func(c *contract.Contract) { c.Fields[1].Maximum = at(int64(999_999)) },
		"required": func(c *contract.Contract) { c.Fields[1].Required = true },
	} {
		w := newWorld(t)
		raw := write(1).raw(t)
		w.accepts(raw)
		w.bundle.Datasets[0].Contract.Version = "2.0.0"
		change(&w.bundle.Datasets[0].Contract)
		w.start()
		if err := w.in.Replay(t.Context(), w.state.Accepted()[0], raw); !errors.Is(err, ingest.ErrSuccession) || !errors.Is(err, contract.ErrContract) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.accept(raw); !errors.Is(err, ingest.ErrSuccession) || reason(err) != "" {
			t.Errorf("%s: handed in again: %v", name, err)
		}
		if w.rows("colon") != "0 " {
			t.Errorf("%s: queries see %s", name, w.rows("colon"))
		}
	}
}

// TestDatasetGone leaves the envelope alone, so that the dataset can come back.
func TestDatasetGone(t *testing.T) {
	w := newWorld(t)
	raw := write(1).raw(t)
	w.accepts(raw)
	before := w.bundle.Datasets
	w.bundle.Datasets = before[1:]
	w.start()
	if err := w.in.Replay(t.Context(), w.state.Accepted()[0], raw); err == nil || reason(err) != "" {
		t.Errorf("replay: %v", err)
	}
	if _, err := w.accept(raw); err == nil || reason(err) != "" {
		t.Errorf("handed in again: %v", err)
	}
	w.bundle.Datasets = before
	w.boot()
	if w.rows("colon") != "1 0:100 1:101 2:102" {
		t.Errorf("queries see %s", w.rows("colon"))
	}
}

// TestContractKept: no acceptance is durable before its contract is, and
// without that contract nothing is replayed under another.
func TestContractKept(t *testing.T) {
	w := newWorld(t)
	raw := write(1).raw(t)
	w.disk.injectAt("contracts/", before)
	if _, err := w.accept(raw); !errors.Is(err, errStore) || reason(err) != "" || w.state.Head() != 0 {
		t.Fatalf("got %v, head %d", err, w.state.Head())
	}
	w.disk.inject(none)
	w.accepts(raw)
	newer(w.bundle)
	var name string
	for n := range w.disk.objects {
		if strings.HasPrefix(n, "contracts/") {
			name = n
		}
	}
	whole := w.disk.objects[name]
	for spoiled, content := range map[string][]byte{"gone": nil, "changed": append(bytes.Clone(whole), 0), "another": []byte("x")} {
		if w.disk.objects[name] = content; content == nil {
			delete(w.disk.objects, name)
		}
		w.start()
		if err := w.in.Replay(t.Context(), w.state.Accepted()[0], raw); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: %v", spoiled, err)
		}
	}
	w.disk.objects[name] = whole
	w.boot()
}

// TestContractOfAnother: a digest alone doesn't make a contract the dataset's.
func TestContractOfAnother(t *testing.T) {
	w := newWorld(t)
	raw := write(1).raw(t)
	w.accepts(raw)
	l := write(1)
	l.header.Dataset, l.header.Wrap.Key = "visits", keyVisits
	w.accepts(l.raw(t))
	all := w.state.Accepted()
	newer(w.bundle)
	for name, spoil := range map[string]func(a *state.Acceptance){
		"another dataset's": func(a *state.Acceptance) { a.Terms = all[1].Terms },
		"another version's": func(a *state.Acceptance) { a.Contract = "0.9.0" },
	} {
		w.start()
		a := all[0]
		spoil(&a)
		if err := w.in.Replay(t.Context(), a, raw); !errors.Is(err, ingest.ErrReplay) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
