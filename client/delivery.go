package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/client/spool"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/receipt"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// delivery carries the batches of one stream from the spool to the gateway and
// brings their receipts back. Its methods may be called at the same time.
type delivery struct {
	client  *Client
	gateway *Gateway
	spool   *spool.Spool
	stream  *spool.Stream
	info    spool.Info
	// changed is called after each change of what was sent.
	changed func(Summary)

	mu       sync.Mutex // guards what follows
	peer     *attls.Peer
	outcomes map[uint64]outcome
	waiting  map[uint64]*spool.Held // what the gateway has and gave no receipt for
	refusals map[uint64]bool        // what the gateway says the enclave refused
	totals   Summary                // without receipts and in no order, for progress
}

// newDelivery starts on a stream. peer is the verified enclave or nil.
func (c *Client) newDelivery(g *Gateway, sp *spool.Spool, st *spool.Stream, peer *attls.Peer, changed func(Summary)) *delivery {
	if changed == nil {
		changed = func(Summary) {}
	}
	return &delivery{client: c, gateway: g, spool: sp, stream: st, info: st.Info(), changed: changed, peer: peer, outcomes: map[uint64]outcome{}, waiting: map[uint64]*spool.Held{}, refusals: map[uint64]bool{}}
}

// summary counts what was sent so far.
func (d *delivery) summary() Summary {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Summary{
		Dataset: d.info.Dataset, Stream: d.info.Stream, Records: d.info.Records, Bytes: d.totals.Bytes,
		spool: d.spool, held: d.stream,
	}
	for n := range d.stream.Len() {
		if o, ok := d.outcomes[n]; ok {
			s.add(o, d.info.Told)
		}
	}
	return s
}

// note keeps what became of a batch.
func (d *delivery) note(n uint64, o outcome, sent int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.outcomes[n]; ok { // it was pending
		d.totals.Sent -= old.rows
		d.totals.Pending -= old.rows
	}
	if o.report != nil {
		delete(d.waiting, n)
	}
	d.outcomes[n] = o
	d.totals.add(o, d.info.Told)
	d.totals.Receipts = nil
	d.totals.Bytes += int64(sent)
	d.changed(d.totals)
}

// held counts a batch whose receipt the spool holds, and answers its rows. The
// receipt is checked again when there is an enclave to check it with.
func (d *delivery) held(n uint64) (rows int, err error) {
	h, err := d.stream.Held(n)
	if err != nil {
		return 0, spoolError(d.spool.Dir(), err)
	}
	d.mu.Lock()
	peer := d.peer
	d.mu.Unlock()
	o, err := d.judge(h, peer)
	if err != nil {
		return 0, mistakef("the spool's receipt for batch %d: %w; if the deployment was set up anew, give another --spool DIR", n, err)
	}
	d.note(n, o, 0)
	return h.Rows, nil
}

// hand gives one batch of the spool to the gateway, as it is.
func (d *delivery) hand(ctx context.Context, b *spool.Batch) error {
	h, err := d.mine(b)
	if err != nil {
		return err
	}
	resp, err := d.gateway.hand(ctx, b.Envelope)
	if err != nil {
		return err
	}
	return d.take(ctx, h, resp, len(b.Envelope))
}

// mine checks that a batch is this stream's, before its bytes go anywhere.
func (d *delivery) mine(b *spool.Batch) (*spool.Held, error) {
	sealed, err := envelope.Parse(b.Envelope)
	if err != nil {
		return nil, spoolError(d.spool.Dir(), fmt.Errorf("%w: batch %d of %s", spool.ErrDamaged, b.Sequence, d.stream.Dir()))
	}
	h := sealed.Header()
	if h.Deployment != d.info.Deployment || h.Dataset != d.info.Dataset || h.Producer != d.info.Producer || h.Stream != d.info.Stream || h.Sequence != b.Sequence {
		return nil, spoolError(d.spool.Dir(), fmt.Errorf("%w: batch %d of %s is of another stream", spool.ErrDamaged, b.Sequence, d.stream.Dir()))
	}
	return &spool.Held{Sequence: b.Sequence, First: b.First, Rows: b.Rows, ReportKey: b.ReportKey, Digest: sealed.Digest()}, nil
}

// load counts what the spool holds: batches with receipts, and all others as
// pending.
func (d *delivery) load() error {
	for n := range d.stream.Len() {
		if d.stream.Has(n) {
			if _, err := d.held(n); err != nil {
				return err
			}
			continue
		}
		b, err := d.batch(n)
		if err != nil {
			return err
		}
		h, err := d.mine(b)
		if err != nil {
			return err
		}
		d.wait(h, 0)
	}
	return nil
}

// look asks what became of a batch that was handed over, and hands it over
// again when the gateway doesn't know it.
func (d *delivery) look(ctx context.Context, n uint64) error {
	d.mu.Lock()
	h := d.waiting[n]
	d.mu.Unlock()
	if h == nil {
		b, err := d.batch(n)
		if err != nil {
			return err
		}
		if h, err = d.mine(b); err != nil {
			return err
		}
	}
	resp, err := d.gateway.look(ctx, h.Digest)
	if unknown := (unknownError{}); errors.As(err, &unknown) {
		b, err := d.batch(n)
		if err != nil {
			return err
		}
		return d.hand(ctx, b)
	}
	if err != nil {
		return err
	}
	return d.take(ctx, h, resp, 0)
}

// batch reads a batch of the spool.
func (d *delivery) batch(n uint64) (*spool.Batch, error) {
	b, err := d.stream.Batch(n)
	if err != nil {
		return nil, spoolError(d.spool.Dir(), err)
	}
	return b, nil
}

// take keeps the gateway's answer. A receipt is kept once it was checked; until
// then its batch is pending.
func (d *delivery) take(ctx context.Context, h *spool.Held, resp *cloisterv1.SubmitResponse, sent int) error {
	switch resp.GetState() {
	case cloisterv1.SubmitResponse_STATE_REFUSED:
		return d.refused(h, resp.GetRefusal())
	case cloisterv1.SubmitResponse_STATE_PENDING:
		d.wait(h, sent)
		return nil
	case cloisterv1.SubmitResponse_STATE_RECEIPTED:
	default:
		return errors.New("the gateway answered something else than pending, receipt or refusal")
	}
	peer := d.attested(ctx)
	if peer == nil {
		d.wait(h, sent)
		return nil
	}
	full := *h
	full.Receipt, full.Report, full.ServiceKey = resp.GetReceipt(), resp.GetReport(), peer.ServiceKey
	o, err := d.judge(&full, peer)
	if err != nil {
		return fmt.Errorf("batch %d: %w", h.Sequence, err)
	}
	if err := d.stream.Settle(&full); err != nil {
		return spoolError(d.spool.Dir(), err)
	}
	d.note(h.Sequence, o, sent)
	return nil
}

// wait keeps what a later look needs.
func (d *delivery) wait(h *spool.Held, sent int) {
	d.mu.Lock()
	d.waiting[h.Sequence] = h
	d.mu.Unlock()
	d.note(h.Sequence, outcome{rows: h.Rows}, sent)
}

// refused makes an error of the gateway's word that the enclave refused.
func (d *delivery) refused(h *spool.Held, reason string) error {
	d.mu.Lock()
	d.refusals[h.Sequence] = true
	if o, ok := d.outcomes[h.Sequence]; ok { // it was pending
		d.totals.Sent -= o.rows
		d.totals.Pending -= o.rows
		delete(d.outcomes, h.Sequence)
	}
	d.mu.Unlock()
	e := &RefusedError{Reason: reason, Stream: d.info.Stream, Sequence: h.Sequence, Rows: h.Rows, Producer: d.info.Producer, Dataset: d.info.Dataset}
	if b, err := d.stream.Batch(h.Sequence); err == nil {
		if sealed, err := envelope.Parse(b.Envelope); err == nil {
			e.Contract = sealed.Header().Contract
		}
	}
	return e
}

// attested answers the verified enclave that receipts are checked with, nil
// while it is away.
func (d *delivery) attested(ctx context.Context) *attls.Peer {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.peer == nil {
		once := *d.client
		once.Wait = 0
		if peer, err := once.Verify(ctx); err == nil && peer.ServiceKey != nil {
			d.peer = peer
		}
	}
	return d.peer
}

// judge checks receipt and report of a batch. Without an enclave the signature
// is checked with the key that it had when the receipt came.
func (d *delivery) judge(h *spool.Held, peer *attls.Peer) (outcome, error) {
	key := ed25519.PublicKey(h.ServiceKey)
	if peer != nil {
		key = peer.ServiceKey
	}
	r, err := receipt.Verify(h.Receipt, key)
	switch {
	case err != nil:
		return outcome{}, fmt.Errorf("the receipt isn't the enclave's: %w", err)
	case peer != nil && !bytes.Equal(r.Genesis[:], peer.Genesis):
		return outcome{}, errors.New("the receipt is from another state than the enclave's")
	case r.Deployment != d.info.Deployment || r.Dataset != d.info.Dataset || r.Producer != d.info.Producer || r.Stream != d.info.Stream ||
		r.Sequence != h.Sequence || r.Envelope != h.Digest || r.Report != sha256.Sum256(h.Report):
		return outcome{}, errors.New("the receipt is for another batch")
	}
	report, err := openReport(h)
	if err != nil {
		return outcome{}, err
	}
	report.Rejections = nil // the spool keeps them
	return outcome{rows: h.Rows, report: report, repeat: r.Repeat, receipt: receipted(r, h.Receipt)}, nil
}

// await asks for the receipts of what is pending until there are none or wait
// is over. Every batch is asked for at least once. A refusal doesn't keep it
// from asking for the others; it answers the first. ErrUnreachable says that
// the gateway was away in the end.
func (d *delivery) await(ctx context.Context, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	var refused *RefusedError
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := d.lookAll(ctx, &refused)
		if err != nil && !transient(err) {
			return err
		}
		if err == nil && len(d.pending()) == 0 || time.Now().Add(pause).After(deadline) {
			if err == nil && refused != nil {
				return refused
			}
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// lookAll asks once for each pending batch and keeps the first refusal.
func (d *delivery) lookAll(ctx context.Context, refused **RefusedError) error {
	for _, n := range d.pending() {
		err := d.look(ctx, n)
		var refusal *RefusedError
		switch {
		case errors.As(err, &refusal):
			if *refused == nil {
				*refused = refusal
			}
		case err != nil:
			return err
		}
	}
	return nil
}

// pending lists the batches that have neither a receipt nor a refusal.
func (d *delivery) pending() []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []uint64
	for n := range d.stream.Len() {
		if !d.stream.Has(n) && !d.refusals[n] {
			all = append(all, n)
		}
	}
	return all
}
