// Package query is the query path: what happens to one statement between the
// analyst who was authenticated and the answer that its signer may sign. Each
// step makes what the next one needs: a Plan, a Grant, groups, and only the
// last of them a Released. It sees no key and no envelope.
package query

import (
	"context"
	"errors"
	"time"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/answer"
)

// errDataset says that the catalogue and the store don't hold the same datasets.
var errDataset = errors.New("query: the dataset has no table")

// Store shows the records of datasets.
type Store interface {
	// Snapshot answers the newest view of a dataset, false when there is none.
	Snapshot(dataset string) (*table.Snapshot, bool)
}

// Config is what New needs. Every field is required.
type Config struct {
	// Catalog answers the contracts of the bundle; Store has a table for each.
	Catalog sql.Catalog
	Store   Store
	Gate    *protect.Gate
	// Limits and Timeout bound every query.
	Limits  exec.Limits
	Timeout time.Duration
}

// Runner runs queries. It is safe for use by several goroutines.
type Runner struct{ config Config }

// New makes a runner.
func New(c Config) *Runner { return &Runner{config: c} }

// Run answers one statement for somebody; bound are the values of its
// placeholders. Errors: *sql.Refusal and identity.ErrNotAllowed, for which no
// data was read; the context's, also after Config.Timeout; exec.ErrLimit; and
// others that say nothing to a caller.
func (r *Runner) Run(ctx context.Context, who *identity.Principal, text string, bound ...sql.Parameter) (*protect.Released, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	plan, err := sql.Compile(text, bound, r.config.Catalog)
	if err != nil {
		return nil, r.config.Gate.Refuse(ctx, who, digest(text, bound), err)
	}
	grant, err := r.config.Gate.Authorise(ctx, who, plan)
	if err != nil {
		return nil, err
	}
	snap, ok := r.config.Store.Snapshot(plan.Dataset())
	if !ok {
		return nil, errDataset
	}
	groups, err := exec.Aggregate(ctx, grant, snap, r.config.Limits)
	if err != nil {
		return nil, err
	}
	return protect.Release(grant, groups)
}

// digest names a statement in the audit log that didn't become a plan.
func digest(text string, bound []sql.Parameter) [32]byte {
	return answer.QueryDigest(text, sql.Literals(bound)...)
}
