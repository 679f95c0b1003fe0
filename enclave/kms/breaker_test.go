package kms_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/kms"
)

// TestBreaker holds that a KMS that was away is left alone for a while, that one
// call then tries for all, and that an answer of any kind ends it.
func TestBreaker(t *testing.T) { synctest.Test(t, testBreaker) }

func testBreaker(t *testing.T) {
	s := newScript(t)
	away := code(500, "KMSInternalException")
	for i := range 3 {
		if n, err := s.decrypt(t, away); !errors.Is(err, kms.ErrUnavailable) || n != 4 {
			t.Fatalf("call %d: %v after %d requests", i, err, n)
		}
	}
	if n, err := s.decrypt(t, away); !errors.Is(err, kms.ErrUnavailable) || n != 0 {
		t.Errorf("left alone: %v after %d requests", err, n)
	}
	time.Sleep(3 * time.Second)
	if n, err := s.decrypt(t, away); !errors.Is(err, kms.ErrUnavailable) || n != 4 {
		t.Errorf("the one that tries: %v after %d requests", err, n)
	}
	if n, err := s.decrypt(t, away); !errors.Is(err, kms.ErrUnavailable) || n != 0 {
		t.Errorf("left alone again: %v after %d requests", err, n)
	}
	time.Sleep(3 * time.Second)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.client.Decrypt(gone, "arn", study(), []byte("blob")); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: %v", err)
	}
	denied := code(400, "AccessDeniedException")
	if n, err := s.decrypt(t, denied); !errors.Is(err, kms.ErrDenied) || n != 1 {
		t.Errorf("it is back: %v after %d requests", err, n)
	}
	if n, err := s.decrypt(t, away); !errors.Is(err, kms.ErrUnavailable) || n != 4 {
		t.Errorf("one failure after an answer: %v after %d requests", err, n)
	}
	if n, err := s.decrypt(t, denied); !errors.Is(err, kms.ErrDenied) || n != 1 {
		t.Errorf("a single failure doesn't trip: %v after %d requests", err, n)
	}
}

// TestBreakerTriesOnce holds that of many callers one alone tries.
func TestBreakerTriesOnce(t *testing.T) { synctest.Test(t, testBreakerTriesOnce) }

func testBreakerTriesOnce(t *testing.T) {
	s := newScript(t)
	away := code(500, "KMSInternalException")
	for range 3 {
		_, _ = s.decrypt(t, away)
	}
	time.Sleep(3 * time.Second)
	results := make(chan error, 8)
	for range cap(results) {
		go func() {
			_, err := s.client.Decrypt(t.Context(), "arn", study(), []byte("blob"))
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; !errors.Is(err, kms.ErrUnavailable) {
			t.Error(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.requests); n != 8 { // 4 of them by the last call before
		t.Errorf("%d requests of 8 callers", n-4)
	}
}
