package arrowform_test

import (
	"errors"
	"testing"

	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
)

// TestSchema: what is said before an answer is what the answer then has.
func TestSchema(t *testing.T) {
	columns := []answer.Column{
		{Name: "s", Type: answer.String}, {Name: "i", Type: answer.Int64}, {Name: "d", Type: answer.Decimal, Scale: 3},
		{Name: "b", Type: answer.Boolean}, {Name: "day", Type: answer.Date}, {Name: "at", Type: answer.Timestamp},
	}
	schema, err := arrowform.Schema(columns)
	if err != nil {
		t.Fatal(err)
	}
	record, err := arrowform.Record(&answer.Answer{Columns: columns}, make([]byte, 64))
	if err != nil {
		t.Fatal(err)
	}
	defer record.Release()
	for i, f := range record.Schema().Fields() {
		if !f.Equal(schema.Field(i)) {
			t.Errorf("%v, not %v", schema.Field(i), f)
		}
	}
	if schema.NumFields() != len(columns) || schema.Metadata().Len() > 0 {
		t.Errorf("%v", schema)
	}
	for name, bad := range map[string][]answer.Column{
		"no columns":   nil,
		"many columns": make([]answer.Column, 1025),
		"no type":      {{Name: "x"}},
		"a long scale": {{Name: "x", Type: answer.Decimal, Scale: 39}},
	} {
		if _, err := arrowform.Schema(bad); !errors.Is(err, arrowform.ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
