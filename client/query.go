package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
	"github.com/cloisterhq/cloister/internal/attls"
)

// Answer is a protected answer whose signature was checked against the
// attested service key.
type Answer struct {
	*answer.Answer
	Signature []byte
	// Peer is the enclave that answered.
	Peer *attls.Peer
}

// QueryError is the enclave's refusal of a query, in its own words.
type QueryError struct {
	Code    codes.Code
	Message string
}

func (e *QueryError) Error() string { return e.Message }

// Query runs one statement of the protected dialect over attested TLS. The
// token is sent only on a connection whose evidence was appraised.
func (c *Client) Query(ctx context.Context, text string) (*Answer, error) {
	token, err := c.config.token()
	if err != nil {
		return nil, err
	}
	conn, err := flightsql.NewClientCtx(ctx, "passthrough:///"+c.config.Attested, nil, nil, c.dialOptions()...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer conn.Close()
	var out *Answer
	err = c.retry(ctx, func() error {
		authorised := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		out, err = c.ask(authorised, conn, text)
		return err
	})
	if err != nil {
		return nil, queryFailure(err)
	}
	return out, nil
}

// ask runs one statement on one connection.
func (c *Client) ask(ctx context.Context, conn *flightsql.Client, text string) (*Answer, error) {
	info, err := conn.Execute(ctx, text, grpc.WaitForReady(false))
	if err != nil {
		return nil, err
	}
	if len(info.GetEndpoint()) != 1 {
		return nil, errors.New("the enclave answered with other than one endpoint")
	}
	reader, err := conn.DoGet(ctx, info.GetEndpoint()[0].GetTicket())
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	var records []arrow.RecordBatch
	for reader.Next() {
		record := reader.RecordBatch()
		record.Retain()
		records = append(records, record)
	}
	if err := reader.Err(); err != nil {
		return nil, err
	}
	a, signature, err := arrowform.Answer(reader.Schema(), records)
	if err != nil {
		return nil, err
	}
	peer := c.lastPeer()
	if peer == nil || peer.ServiceKey == nil {
		return nil, ErrLocked
	}
	if a.Query != answer.QueryDigest(text) {
		return nil, errors.New("the answer is for another query")
	}
	if err := answer.Verify(a, signature, peer.ServiceKey); err != nil {
		return nil, fmt.Errorf("the answer isn't the enclave's: %w", err)
	}
	return &Answer{Answer: a, Signature: signature, Peer: peer}, nil
}

// queryFailure tells refusals of evidence, refusals of the query and outages
// apart.
func queryFailure(err error) error {
	if refusal := attls.Refusal(err); refusal != nil {
		return refusal
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.Unavailable:
		return fmt.Errorf("%w: %s", ErrUnreachable, s.Message())
	case codes.Canceled:
		return context.Canceled
	default:
		return &QueryError{Code: s.Code(), Message: s.Message()}
	}
}
