package server_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
	"github.com/cloisterhq/cloister/test/rig"
)

// study is a dataset with a column of every type and role.
func study() *contract.Contract {
	low, high, length := int64(0), int64(120), 16
	return &contract.Contract{
		Dataset: rig.Dataset, ID: "c", Version: "1.2.0", Description: "A trial.", Floor: 5, Mode: contract.Threshold,
		Fields: []contract.Field{
			{Name: "id", Type: contract.Integer, Role: contract.Unit, Required: true},
			{Name: "rx", Type: contract.String, Role: contract.Dimension, MaxLength: &length, Enum: []string{"Lev", "Obs"}, Description: "Treatment."},
			{Name: "age", Type: contract.Integer, Role: contract.Measure, Minimum: &low, Maximum: &high},
			{Name: "nodes", Type: contract.Integer, Role: contract.Dimension},
			{Name: "weight", Type: contract.Number, Role: contract.Dimension, Scale: 2},
			{Name: "seen", Type: contract.Date, Role: contract.Dimension},
			{Name: "at", Type: contract.Timestamp, Role: contract.Dimension},
			{Name: "smoker", Type: contract.Boolean, Role: contract.Dimension},
			{Name: "postcode", Type: contract.String, Role: contract.Restricted},
			{Name: "state", Type: contract.String, Role: contract.Status},
			{Name: "note", Type: contract.String, Role: contract.Hidden},
		},
	}
}

// people is how many records a deployed study has.
const people = 60

// person is one record: everything repeats every six people.
func person(i int) columns.Record {
	k := int64(i % 6)
	return columns.Record{
		columns.Int("id", int64(i)), columns.Text("rx", [...]string{"Lev", "Obs"}[k%2]), columns.Int("age", 40+k), columns.Int("nodes", k),
		columns.Int("weight", 7000+25*k), columns.Int("seen", 19000+k), columns.Int("at", 1_700_000_000_000_000+1000*k), columns.Bool("smoker", k < 3),
		columns.Text("postcode", "1"), columns.Text("state", "accepted"), columns.Text("note", data),
	}
}

// deployed is a query path as the enclave makes it, over attested TLS.
type deployed struct {
	*enclave
	*query.Runner
	desk      *genuine.Desk
	contracts []*contract.Contract
	// address is where cloister's clients would find a local proxy: plain
	// HTTP/2 that becomes attested TLS.
	address string
}

// deploy starts a study. change may alter the runner's configuration; records
// and more datasets may be given.
func deploy(t *testing.T, change func(*query.Config), more ...*contract.Contract) *deployed {
	t.Helper()
	d := &deployed{enclave: start(t), contracts: append([]*contract.Contract{study()}, more...)}
	var err error
	if d.desk, err = genuine.NewDesk(t.Context()); err != nil {
		t.Fatal(err)
	}
	catalog, err := genuine.NewCatalog(d.contracts...)
	if err != nil {
		t.Fatal(err)
	}
	data := store.New(d.contracts)
	var records []columns.Record
	for i := range people {
		records = append(records, person(i))
	}
	fill(t, data, d.contracts[0], records)
	config := query.Config{
		Catalog: catalog, Store: data, Gate: d.desk.Gate, Limits: exec.Limits{Rows: 1000, Memory: 8 << 20}, Timeout: time.Minute,
	}
	if change != nil {
		change(&config)
	}
	d.Runner = query.New(config)
	d.paths.Open(nil, d)
	d.proxy(t)
	return d
}

func fill(t *testing.T, data *store.Store, c *contract.Contract, records []columns.Record) {
	t.Helper()
	b, err := genuine.Batch(c, records)
	if err != nil {
		t.Fatal(err)
	}
	if err := data.Append(b); err != nil {
		t.Fatal(err)
	}
}

// Query answers as the enclave does.
func (d *deployed) Query(ctx context.Context, who *identity.Principal, text string, bound ...sql.Parameter) (*answer.Answer, []byte, error) {
	released, err := d.Run(ctx, who, text, bound...)
	if err != nil {
		return nil, nil, err
	}
	a := released.Answer()
	a.Genesis, a.Query = d.Genesis, answer.QueryDigest(text, sql.Literals(bound)...)
	return d.sign(a)
}

// Tables answers as the enclave does.
func (d *deployed) Tables(who *identity.Principal) []*contract.Contract {
	return slices.DeleteFunc(slices.Clone(d.contracts), func(c *contract.Contract) bool { return who.May(identity.Query, c.Dataset) != nil })
}

// verify checks an answer's signature by the service key.
func (d *deployed) verify(a *answer.Answer, signature []byte) error {
	return answer.Verify(a, signature, d.Service.Public().(ed25519.PublicKey))
}

// outcomes are the audited decisions so far.
func (d *deployed) outcomes(t *testing.T) []audit.Outcome {
	t.Helper()
	records, err := d.desk.Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []audit.Outcome
	for _, r := range records {
		all = append(all, r.Entry.Outcome)
	}
	return all
}

// proxy is the smallest local proxy: it verifies the enclave for every
// connection, and carries bytes.
func (d *deployed) proxy(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.address = l.Addr().String()
	var open sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	config := d.Client(t, nil)
	open.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { d.carry(ctx, near, config) })
		}
	})
	t.Cleanup(func() { stop(); l.Close(); open.Wait() })
}

func (d *deployed) carry(ctx context.Context, near net.Conn, config attls.Config) {
	defer near.Close()
	defer context.AfterFunc(ctx, func() { near.Close() })()
	raw, err := d.dial(ctx, "")
	if err != nil {
		return
	}
	far, _, err := attls.Dial(ctx, raw, config)
	if err != nil {
		raw.Close()
		return
	}
	defer far.Close()
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(near, far); near.Close() })
	_, _ = io.Copy(far, near)
	far.Close()
	back.Wait()
}

// client is a Flight SQL client at the proxy with a good token.
func (d *deployed) client(t *testing.T) (context.Context, *flightsql.Client) {
	t.Helper()
	c, err := flightsql.NewClient(d.address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", d.bearer(t)), c
}

// rows reads everything behind an info, each row as its JSON-like text.
func rows(ctx context.Context, c *flightsql.Client, info *flight.FlightInfo) ([]string, error) {
	var all []string
	for _, e := range info.GetEndpoint() {
		reader, err := c.DoGet(ctx, e.GetTicket())
		if err != nil {
			return nil, err
		}
		defer reader.Release()
		for reader.Next() {
			r := reader.RecordBatch()
			for i := range int(r.NumRows()) {
				line := ""
				for k := range int(r.NumCols()) {
					value := "NULL"
					if column := r.Column(k); !column.IsNull(i) {
						value = column.ValueStr(i)
					}
					line += fmt.Sprintf("%s|", value)
				}
				all = append(all, line)
			}
		}
		if err := reader.Err(); err != nil {
			return nil, err
		}
	}
	return all, nil
}
