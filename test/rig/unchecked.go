package rig

import (
	"context"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/contract"
)

// Unchecked lets every statement through to Query: it is the rest of a
// server.Querier for tests that are about what Query answers.
type Unchecked struct{}

// Check finds nothing.
func (Unchecked) Check(context.Context, *identity.Principal, string, ...sql.Parameter) (*query.Description, error) {
	return &query.Description{Columns: []answer.Column{{Name: "n", Type: answer.Int64}}}, nil
}

// Prepare finds nothing.
func (u Unchecked) Prepare(ctx context.Context, who *identity.Principal, text string) (*query.Description, error) {
	return u.Check(ctx, who, text)
}

// Tables answers none.
func (Unchecked) Tables(*identity.Principal) []*contract.Contract { return nil }
