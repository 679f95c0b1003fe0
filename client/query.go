package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
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

// Error is the enclave's message.
func (e *QueryError) Error() string { return e.Message }

// unavailable is an outage that a verified enclave reports in its own words.
type unavailable struct{ message string }

func (e *unavailable) Error() string { return e.message }

// Is makes it ErrUnreachable for whoever tries again or chooses an exit code.
func (*unavailable) Is(target error) bool { return target == ErrUnreachable }

// maxRecords bounds the records of one answer.
const maxRecords = 1 << 16

// Query runs one statement of the protected dialect over attested TLS, with a
// value for each of its placeholders, as text that the enclave reads as its
// column's type. The token is sent only on a connection whose evidence was
// appraised.
func (c *Client) Query(ctx context.Context, text string, values ...string) (*Answer, error) {
	token, _, err := c.Bearer()
	if err != nil {
		return nil, err
	}
	var out *Answer
	err = c.retry(ctx, func() error {
		var err error
		out, err = c.ask(ctx, token, text, values)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ask runs one statement on a connection of its own: a connection that was
// made while the enclave had no keys knows no service key.
func (c *Client) ask(ctx context.Context, token, text string, values []string) (*Answer, error) {
	var refused refusal
	conn, err := flightsql.NewClientCtx(ctx, "passthrough:///"+c.config.Attested, nil, nil, c.dialOptions(&refused)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer conn.Close()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	var from peer.Peer
	schema, records, err := fetch(ctx, conn, text, values, &from)
	defer release(records)
	attested := attestedPeer(&from)
	if err != nil {
		if refusal := refused.get(); refusal != nil {
			return nil, refusal
		}
		return nil, queryFailure(err, attested != nil)
	}
	if attested == nil || attested.ServiceKey == nil {
		return nil, ErrLocked
	}
	a, signature, err := arrowform.Answer(schema, records)
	if err != nil {
		return nil, err
	}
	if a.Query != answer.QueryDigest(text, literals(values)...) {
		return nil, errors.New("the answer is for another query")
	}
	if err := answer.Verify(a, signature, attested.ServiceKey); err != nil {
		return nil, fmt.Errorf("the answer isn't the enclave's: %w", err)
	}
	if !bytes.Equal(a.Genesis[:], attested.Genesis) {
		return nil, errors.New("the answer is from another state than the enclave's")
	}
	return &Answer{Answer: a, Signature: signature, Peer: attested}, nil
}

// fetch runs a statement and collects its records, which the caller releases,
// also those that come with an error. from becomes the peer of the last call
// that reached one.
func fetch(ctx context.Context, conn *flightsql.Client, text string, values []string, from *peer.Peer) (*arrow.Schema, []arrow.RecordBatch, error) {
	info, err := execute(ctx, conn, text, values, from)
	if err != nil {
		return nil, nil, err
	}
	if len(info.GetEndpoint()) != 1 {
		return nil, nil, errors.New("the enclave answered with other than one endpoint")
	}
	reader, err := conn.DoGet(ctx, info.GetEndpoint()[0].GetTicket(), grpc.WaitForReady(false), grpc.Peer(from))
	if err != nil {
		return nil, nil, err
	}
	defer reader.Release()
	var records []arrow.RecordBatch
	for reader.Next() {
		if len(records) == maxRecords {
			return nil, records, errors.New("the enclave's answer never ends")
		}
		record := reader.RecordBatch()
		record.Retain()
		records = append(records, record)
	}
	return reader.Schema(), records, reader.Err()
}

// execute answers where the answer to a statement can be fetched. Values are
// bound to a prepared statement, which the enclave keeps nowhere but in its
// handle.
func execute(ctx context.Context, conn *flightsql.Client, text string, values []string, from *peer.Peer) (*flight.FlightInfo, error) {
	if len(values) == 0 {
		return conn.Execute(ctx, text, grpc.WaitForReady(false), grpc.Peer(from))
	}
	statement, err := conn.Prepare(ctx, text, grpc.WaitForReady(false), grpc.Peer(from))
	if err != nil {
		return nil, err
	}
	fields := make([]arrow.Field, len(values))
	for i := range values {
		fields[i] = arrow.Field{Name: fmt.Sprintf("$%d", i+1), Type: arrow.BinaryTypes.String}
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i, v := range values {
		b.Field(i).(*array.StringBuilder).Append(v)
	}
	row := b.NewRecordBatch()
	defer row.Release()
	statement.SetParameters(row)
	defer statement.SetParameters(nil)
	return statement.Execute(ctx, grpc.WaitForReady(false), grpc.Peer(from))
}

// literals are bound texts as the dialect writes them, as they go into the
// digest of a query.
func literals(values []string) []string {
	var all []string
	for _, v := range values {
		all = append(all, "'"+strings.ReplaceAll(v, "'", "''")+"'")
	}
	return all
}

func release(records []arrow.RecordBatch) {
	for _, r := range records {
		r.Release()
	}
}

// attestedPeer answers the verified enclave behind a call; nil when the call
// reached none.
func attestedPeer(p *peer.Peer) *attls.Peer {
	info, ok := p.AuthInfo.(attls.AuthInfo)
	if !ok {
		return nil
	}
	return info.Peer
}

// queryFailure tells refusals of the query and outages apart. verified says
// that the enclave itself answered.
func queryFailure(err error, verified bool) error {
	s, ok := status.FromError(err)
	switch {
	case !ok:
		return err
	case s.Code() == codes.Unavailable && verified:
		return &unavailable{s.Message()}
	case s.Code() == codes.Unavailable:
		return fmt.Errorf("%w: %s", ErrUnreachable, s.Message())
	case s.Code() == codes.Canceled:
		return context.Canceled
	default:
		return &QueryError{Code: s.Code(), Message: s.Message()}
	}
}
