package server

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errSubstrait refuses plans of a client's own making.
var errSubstrait = status.Error(codes.Unimplemented, "Substrait plans aren't answered. Fix: send SQL.")

// BeginTransaction is refused: there is nothing to commit.
func (q *queries) BeginTransaction(context.Context, flightsql.ActionBeginTransactionRequest) ([]byte, error) {
	return nil, errReadOnly
}

// EndTransaction is refused.
func (q *queries) EndTransaction(context.Context, flightsql.ActionEndTransactionRequest) error {
	return errReadOnly
}

// BeginSavepoint is refused.
func (q *queries) BeginSavepoint(context.Context, flightsql.ActionBeginSavepointRequest) ([]byte, error) {
	return nil, errReadOnly
}

// EndSavepoint is refused.
func (q *queries) EndSavepoint(context.Context, flightsql.ActionEndSavepointRequest) error {
	return errReadOnly
}

// CreatePreparedSubstraitPlan is refused.
func (q *queries) CreatePreparedSubstraitPlan(context.Context, flightsql.ActionCreatePreparedSubstraitPlanRequest) (flightsql.ActionCreatePreparedStatementResult, error) {
	return flightsql.ActionCreatePreparedStatementResult{}, errSubstrait
}
