package protect_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

func testContract(mode contract.Mode) *contract.Contract {
	least, most := int64(-contract.MaxMeasure), int64(contract.MaxMeasure)
	measure := func(name string, t contract.Type, scale int) contract.Field {
		return contract.Field{Name: name, Type: t, Role: contract.Measure, Minimum: &least, Maximum: &most, Scale: scale}
	}
	dimension := func(name string, t contract.Type, scale int) contract.Field {
		return contract.Field{Name: name, Type: t, Role: contract.Dimension, Scale: scale}
	}
	return &contract.Contract{
		Dataset: "data", ID: "data", Version: "1", Mode: mode, Floor: 7,
		Fields: []contract.Field{
			{Name: "unit", Type: contract.String, Role: contract.Unit},
			dimension("text", contract.String, 0), dimension("whole", contract.Integer, 0), dimension("point", contract.Number, 3),
			dimension("flag", contract.Boolean, 0), dimension("day", contract.Date, 0), dimension("instant", contract.Timestamp, 0),
			measure("amount", contract.Integer, 0), measure("price", contract.Number, 2), measure("fine", contract.Number, 9), measure("coarse", contract.Number, 0),
		},
	}
}

func compile(t *testing.T, c *contract.Contract, text string) *sql.Plan {
	t.Helper()
	catalog, err := genuine.NewCatalog(c)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := sql.Compile(text, nil, catalog)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func principal(t *testing.T, roles ...string) *identity.Principal {
	t.Helper()
	who, err := genuine.Principal(t.Context(), "somebody", roles...)
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// notes is an audit log that keeps entries in memory, or fails.
type notes struct {
	entries []audit.Entry
	fail    error
}

func (n *notes) Append(_ context.Context, e audit.Entry) (string, error) {
	if n.fail != nil {
		return "", n.fail
	}
	n.entries = append(n.entries, e)
	return fmt.Sprint("entry ", len(n.entries)), nil
}

func TestAuthorise(t *testing.T) {
	const query = "SELECT COUNT(*) FROM data"
	analyst, nobody := principal(t, "analyst"), principal(t)
	tests := []struct {
		name    string
		profile string
		mode    contract.Mode
		who     *identity.Principal
		code    string // "" for granted
	}{
		{"granted", bundle.Simulation, contract.Threshold, analyst, ""},
		{"no role", bundle.Simulation, contract.Threshold, nobody, "PQ300_NOT_ALLOWED"},
		{"other role", bundle.Simulation, contract.Threshold, principal(t, "auditor", "Analyst"), "PQ300_NOT_ALLOWED"},
		{"nobody at all", bundle.Simulation, contract.Threshold, nil, "PQ300_NOT_ALLOWED"},
		{"production", bundle.Production, contract.Threshold, analyst, "PQ404_MODE_NOT_AVAILABLE"},
		{"dp", bundle.Simulation, contract.DP, analyst, "PQ404_MODE_NOT_AVAILABLE"},
		{"dp in production", bundle.Production, contract.DP, analyst, "PQ404_MODE_NOT_AVAILABLE"},
		{"no profile", "", contract.Threshold, analyst, "PQ404_MODE_NOT_AVAILABLE"},
		{"other profile", "Simulation", contract.Threshold, analyst, "PQ404_MODE_NOT_AVAILABLE"},
		{"rights come before modes", bundle.Production, contract.DP, nobody, "PQ300_NOT_ALLOWED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan := compile(t, testContract(tt.mode), query)
			log := &notes{}
			gate := protect.New(protect.Config{Profile: tt.profile, Audit: log})
			grant, err := gate.Authorise(t.Context(), tt.who, plan)
			if (grant != nil) != (tt.code == "") || (err == nil) != (tt.code == "") {
				t.Fatalf("grant %v, error %v", grant, err)
			}
			refusal, isRefusal := errors.AsType[*sql.Refusal](err)
			switch {
			case tt.code == "":
				if grant.Plan() != plan || grant.Floor() != 7 {
					t.Error("the grant is for another plan")
				}
			case tt.code == "PQ300_NOT_ALLOWED":
				if !errors.Is(err, identity.ErrNotAllowed) || isRefusal {
					t.Errorf("got %v", err)
				}
			case !isRefusal || refusal.Dataset != "data" || refusal.Violations[0].Code+"_"+refusal.Violations[0].Name != tt.code:
				t.Errorf("got %v", err)
			}
			want := audit.Entry{Dataset: "data", Outcome: audit.Answered, Fingerprint: sha256.Sum256(plan.Canonical())}
			if tt.who != nil {
				want.Issuer, want.Subject = tt.who.Issuer(), "somebody"
			}
			if tt.code != "" {
				want.Outcome, want.Codes = audit.Refused, []string{tt.code}
			}
			if len(log.entries) != 1 || fmt.Sprint(log.entries[0]) != fmt.Sprint(want) {
				t.Errorf("audit: %v, want %v", log.entries, want)
			}
		})
	}
}

// TestNoEntryNoGrant fails the audit log: whatever the decision was, nobody
// hears of it.
func TestNoEntryNoGrant(t *testing.T) {
	full := errors.New("the log is full")
	analyst := principal(t, "analyst")
	for _, who := range []*identity.Principal{analyst, nil} {
		for _, profile := range []string{bundle.Simulation, bundle.Production} {
			gate := protect.New(protect.Config{Profile: profile, Audit: &notes{fail: full}})
			grant, err := gate.Authorise(t.Context(), who, compile(t, testContract(contract.Threshold), "SELECT COUNT(*) FROM data"))
			if grant != nil || !errors.Is(err, full) || errors.Is(err, identity.ErrNotAllowed) {
				t.Errorf("grant %v, error %v", grant, err)
			}
			err = gate.Refuse(t.Context(), who, [32]byte{1}, sql.Refuse("data", "PQ100_SYNTAX", "m", "f"))
			if _, ok := errors.AsType[*sql.Refusal](err); ok || !errors.Is(err, full) {
				t.Errorf("error %v", err)
			}
		}
	}
}

func TestRefuse(t *testing.T) {
	const text = "SELECT MAX(amount), 'a secret literal' FROM data"
	catalog, err := genuine.NewCatalog(testContract(contract.Threshold))
	if err != nil {
		t.Fatal(err)
	}
	_, compiled := sql.Compile(text, nil, catalog)
	elsewhere := sql.Refuse("", "PQ302_NO_SUCH_TABLE", "m", "f")
	refusal, ok := errors.AsType[*sql.Refusal](compiled)
	if !ok {
		t.Fatal(compiled)
	}
	var compiledCodes []string
	for _, v := range refusal.Violations {
		compiledCodes = append(compiledCodes, v.Code+"_"+v.Name)
	}
	if !slices.Contains(compiledCodes, "PQ202_AGGREGATE_NOT_ALLOWED") || len(compiledCodes) < 2 {
		t.Fatalf("codes: %v", compiledCodes)
	}
	analyst, nobody := principal(t, "analyst"), principal(t)
	tests := []struct {
		name    string
		who     *identity.Principal
		refusal error
		dataset string
		codes   []string
		hidden  bool // whether the caller gets ErrNotAllowed instead
	}{
		{"analyst", analyst, compiled, "data", compiledCodes, false},
		{"analyst, no dataset", analyst, elsewhere, "", []string{"PQ302_NO_SUCH_TABLE"}, false},
		{"no right to the dataset", nobody, compiled, "data", []string{"PQ300_NOT_ALLOWED"}, true},
		{"nobody", nil, compiled, "data", []string{"PQ300_NOT_ALLOWED"}, true},
		{"no right, no dataset", nobody, elsewhere, "", []string{"PQ302_NO_SUCH_TABLE"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log := &notes{}
			gate := protect.New(protect.Config{Profile: bundle.Simulation, Audit: log})
			err := gate.Refuse(t.Context(), tt.who, sha256.Sum256([]byte(text)), tt.refusal)
			if tt.hidden != errors.Is(err, identity.ErrNotAllowed) || !tt.hidden && !errors.Is(err, tt.refusal) {
				t.Errorf("got %v", err)
			}
			if len(log.entries) != 1 {
				t.Fatalf("%d entries", len(log.entries))
			}
			e := log.entries[0]
			if e.Outcome != audit.Refused || e.Dataset != tt.dataset || !slices.Equal(e.Codes, tt.codes) || e.Fingerprint != sha256.Sum256([]byte(text)) {
				t.Errorf("entry %v", e)
			}
			if strings.Contains(fmt.Sprint(e), "secret") {
				t.Error("the entry holds the query's text")
			}
		})
	}
}
