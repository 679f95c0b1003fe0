package client_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/test/rig"
)

// small cuts batches so small that a few records make several.
func small(b *bundle.Bundle) { b.Limits.MaxEnvelope = 9 << 10 }

func TestSubmit(t *testing.T) {
	s := newStudy(t, small)
	c := s.producer(20*time.Second, nil)
	text := csvOf(100)
	sum, err := c.Submit(t.Context(), submission(text))
	check(t, err)
	if got := of(sum); got != (totals{100, 90, 10, 0, 0}) || s.counted.Load() != 90 {
		t.Errorf("%+v, %d counted", got, s.counted.Load())
	}
	if len(sum.Receipts) < 3 || !sum.Complete() || !strings.HasPrefix(sum.Stream, "sha256:") {
		t.Errorf("%d receipts, complete %t, stream %s", len(sum.Receipts), sum.Complete(), sum.Stream)
	}
	for i, r := range sum.Receipts {
		if r.Sequence != uint64(i) || r.Repeat || len(r.Receipt) == 0 {
			t.Errorf("receipt %d: %+v", i, r)
		}
	}
	if got := rejected(t, &sum); !slices.Equal(got, everyTenth(100)) {
		t.Errorf("rejected %v", got)
	}

	// As long as nobody has seen the totals, they're told again.
	again, err := c.Submit(t.Context(), submission(text))
	check(t, err)
	if of(again) != of(sum) {
		t.Errorf("untold: %+v", of(again))
	}
	check(t, again.Told(t.Context()))
	again, err = c.Submit(t.Context(), submission(text))
	check(t, err)
	if got := of(again); got != (totals{100, 0, 10, 0, 90}) || s.counted.Load() != 90 {
		t.Errorf("told: %+v, %d counted", got, s.counted.Load())
	}
	if got := rejected(t, &again); !slices.Equal(got, everyTenth(100)) {
		t.Errorf("rejected %v", got)
	}
}

// TestLostSpool: without a spool the same input is sealed anew, and the enclave
// recognises it.
func TestLostSpool(t *testing.T) {
	s := newStudy(t, small)
	for i, want := range []totals{{100, 90, 10, 0, 0}, {100, 0, 10, 0, 90}} {
		sum, err := s.producer(20*time.Second, nil).Submit(t.Context(), submission(csvOf(100)))
		check(t, err)
		if of(sum) != want || s.counted.Load() != 90 {
			t.Errorf("run %d: %+v, %d counted", i, of(sum), s.counted.Load())
		}
		check(t, os.RemoveAll(s.file("spool")))
	}
}

// TestInterrupted lets each batch in turn fail on its way back, as when the
// producer is killed before it sees a receipt, and goes on with a new client.
func TestInterrupted(t *testing.T) {
	s := newStudy(t, small)
	text := csvOf(100)
	seen := map[string]map[[32]byte]bool{}
	record := func(raw []byte) error {
		sealed, err := envelope.Parse(raw)
		if err != nil {
			return err
		}
		h := sealed.Header()
		name := h.Stream + "/" + string(rune('0'+h.Sequence))
		s.mu.Lock()
		defer s.mu.Unlock()
		if seen[name] == nil {
			seen[name] = map[[32]byte]bool{}
		}
		seen[name][sha256.Sum256(raw)] = true
		return nil
	}
	s.accept.Store(&record)
	var last client.Summary
	for run := 1; ; run++ {
		ctx, cancel := context.WithCancel(t.Context())
		job := submission(text)
		job.Progress = func(p client.Progress) {
			if p.Summary.Accepted > 20*run {
				cancel()
			}
		}
		sum, err := s.producer(20*time.Second, nil).Submit(ctx, job)
		cancel()
		if err == nil {
			last = sum
			break
		}
		if !errors.Is(err, context.Canceled) || run > 20 {
			t.Fatalf("run %d: %v", run, err)
		}
		if sum.Sent >= 100 && sum.Pending == 0 {
			t.Errorf("run %d was interrupted and sent all: %+v", run, of(sum))
		}
	}
	if got := of(last); got != (totals{100, 90, 10, 0, 0}) || s.counted.Load() != 90 {
		t.Errorf("%+v, %d counted", got, s.counted.Load())
	}
	if got := rejected(t, &last); !slices.Equal(got, everyTenth(100)) {
		t.Errorf("rejected %v", got)
	}
	for name, digests := range seen {
		if len(digests) != 1 {
			t.Errorf("%s was sealed %d times", name, len(digests))
		}
	}
	if len(seen) < 3 {
		t.Errorf("only %d batches", len(seen))
	}
}

// TestAway: sealed under the pinned bundle, pending at the gateway, fetched
// later.
func TestAway(t *testing.T) {
	s := newStudy(t, small)
	s.leave()
	text := csvOf(100)
	away := false
	job := submission(text)
	job.Progress = func(p client.Progress) { away = away || p.Away }
	c := s.producer(0, nil)
	sum, err := c.Submit(t.Context(), job)
	check(t, err)
	if got := of(sum); got != (totals{100, 0, 0, 100, 0}) || !away || sum.Complete() {
		t.Errorf("%+v, away %t", got, away)
	}
	sums, err := c.Receipts(t.Context(), "")
	check(t, err)
	if len(sums) != 1 || of(sums[0]) != (totals{100, 0, 0, 100, 0}) {
		t.Errorf("%+v", sums)
	}
	s.away.Store(false)
	c = s.producer(20*time.Second, nil)
	sums, err = c.Receipts(t.Context(), "")
	check(t, err)
	if len(sums) != 1 || of(sums[0]) != (totals{100, 90, 10, 0, 0}) || sums[0].Stream != sum.Stream || sums[0].Dataset != rig.Dataset {
		t.Fatalf("%+v", sums)
	}
	if got := rejected(t, &sums[0]); !slices.Equal(got, everyTenth(100)) {
		t.Errorf("rejected %v", got)
	}
	check(t, sums[0].Told(t.Context()))
	if sums, err = c.Receipts(t.Context(), ""); err != nil || len(sums) != 0 {
		t.Errorf("nothing waits: %+v, %v", sums, err)
	}
	if sums, err = c.Receipts(t.Context(), sum.Stream); err != nil || len(sums) != 1 || of(sums[0]) != (totals{100, 0, 10, 0, 90}) {
		t.Errorf("by name: %+v, %v", sums, err)
	}
	if _, err = c.Receipts(t.Context(), "nothing"); !errors.Is(err, client.ErrUsage) {
		t.Errorf("another name: %v", err)
	}
	again, err := c.Submit(t.Context(), submission(text))
	check(t, err)
	if got := of(again); got != (totals{100, 0, 10, 0, 90}) || s.counted.Load() != 90 {
		t.Errorf("%+v, %d counted", got, s.counted.Load())
	}
}

// TestGatewayAway: what is sealed stays, is handed over later as it is, and
// needs no KMS for that.
func TestGatewayAway(t *testing.T) {
	s := newStudy(t, nil)
	s.closeGateway()
	text := csvOf(100)
	sum, err := s.producer(0, nil).Submit(t.Context(), submission(text))
	if !errors.Is(err, client.ErrUnreachable) || sum.Sent != 0 || !strings.Contains(err.Error(), s.front) {
		t.Fatalf("%+v: %v", of(sum), err)
	}
	if _, err := s.producer(0, nil).Receipts(t.Context(), ""); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("receipts: %v", err)
	}
	if files := sealedFiles(t, s); len(files) != 1 {
		t.Fatalf("sealed before the gateway was asked: %v", files)
	}
	s.openGateway()
	sums, err := s.producer(20*time.Second, func(c *client.Config) { c.KMS = client.KMS{} }).Receipts(t.Context(), "")
	check(t, err)
	if len(sums) != 1 || of(sums[0]) != (totals{100, 90, 10, 0, 0}) {
		t.Errorf("%+v", sums)
	}
}

// sealedFiles are the sealed batches of the spool.
func sealedFiles(t *testing.T, s *study) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.file("spool"), "*", "sealed", "*"))
	check(t, err)
	return files
}

func TestKMSAway(t *testing.T) {
	s := newStudy(t, nil)
	s.kms.Close()
	_, err := s.producer(0, nil).Submit(t.Context(), submission(csvOf(10)))
	if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), "KMS") {
		t.Errorf("%v", err)
	}
}

// TestNotEntitled: what the enclave would refuse isn't sealed.
func TestNotEntitled(t *testing.T) {
	for name, c := range map[string]struct {
		bundle  func(*bundle.Bundle)
		context func(*client.Config)
		want    string
	}{
		"another producer": {nil, func(c *client.Config) { c.Producer.Name = "clinic-b" }, "producer clinic-b isn't in the bundle of deployment colon-study: have it registered there with key ed25519:"},
		"another key":      {func(b *bundle.Bundle) { b.Producers[0].Key = make([]byte, 32) }, nil, "producer.key isn't the one that deployment colon-study knows for producer clinic-a"},
		"retired":          {func(b *bundle.Bundle) { b.Producers[0].Retired = true }, nil, "producer clinic-a is retired"},
	} {
		s := newStudy(t, c.bundle)
		_, err := s.producer(0, c.context).Submit(t.Context(), submission(csvOf(10)))
		var refused *client.NotEntitledError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if files := sealedFiles(t, s); len(files) != 0 {
			t.Errorf("%s: sealed %v", name, files)
		}
	}
}

// TestMistakes are the caller's, and cost nothing.
func TestMistakes(t *testing.T) {
	s := newStudy(t, nil)
	s.write("other.key", []byte("not a key"))
	for name, c := range map[string]struct {
		context func(*client.Config)
		job     func(*client.Submission)
		want    string
	}{
		"unknown dataset": {nil, func(j *client.Submission) { j.Dataset = "nothing" }, "no such dataset"},
		"unknown format":  {nil, func(j *client.Submission) { j.Format = "xml" }, "unknown format"},
		"stream of words": {nil, func(j *client.Submission) { j.Stream = "a b" }, "a stream's name"},
		"stream quoted":   {nil, func(j *client.Submission) { j.Stream = "`" }, "a stream's name"},
		"stream too long": {nil, func(j *client.Submission) { j.Stream = strings.Repeat("x", 129) }, "a stream's name"},
		"no key file":     {func(c *client.Config) { c.Producer.KeyFile = "missing.key" }, nil, "missing.key"},
		"not a key":       {func(c *client.Config) { c.Producer.KeyFile = "other.key" }, nil, "not a PEM file"},
		"no producer":     {func(c *client.Config) { c.Producer = client.Producer{} }, nil, "names no producer"},
		"no gateway":      {func(c *client.Config) { c.Gateway = "" }, nil, "names no gateway"},
		"no credentials":  {func(c *client.Config) { c.KMS.CredentialsFile = "missing.json" }, nil, "missing.json"},
		"spool is a file": {func(c *client.Config) { c.Spool = "root.pem" }, nil, "root.pem"},
		"no records":      {nil, func(j *client.Submission) { j.Input = strings.NewReader("id,rx,age\n") }, "no records"},
	} {
		job := submission(csvOf(10))
		if c.job != nil {
			c.job(&job)
		}
		_, err := s.producer(0, c.context).Submit(t.Context(), job)
		if !errors.Is(err, client.ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.counted.Load() != 0 || len(sealedFiles(t, s)) != 0 {
		t.Error("something was sealed or sent")
	}
}

func TestNamedStream(t *testing.T) {
	s := newStudy(t, nil)
	c := s.producer(20*time.Second, nil)
	job := submission(csvOf(10))
	job.Stream = "visits-1"
	_, err := c.Submit(t.Context(), job)
	check(t, err)
	job = submission(csvOf(20))
	job.Stream = "visits-1"
	if _, err := c.Submit(t.Context(), job); !errors.Is(err, client.ErrUsage) || !strings.Contains(err.Error(), "--stream") {
		t.Errorf("another input: %v", err)
	}
	job.Input, job.Stream = strings.NewReader(csvOf(20)), "visits-2"
	sum, err := c.Submit(t.Context(), job)
	check(t, err)
	if of(sum) != (totals{20, 18, 2, 0, 0}) {
		t.Errorf("%+v", of(sum))
	}
}

// TestRefused: the enclave's refusal names the batch and what to do, now and
// whenever it is asked for again.
func TestRefused(t *testing.T) {
	s := newStudy(t, nil)
	refuse := func([]byte) error { return &ingest.Refusal{Reason: ingest.ReasonContract} }
	s.accept.Store(&refuse)
	c := s.producer(0, nil)
	_, err := c.Submit(t.Context(), submission(csvOf(10)))
	var refused *client.RefusedError
	if !errors.As(err, &refused) || refused.Sequence != 0 || refused.Rows != 10 || !strings.Contains(err.Error(), "1.0.0") || !strings.Contains(err.Error(), "take the new bundle") {
		t.Fatalf("%v", err)
	}
	s.accept.Store(nil)
	if _, err = c.Submit(t.Context(), submission(csvOf(10))); !errors.As(err, &refused) {
		t.Errorf("again: %v", err)
	}
	sums, err := c.Receipts(t.Context(), "")
	if !errors.As(err, &refused) || len(sums) != 1 || sums[0].Sent != 0 {
		t.Errorf("receipts: %+v, %v", sums, err)
	}
	job := submission(csvOf(10))
	job.Stream = "second"
	sum, err := c.Submit(t.Context(), job)
	check(t, err)
	if of(sum) != (totals{10, 9, 1, 0, 0}) {
		t.Errorf("another stream: %+v", of(sum))
	}
}

// TestReasons: every reason of the enclave has its own advice or none is
// needed, and each advice is for a reason that there is.
func TestReasons(t *testing.T) {
	general := (&client.RefusedError{Reason: "whatever"}).Error()
	general = general[strings.Index(general, ";"):]
	for reason, special := range map[string]bool{
		ingest.ReasonProducer: true, ingest.ReasonRetired: true, ingest.ReasonSignature: true, ingest.ReasonRight: true,
		ingest.ReasonDeployment: true, ingest.ReasonContract: true, ingest.ReasonKey: true, ingest.ReasonConflict: true,
		ingest.ReasonSize: false, ingest.ReasonMalformed: false, ingest.ReasonOpen: false, ingest.ReasonContent: false,
	} {
		text := (&client.RefusedError{Reason: reason}).Error()
		if !strings.Contains(text, reason) || strings.HasSuffix(text, general) == special {
			t.Errorf("%s", text)
		}
	}
}

// TestSpoolOfAnotherState: receipts of a state that is gone don't count.
func TestSpoolOfAnotherState(t *testing.T) {
	old := newStudy(t, nil)
	_, err := old.producer(20*time.Second, nil).Submit(t.Context(), submission(csvOf(10)))
	check(t, err)
	s := newStudy(t, nil)
	_, err = s.producer(0, func(c *client.Config) { c.Spool = old.file("spool") }).Submit(t.Context(), submission(csvOf(10)))
	if !errors.Is(err, client.ErrUsage) || !strings.Contains(err.Error(), "--spool") {
		t.Errorf("%v", err)
	}
}

// TestBusy: two processes never work on one stream.
func TestBusy(t *testing.T) {
	s := newStudy(t, nil)
	inside, leave := make(chan struct{}), make(chan struct{})
	wait := func([]byte) error {
		close(inside)
		<-leave
		return nil
	}
	s.accept.Store(&wait)
	done := make(chan error, 1)
	go func() {
		_, err := s.producer(20*time.Second, nil).Submit(t.Context(), submission(csvOf(10)))
		done <- err
	}()
	<-inside
	s.accept.Store(nil)
	c, err := client.New(s.config(nil))
	check(t, err)
	c.Wait = 0
	if _, err := c.Submit(t.Context(), submission(csvOf(10))); !errors.Is(err, client.ErrUsage) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%v", err)
	}
	if _, err := c.Receipts(t.Context(), ""); !errors.Is(err, client.ErrUsage) {
		t.Errorf("%v", err)
	}
	close(leave)
	check(t, <-done)
}

// TestBothCodecs: few records and many go in the codec that suits them, and the
// enclave judges them alike.
func TestBothCodecs(t *testing.T) {
	s := newStudy(t, nil)
	var codec atomic.Int32
	look := func(raw []byte) error {
		sealed, err := envelope.Parse(raw)
		if err == nil {
			codec.Store(int32(sealed.Header().Codec))
		}
		return err
	}
	s.accept.Store(&look)
	counted := 0
	for _, c := range []struct{ rows, accepted, codec int }{{60, 54, columns.Codec}, {1000, 900, columns.CodecPacked}} {
		sum, err := s.producer(20*time.Second, nil).Submit(t.Context(), submission(csvOf(c.rows)))
		check(t, err)
		counted += c.accepted
		if got := of(sum); got != (totals{c.rows, c.accepted, c.rows - c.accepted, 0, 0}) || s.counted.Load() != int64(counted) {
			t.Errorf("%+v, %d counted", got, s.counted.Load())
		}
		if got := rejected(t, &sum); !slices.Equal(got, everyTenth(c.rows)) {
			t.Errorf("rejected %v", got)
		}
		if int(codec.Load()) != c.codec {
			t.Errorf("%d records went in codec %d", c.rows, codec.Load())
		}
	}
}
