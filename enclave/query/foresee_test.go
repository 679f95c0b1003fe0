package query_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

// TestForeseen: what Check and Prepare say is what Run does, they read no data,
// and they write down a refusal once and nothing else.
func TestForeseen(t *testing.T) {
	stranger, err := genuine.Principal(t.Context(), "eve", "auditor")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		mode  contract.Mode
		who   *identity.Principal
		text  string
		bound []sql.Parameter
		code  string // of the refusal, empty for none
	}{
		"good":            {mode: contract.Threshold, text: "SELECT site, COUNT(*) AS n FROM data GROUP BY site"},
		"with a value":    {mode: contract.Threshold, text: "SELECT site, COUNT(*) AS n FROM data WHERE site = ? GROUP BY site", bound: []sql.Parameter{sql.TextParameter("a")}},
		"not the dialect": {mode: contract.Threshold, text: "SELECT unit FROM data", code: "PQ201_NOT_AGGREGATED"},
		"no such mode":    {mode: contract.DP, text: "SELECT COUNT(*) FROM data", code: "PQ404_MODE_NOT_AVAILABLE"},
		"not theirs":      {mode: contract.Threshold, who: stranger, text: "SELECT COUNT(*) FROM data", code: "PQ300_NOT_ALLOWED"},
		"not to be told":  {mode: contract.Threshold, who: stranger, text: "SELECT unit FROM data", code: "PQ300_NOT_ALLOWED"},
	} {
		s := newScene(t, c.mode, nil)
		who := s.desk.Who
		if c.who != nil {
			who = c.who
		}
		checks := map[string]func() (*query.Description, error){
			"Check":   func() (*query.Description, error) { return s.runner.Check(t.Context(), who, c.text, c.bound...) },
			"Prepare": func() (*query.Description, error) { return s.runner.Prepare(t.Context(), who, c.text) },
		}
		for call, check := range checks {
			before := len(s.records(t))
			d, err := check()
			after := s.records(t)[before:]
			switch {
			case c.code == "" && (err != nil || len(after) > 0):
				t.Errorf("%s, %s: %v, %d entries", name, call, err, len(after))
			case c.code != "" && (err == nil || len(after) != 1 || after[0].Entry.Outcome != audit.Refused || !slices.Contains(after[0].Entry.Codes, c.code)):
				t.Errorf("%s, %s: %v, %v", name, call, err, after)
			}
			if err != nil {
				continue
			}
			if want := []answer.Column{{Name: "site", Type: answer.String}, {Name: "n", Type: answer.Int64}}; !slices.Equal(d.Columns, want) {
				t.Errorf("%s, %s: %v", name, call, d.Columns)
			}
			if wants := len(d.Placeholders); call == "Check" && wants != 0 || call == "Prepare" && wants != len(c.bound) {
				t.Errorf("%s, %s: %d placeholders", name, call, wants)
			}
		}
		if len(s.data.seen) > 0 {
			t.Errorf("%s: data was read", name)
		}
		released, err := s.runner.Run(t.Context(), who, c.text, c.bound...)
		if (err == nil) != (c.code == "") {
			t.Errorf("%s: run: %v", name, err)
		}
		if err == nil && !slices.Equal(released.Answer().Columns, []answer.Column{{Name: "site", Type: answer.String}, {Name: "n", Type: answer.Int64}}) {
			t.Errorf("%s: %v", name, released.Answer().Columns)
		}
	}
}

// TestForeseenUnaudited: a refusal that can't be written down isn't explained.
func TestForeseenUnaudited(t *testing.T) {
	s := newScene(t, contract.Threshold, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.runner.Check(ctx, s.desk.Who, "SELECT unit FROM data")
	if _, told := errors.AsType[*sql.Refusal](err); err == nil || told {
		t.Errorf("%v", err)
	}
	_, err = s.runner.Prepare(ctx, s.desk.Who, "SELECT unit FROM data")
	if _, told := errors.AsType[*sql.Refusal](err); err == nil || told {
		t.Errorf("%v", err)
	}
}

// TestBoundValues: the values take the place of the placeholders, and name the
// refused statement in the audit log together with its text.
func TestBoundValues(t *testing.T) {
	s := newScene(t, contract.Threshold, nil)
	const text = "SELECT COUNT(*) FROM data WHERE site = ?"
	for value, want := range map[string]answer.Cell{"a": {Int: 6}, "b": {Null: true}} {
		released, err := s.runner.Run(t.Context(), s.desk.Who, text, sql.TextParameter(value))
		if err != nil || released.Answer().Rows[0][0] != want {
			t.Errorf("%s: %v", value, err)
		}
	}
	if _, err := s.runner.Run(t.Context(), s.desk.Who, text); err == nil {
		t.Error("ran without its value")
	}
	before := s.records(t)
	if before[0].Entry.Fingerprint == before[1].Entry.Fingerprint {
		t.Error("two values have one fingerprint")
	}
	_, err := s.runner.Run(t.Context(), s.desk.Who, text, sql.NumberParameter("7"))
	if _, refused := errors.AsType[*sql.Refusal](err); !refused {
		t.Errorf("%v", err)
	}
	if last := s.records(t)[len(before)]; last.Entry.Fingerprint != answer.QueryDigest(text, "7") {
		t.Error("the refusal isn't of the statement with its value")
	}
}
