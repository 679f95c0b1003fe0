package client

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/cloisterhq/cloister/client/spool"
	"github.com/cloisterhq/cloister/internal/bundle"
)

// inFlight is how many batches are with the gateway at once.
const inFlight = 4

// job is one submission on its way.
type job struct {
	client     *Client
	submission Submission
	terms      terms
	dataset    *bundle.Dataset
	input      *input
	records    int
}

// check reads the whole input once: what it answers without an error can be
// sealed from the first record to the last, unless the input changes.
func (j *job) check(ctx context.Context) error {
	r, finish, err := j.input.first(ctx, func(n int64) {
		j.submission.Progress(Progress{Checked: n, Size: max(n, j.input.size), Away: j.terms.peer == nil})
	})
	if err != nil {
		return err
	}
	b, err := j.batcher(r)
	if err != nil {
		return err
	}
	for {
		if _, err := b.record(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if err := finish(); err != nil {
		return err
	}
	if j.records = b.count; j.records == 0 {
		return inputf("the input holds no records")
	}
	if j.submission.Stream == "" {
		j.submission.Stream = j.input.name()
	}
	return nil
}

func (j *job) batcher(r io.Reader) (*batcher, error) {
	records, err := newRecordReader(r, j.submission.Format, &j.dataset.Contract)
	if err != nil {
		return nil, err
	}
	return &batcher{r: records, max: batchSize(j.terms.bundle.Limits.MaxEnvelope)}, nil
}

// submit opens the stream and carries all of it.
func (j *job) submit(ctx context.Context, sp *spool.Spool) (Summary, error) {
	c := j.client
	st, err := sp.Begin(ctx, spool.Info{
		Deployment: j.terms.bundle.Deployment, Dataset: j.submission.Dataset, Producer: c.config.Producer.Name, Stream: j.submission.Stream,
		Input: j.input.name(), Format: string(j.submission.Format), Records: j.records,
	}, c.Wait)
	if err != nil {
		return Summary{}, spoolError(sp.Dir(), err)
	}
	defer st.Close()
	gateway, err := c.Gateway()
	if err != nil {
		return Summary{}, err
	}
	defer gateway.Close()
	d := c.newDelivery(gateway, sp, st, j.terms.peer, func(sum Summary) {
		sum.Records = j.records
		j.submission.Progress(Progress{Checked: j.input.size, Size: j.input.size, Summary: sum, Away: j.terms.peer == nil})
	})
	err = j.carry(ctx, d)
	if err == nil {
		wait := c.Wait
		if j.terms.peer == nil {
			wait = 0
		}
		// What the gateway has stored is pending, even if that is away now.
		if err = d.await(ctx, wait); errors.Is(err, ErrUnreachable) {
			err = nil
		}
	}
	return d.summary(), err
}

// carry sends what the spool has, then seals and sends the rest. After an
// error nothing more is begun, and what is on its way comes to its end.
func (j *job) carry(ctx context.Context, d *delivery) error {
	group, going := errgroup.WithContext(ctx)
	hand := make(chan *spool.Batch)
	group.Go(func() error {
		defer close(hand)
		return j.produce(going, d, hand)
	})
	for range inFlight {
		group.Go(func() error {
			for b := range hand {
				if err := d.hand(ctx, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// produce gives every batch of the stream without a receipt to hand: those of
// the spool first, then the ones that it seals.
func (j *job) produce(ctx context.Context, d *delivery, hand chan<- *spool.Batch) error {
	give := func(b *spool.Batch) error {
		select {
		case hand <- b:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	next := 0 // number of the next record
	for n := range d.stream.Len() {
		var rows int
		var err error
		if d.stream.Has(n) {
			rows, err = d.held(n)
		} else {
			var b *spool.Batch
			if b, err = d.batch(n); err == nil {
				rows, err = b.Rows, give(b)
			}
		}
		if err != nil {
			return err
		}
		next += rows
	}
	if next == j.records {
		return nil
	}
	return j.seal(ctx, d, next, give)
}

// seal seals the records from number next on, as the batches after those that
// the stream has.
func (j *job) seal(ctx context.Context, d *delivery, next int, give func(*spool.Batch) error) error {
	r, err := j.input.second(ctx)
	if err != nil {
		return err
	}
	b, err := j.batcher(r)
	if err != nil {
		return err
	}
	if err := b.skip(next); err != nil {
		return j.changed(err, next)
	}
	sealer, err := j.sealer(ctx)
	if err != nil {
		return err
	}
	defer sealer.Close()
	for next < j.records {
		records, err := b.batch()
		if err != nil {
			return j.changed(err, next)
		}
		n := d.stream.Len()
		sealed, err := sealer.Seal(n, records)
		if err != nil {
			return err
		}
		batch := &spool.Batch{Sequence: n, First: next, Rows: len(records), ReportKey: sealed.reportKey, Envelope: sealed.Envelope}
		if err := d.stream.Put(batch); err != nil {
			return spoolError(d.spool.Dir(), err)
		}
		if err := give(batch); err != nil {
			return err
		}
		next += len(records)
	}
	return nil
}

// sealer makes the stream's sealer.
func (j *job) sealer(ctx context.Context) (*Sealer, error) {
	s := &j.submission
	if s.Key != KeyIntake {
		return j.client.NewSealer(ctx, j.terms.bundle, s.Dataset, s.Stream)
	}
	if s.Keys == nil {
		var err error
		if s.Keys, err = j.client.FetchKeys(ctx); err != nil {
			return nil, err
		}
	}
	return j.client.NewIntakeSealer(j.terms.bundle, s.Dataset, s.Stream, s.Keys)
}

// changed says what to do about an input that isn't as it was when it was
// checked. A changed file is another stream, in which the records that were
// sent already would count again.
func (j *job) changed(err error, next int) error {
	switch {
	case errors.Is(err, io.EOF):
		err = inputf("%w", errChanged)
	case !errors.Is(err, errChanged):
		return err
	}
	if next == 0 {
		return inputf("%w; nothing was sent: submit it when it has come to rest", err)
	}
	return inputf("%w; records 0 to %d are sealed: put the input back as it was and submit it again, since a changed one is another stream in which they'd count again", err, next-1)
}
