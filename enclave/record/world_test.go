package record_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/receipt"
	"github.com/cloisterhq/cloister/internal/secret"
)

// canary stands in values and must stand in no report and no error.
const canary = "canary5d0f"

func at[T any](v T) *T { return &v }

// The fields of visits, by position.
const (
	id = iota
	name
	grade
	age
	dose
	ok
	day
	when
	note
)

// visits is a contract with every type and every rule.
func visits() *contract.Contract {
	return &contract.Contract{
		Dataset: "visits", ID: "visits", Version: "1.2.0", Floor: 10,
		Fields: []contract.Field{
			{Name: "id", Type: contract.Integer, Role: contract.Unit},
			{Name: "name", Type: contract.String, MinLength: at(2), MaxLength: at(12), Pattern: "[a-zé0-9]+"},
			{Name: "grade", Type: contract.String, Role: contract.Dimension, Required: true, Enum: []string{"A", "B"}},
			{Name: "age", Type: contract.Integer, Role: contract.Measure, Minimum: at(int64(0)), Maximum: at(int64(120))},
			{Name: "dose", Type: contract.Number, Role: contract.Measure, Scale: 2, Minimum: at(int64(-150)), Maximum: at(int64(99900))},
			{Name: "ok", Type: contract.Boolean, Enum: []string{"true"}},
			{Name: "day", Type: contract.Date, Minimum: at(int64(19000))},
			{Name: "at", Type: contract.Timestamp, Role: contract.Status},
			{Name: "note", Type: contract.String},
		},
	}
}

// good is a record that keeps all rules.
func good(n int64) columns.Record {
	return columns.Record{
		columns.Int("id", n), columns.Text("name", "ann"), columns.Text("grade", "A"), columns.Int("age", 61), columns.Int("dose", -150),
		columns.Bool("ok", true), columns.Int("day", 20000), columns.Int("at", 1_700_000_000_000_000), columns.Text("note", canary),
	}
}

// with is a good record with some cells in the place of others, or besides.
func with(n int64, cells ...columns.Cell) columns.Record {
	r := good(n)
next:
	for _, c := range cells {
		for i := range r {
			if r[i].Name == c.Name {
				r[i] = c
				continue next
			}
		}
		r = append(r, c)
	}
	return r
}

// without is a good record that lacks a column.
func without(n int64, column string) columns.Record {
	var r columns.Record
	for _, c := range good(n) {
		if c.Name != column {
			r = append(r, c)
		}
	}
	return r
}

func header() envelope.Header {
	return envelope.Header{
		Version: envelope.Version, Deployment: "colon-study", Dataset: "visits", Contract: "1.2.0", Producer: "clinic-a",
		Stream: "s", Codec: columns.Codec, Salt: [32]byte{1},
		Wrap: envelope.Wrap{Kind: envelope.WrapKMS, Key: "arn:aws:kms:eu-central-1:111122223333:key/a", Epoch: 1, Blob: []byte("blob")},
	}
}

// opened carries content through a whole envelope.
func opened(t testing.TB, h envelope.Header, rows int, content []byte) *envelope.Opened {
	t.Helper()
	dek := func() secret.Bytes { return secret.New(bytes.Repeat([]byte{7}, 32)) }
	signer := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))
	raw, _, err := envelope.Seal(h, dek(), rows, content, signer)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := envelope.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	authentic, err := sealed.Authenticate(signer.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	o, err := authentic.Open(dek())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func validator(t testing.TB, c *contract.Contract) *contract.Validator {
	t.Helper()
	v, err := contract.NewValidator(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// decode judges records by visits.
func decode(t testing.TB, records ...columns.Record) (*record.Batch, *receipt.Report) {
	t.Helper()
	return decodeBy(t, visits(), records)
}

func decodeBy(t testing.TB, c *contract.Contract, records []columns.Record) (*record.Batch, *receipt.Report) {
	t.Helper()
	content, err := columns.Encode(records)
	if err != nil {
		t.Fatal(err)
	}
	return decodeContent(t, c, columns.Codec, len(records), content)
}

// decodePacked is decodeBy with the records packed by column.
func decodePacked(t testing.TB, c *contract.Contract, records []columns.Record) (*record.Batch, *receipt.Report) {
	t.Helper()
	content, err := columns.EncodePacked(records)
	if err != nil {
		t.Fatal(err)
	}
	return decodeContent(t, c, columns.CodecPacked, len(records), content)
}

func decodeContent(t testing.TB, c *contract.Contract, codec uint8, rows int, content []byte) (*record.Batch, *receipt.Report) {
	t.Helper()
	h := header()
	h.Dataset, h.Contract, h.Codec = c.Dataset, c.Version, codec
	batch, report, err := record.Decode(opened(t, h, rows, content), validator(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return batch, report
}
