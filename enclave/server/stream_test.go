package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
)

// scripted answers every query with one answer.
type scripted struct {
	*deployed
	answer *answer.Answer
}

// Query answers.
func (s *scripted) Query(_ context.Context, _ *identity.Principal, text string, _ ...sql.Parameter) (*answer.Answer, []byte, error) {
	s.answer.Query = answer.QueryDigest(text)
	return s.sign(s.answer)
}

// TestBatches sends answers of many shapes to a client with gRPC's own limit of
// 4 MiB a message. Each comes in small batches, and is what was signed.
func TestBatches(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	for name, rows := range map[string][][]answer.Cell{
		"none":                  {},
		"one":                   texts(1, 1),
		"100,000 short rows":    texts(100_000, 1),
		"exactly one batch":     texts(64<<10, 1),
		"8 MiB":                 texts(8_000, 1000),
		"long rows in between":  uneven(),
		"a long row at the end": append(texts(100, 1), texts(3, 1<<20)...),
	} {
		s := &scripted{d, &answer.Answer{
			Mode: answer.ModeThreshold, Dataset: "colon", Floor: 5, Genesis: d.Genesis, Rows: rows,
			Columns: []answer.Column{{Name: "a", Type: answer.String}, {Name: "n", Type: answer.Int64}},
		}}
		d.paths.Open(nil, s)
		info, err := c.Execute(ctx, "SELECT rx, COUNT(*) FROM colon GROUP BY rx")
		if err != nil {
			t.Fatal(err)
		}
		reader, err := c.DoGet(ctx, info.GetEndpoint()[0].GetTicket())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var records []arrow.RecordBatch
		for reader.Next() {
			r := reader.RecordBatch()
			r.Retain()
			records = append(records, r)
			if r.NumRows() > 64<<10 {
				t.Errorf("%s: a batch of %d rows", name, r.NumRows())
			}
		}
		if err := reader.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, signature, err := arrowform.Answer(reader.Schema(), records)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := d.verify(got, signature); err != nil || len(got.Rows) != len(rows) {
			t.Errorf("%s: %d rows, %v", name, len(got.Rows), err)
		}
		if len(rows) > 64<<10 && len(records) < 2 {
			t.Errorf("%s: in %d batches", name, len(records))
		}
		for _, r := range records {
			r.Release()
		}
		reader.Release()
	}
}

func texts(n, width int) [][]answer.Cell {
	all := make([][]answer.Cell, n)
	for i := range all {
		all[i] = []answer.Cell{{Text: fmt.Sprintf("%0*d", width, i)}, {Int: int64(i)}}
	}
	return all
}

// uneven are rows of very different lengths.
func uneven() [][]answer.Cell {
	random := rand.New(rand.NewPCG(1, 2))
	all := texts(5000, 1)
	for range 20 {
		all[random.IntN(len(all))][0].Text = strings.Repeat("x", 1<<20)
	}
	return all
}

// TestLimit: a query over the deployment's limits says so, in constant words.
func TestLimit(t *testing.T) {
	d := deploy(t, func(c *query.Config) { c.Limits.Rows = 1 })
	ctx, c := d.client(t)
	info, err := c.Execute(ctx, "SELECT rx, COUNT(*) FROM colon GROUP BY rx")
	if err != nil {
		t.Fatal(err)
	}
	_, err = rows(ctx, c, info)
	s := status.Convert(err)
	if s.Code() != codes.ResourceExhausted || !strings.HasSuffix(s.Message(), "PQ502_LIMIT: the query needs more memory or rows than the deployment allows. "+
		"Fix: group by fewer or coarser dimensions, or filter by one.") {
		t.Errorf("%v", err)
	}
	if len(s.Details()) != 1 || s.Details()[0].(*errdetails.ErrorInfo).GetReason() != "PQ502_LIMIT" {
		t.Errorf("%v", s.Details())
	}
}
