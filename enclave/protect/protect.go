// Package protect stands on both sides of the data: a Gate decides whether a
// query may run and writes that down before anything is read, and Release
// decides what of the counted groups may be shown. There is no Grant without
// Authorise and no Released without Release. It trusts the measured profile,
// the contract that the plan is bound to and the audit log; it trusts no query.
package protect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
)

const (
	codeNotAllowed = "PQ300_NOT_ALLOWED"
	codeMode       = "PQ404_MODE_NOT_AVAILABLE"
)

// Audit keeps decisions.
type Audit interface {
	// Append makes an entry durable and answers its id.
	Append(ctx context.Context, e audit.Entry) (id string, err error)
}

// Config is what New needs. Both are required.
type Config struct {
	// Profile is the bundle's, bundle.Production or bundle.Simulation.
	Profile string
	Audit   Audit
}

// Gate decides which queries run. It is safe for use by several goroutines.
type Gate struct{ config Config }

// New makes a gate.
func New(c Config) *Gate { return &Gate{config: c} }

// Grant says that a query may run, and that this is written down. Only
// Authorise makes one that anything can be done with.
type Grant struct {
	plan  *sql.Plan
	mode  string
	audit string
}

// Plan is the query that may run, nil when nobody granted it.
func (g *Grant) Plan() *sql.Plan {
	if g == nil {
		return nil
	}
	return g.plan
}

// Floor is how many different units a shown group has at least.
func (g *Grant) Floor() int { return g.plan.Contract().Floor }

// Authorise decides whether who may run a plan, and under which protection. The
// decision is durable in the audit log before it answers: no entry, no Grant.
// Errors: identity.ErrNotAllowed, an *sql.Refusal, or the audit log's.
func (g *Gate) Authorise(ctx context.Context, who *identity.Principal, plan *sql.Plan) (*Grant, error) {
	entry := entryOf(who, plan.Dataset(), sha256.Sum256(plan.Canonical()))
	mode, err := g.decide(who, plan.Contract())
	if err != nil {
		return nil, g.refuse(ctx, entry, err)
	}
	entry.Outcome = audit.Answered
	id, err := g.config.Audit.Append(ctx, entry)
	if err != nil {
		return nil, fmt.Errorf("protect: %w", err)
	}
	return &Grant{plan: plan, mode: mode, audit: id}, nil
}

// Foresee answers the error that Authorise would answer now for a query over a
// dataset, and writes the refusal down as Authorise does. It grants nothing,
// and what it lets pass it doesn't write down: nothing is read. query is the
// digest of the query's text.
func (g *Gate) Foresee(ctx context.Context, who *identity.Principal, c *contract.Contract, query [32]byte) error {
	if _, err := g.decide(who, c); err != nil {
		return g.refuse(ctx, entryOf(who, c.Dataset, query), err)
	}
	return nil
}

// decide answers the mode in which somebody's query of a dataset is answered.
func (g *Gate) decide(who *identity.Principal, c *contract.Contract) (mode string, err error) {
	if err := who.May(identity.Query, c.Dataset); err != nil {
		return "", err
	}
	return g.protection(c)
}

// protection answers the mode in which a dataset's queries are answered, or the
// refusal of a mode that isn't there.
func (g *Gate) protection(c *contract.Contract) (mode string, err error) {
	switch {
	case c.Mode == contract.DP:
		// Differential privacy belongs here: it charges the ledger, durably,
		// before the Grant, and Release then bounds, noises and selects.
		return "", sql.Refuse(c.Dataset, codeMode, "the dataset's mode is dp, and differential privacy isn't available yet",
			"query a dataset in mode threshold, in a simulation")
	case c.Mode == contract.Threshold && g.config.Profile == bundle.Simulation:
		return answer.ModeThreshold, nil
	default:
		// Exact answers aren't protected against differencing, so production
		// has none.
		return "", sql.Refuse(c.Dataset, codeMode, "threshold mode doesn't withstand differencing, so production doesn't answer in it",
			"wait for differential privacy; until then query in a simulation")
	}
}

// Refuse writes down that a query was refused before it became a plan, and
// answers the error to give back: refusal, identity.ErrNotAllowed for somebody
// who may not query its dataset at all, or the audit log's. query is the
// digest of the query's text.
func (g *Gate) Refuse(ctx context.Context, who *identity.Principal, query [32]byte, refusal error) error {
	dataset := ""
	if r, ok := errors.AsType[*sql.Refusal](refusal); ok {
		dataset = r.Dataset
	}
	if dataset != "" {
		// A refusal names columns of the dataset.
		if err := who.May(identity.Query, dataset); err != nil {
			refusal = err
		}
	}
	return g.refuse(ctx, entryOf(who, dataset, query), refusal)
}

// refuse audits a refusal and answers it. What can't be audited isn't
// explained either.
func (g *Gate) refuse(ctx context.Context, entry audit.Entry, refusal error) error {
	entry.Outcome, entry.Codes = audit.Refused, codes(refusal)
	if _, err := g.config.Audit.Append(ctx, entry); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	return refusal
}

// codes are those of a refusal, in the order of its violations.
func codes(refusal error) []string {
	r, ok := errors.AsType[*sql.Refusal](refusal)
	if !ok {
		return []string{codeNotAllowed}
	}
	var all []string
	for _, v := range r.Violations {
		all = append(all, v.Code+"_"+v.Name)
	}
	return all
}

func entryOf(who *identity.Principal, dataset string, fingerprint [32]byte) audit.Entry {
	e := audit.Entry{Dataset: dataset, Fingerprint: fingerprint}
	if who != nil {
		e.Issuer, e.Subject = who.Issuer(), who.Subject()
	}
	return e
}
