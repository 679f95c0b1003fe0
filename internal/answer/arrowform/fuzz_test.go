package arrowform_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/cloisterhq/cloister/internal/answer/arrowform"
)

// FuzzMetadata puts one value of the metadata in place and checks that whatever
// reads as an answer is written back the same: a value has one spelling.
func FuzzMetadata(f *testing.F) {
	r := record(f, whole())
	metadata := r.Schema().Metadata()
	for i, value := range metadata.Values() {
		f.Add(i, value)
	}
	f.Add(4, "-1")
	f.Add(5, "+1")
	f.Add(11, "AR==")
	f.Fuzz(func(t *testing.T, at int, value string) {
		if at < 0 || at >= metadata.Len() {
			return
		}
		values := slices.Clone(metadata.Values())
		values[at] = value
		changed := arrow.NewMetadata(metadata.Keys(), values)
		a, signature, err := arrowform.Answer(arrow.NewSchema(r.Schema().Fields(), &changed), []arrow.RecordBatch{r})
		if err != nil {
			if a != nil || signature != nil || !errors.Is(err, arrowform.ErrForm) {
				t.Fatalf("%v, %v, %v", a, signature, err)
			}
			return
		}
		again, err := arrowform.Record(a, signature)
		if err != nil {
			t.Fatalf("what was read isn't written: %v", err)
		}
		defer again.Release()
		if back := again.Schema().Metadata(); !back.Equal(changed) {
			t.Fatalf("written another way: %v", back)
		}
	})
}
