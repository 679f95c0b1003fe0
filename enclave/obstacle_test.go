package enclave_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloisterhq/cloister/enclave"
	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/host"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/enclave/state"
)

// planted stands in errors and must be in no reason.
const planted = "canary-61fd"

func never(error) bool { return false }

// TestObstacles: whatever is in the way is shown in constant words while it is
// waited for, and is gone when it is over.
func TestObstacles(t *testing.T) {
	for _, tt := range []struct {
		err     error
		phase   server.Phase
		reason  string
		passing bool
	}{
		{kms.ErrDenied, server.Refused, "the key policy doesn't name this image with this bundle", true},
		{kms.ErrCiphertext, server.Refused, "KMS can't open a stored data key: it is damaged, or another KMS key's", true},
		{kms.ErrRefused, server.Refused, "KMS refuses a key: it is disabled, deleted or unknown, or KMS doesn't take this enclave's evidence", true},
		{kms.ErrAnswer, server.Waiting, "KMS's answers can't be used", true},
		{kms.ErrUnavailable, server.Waiting, "KMS doesn't answer", true},
		{host.ErrUnavailable, server.Waiting, "the parent's store doesn't answer", true},
		{state.ErrUnsettled, server.Waiting, "KMS or the parent's store doesn't answer", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			paths, said := server.NewPaths(), []enclave.Phrase{}
			err := fmt.Errorf("%s: %w", planted, tt.err)
			calls := 0
			got := enclave.Persist(t.Context(), paths, func(p enclave.Phrase) { said = append(said, p) }, func() error {
				phase, reason := paths.Phase()
				switch calls++; {
				case calls == 1 && (phase != server.Replaying || reason != ""):
					t.Errorf("it begins as %s: %s", phase, reason)
				case calls > 1 && (phase != tt.phase || reason != tt.reason):
					t.Errorf("%v: %s: %s", tt.err, phase, reason)
				}
				if calls < 4 {
					return err
				}
				return nil
			}, never)
			if got != nil || calls != 4 {
				t.Errorf("%v: %v after %d calls", tt.err, got, calls)
			}
			if refused := slices.Contains(said, enclave.SayRefused); refused != (tt.phase == server.Refused) {
				t.Errorf("%v: it says %q", tt.err, said)
			}
		})
		if got := enclave.Passing(fmt.Errorf("x: %w", tt.err)); got != tt.passing {
			t.Errorf("%v passes: %t", tt.err, got)
		}
	}
}

// TestFinal errors and the end of a context aren't waited for.
func TestFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paths, quiet := server.NewPaths(), func(enclave.Phrase) {}
		calls := 0
		err := enclave.Persist(t.Context(), paths, quiet, func() error { calls++; return state.ErrCorrupt },
			func(err error) bool { return errors.Is(err, state.ErrCorrupt) })
		if !errors.Is(err, state.ErrCorrupt) || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err = enclave.Persist(ctx, paths, quiet, func() error {
			if calls++; calls == 3 {
				cancel()
			}
			return kms.ErrUnavailable
		}, never)
		if err == nil || calls != 3 {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
}

// TestFailures have one reason each, which holds nothing of the error.
func TestFailures(t *testing.T) {
	seen := map[string]bool{}
	for _, err := range []error{ingest.ErrSuccession, ingest.ErrReplay, state.ErrNotFound, state.ErrCorrupt, audit.ErrCorrupt, audit.ErrFork, errors.New("another")} {
		reason := enclave.Failure(fmt.Errorf("%s: %w", planted, err))
		if reason == "" || seen[reason] || strings.Contains(reason, planted) {
			t.Errorf("%v: %q", err, reason)
		}
		if seen[reason] = true; enclave.Passing(err) {
			t.Errorf("%v is waited for", err)
		}
	}
}
