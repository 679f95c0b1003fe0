package query

import (
	"context"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
)

// Description is what can be told of a statement before any data is read: a
// function of its text, the bound values and the contract alone.
type Description struct {
	// Columns are those of the answer.
	Columns []answer.Column
	// Placeholders are what the placeholders want, in the order of their
	// numbers; none once values are bound.
	Placeholders []sql.Placeholder
}

// Check says whether Run would begin to answer the statement, and what the
// answer's columns would be. It reads no data, charges nothing and grants
// nothing; a refusal is written down as Run's is. Errors: *sql.Refusal,
// identity.ErrNotAllowed and the audit log's.
func (r *Runner) Check(ctx context.Context, who *identity.Principal, text string, bound ...sql.Parameter) (*Description, error) {
	plan, err := sql.Compile(text, bound, r.config.Catalog)
	if err != nil {
		return nil, r.config.Gate.Refuse(ctx, who, digest(text, bound), err)
	}
	return r.describe(ctx, who, plan, digest(text, bound))
}

// Prepare is Check for a statement whose values aren't bound yet.
func (r *Runner) Prepare(ctx context.Context, who *identity.Principal, text string) (*Description, error) {
	draft, err := sql.Describe(text, r.config.Catalog)
	if err != nil {
		return nil, r.config.Gate.Refuse(ctx, who, digest(text, nil), err)
	}
	d, err := r.describe(ctx, who, draft, digest(text, nil))
	if err != nil {
		return nil, err
	}
	d.Placeholders = draft.Placeholders()
	return d, nil
}

func (r *Runner) describe(ctx context.Context, who *identity.Principal, q protect.Outlined, digest [32]byte) (*Description, error) {
	if err := r.config.Gate.Foresee(ctx, who, q.Contract(), digest); err != nil {
		return nil, err
	}
	return &Description{Columns: protect.Columns(q)}, nil
}
