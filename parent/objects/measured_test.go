package objects_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/metrics"
	"github.com/cloisterhq/cloister/parent/objects"
	"github.com/cloisterhq/cloister/test/exposition"
)

// failing is a directory whose disk is full.
type failing struct{ *objects.Dir }

var errDisk = errors.New("no space left on the device")

func (failing) Delete(context.Context, string) error { return errDisk }

// TestMeasured: every operation is passed on as it is and counted by how it
// ended. No name is shown.
func TestMeasured(t *testing.T) {
	r := metrics.NewRegistry()
	m := objects.Measure(failing{open(t, t.TempDir())}, r)
	const name = "inbox/canary-1"
	for what, err := range map[string]error{
		"put":       m.PutIfAbsent(ctx, name, []byte("four")),
		"put again": m.PutIfAbsent(ctx, name, []byte("four")),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := m.PutIfAbsent(ctx, name, []byte("other")); !errors.Is(err, objects.ErrExists) {
		t.Errorf("other bytes: %v", err)
	}
	if err := m.PutIfAbsent(ctx, "inbox/b", make([]byte, limits.Object+1)); !errors.Is(err, objects.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if err := m.PutIfAbsent(ctx, "../canary-2", nil); !errors.Is(err, objects.ErrName) {
		t.Errorf("a bad name: %v", err)
	}
	if got, err := m.Get(ctx, name); err != nil || string(got) != "four" {
		t.Errorf("get: %q, %v", got, err)
	}
	if _, err := m.Get(ctx, "inbox/none"); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	if names, err := m.List(ctx, "inbox/", "", 10); err != nil || len(names) != 1 {
		t.Errorf("list: %v, %v", names, err)
	}
	if entries, err := m.Entries(ctx, "inbox/"); err != nil || len(entries) != 1 {
		t.Errorf("entries: %v, %v", entries, err)
	}
	if err := m.Delete(ctx, name); !errors.Is(err, errDisk) {
		t.Errorf("delete: %v", err)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	s, err := exposition.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want               float64
		operation, outcome string
	}{
		{2, "put", "ok"}, {1, "put", "exists"}, {2, "put", "refused"}, {0, "put", "failed"}, {1, "get", "ok"}, {1, "get", "not_found"},
		{2, "list", "ok"}, {1, "delete", "failed"}, {0, "delete", "ok"},
	} {
		if got, ok := s.Value("cloister_objects_operations_total", "operation", c.operation, "outcome", c.outcome); !ok || got != c.want {
			t.Errorf("%s %s: %v, want %v", c.operation, c.outcome, got, c.want)
		}
	}
	for direction, want := range map[string]float64{"read": 4, "written": 8} {
		if got, _ := s.Value("cloister_objects_bytes_total", "direction", direction); got != want {
			t.Errorf("bytes %s: %v, want %v", direction, got, want)
		}
	}
	if n, _ := s.Value("cloister_objects_operation_seconds_count", "operation", "put"); n != 5 {
		t.Errorf("%v puts were timed", n)
	}
	if bytes.Contains(b.Bytes(), []byte("canary")) {
		t.Errorf("a name is shown:\n%s", b.String())
	}
}
