package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/client/spool"
)

// Receipts fetches and checks the receipts of batches that were handed over
// earlier, or hands those over again that the gateway doesn't know, until none
// is pending or Wait is over. It answers the streams that had something to
// tell: those whose final totals nobody has seen, or the one that is named.
//
// One stream's error doesn't keep the others from being looked at; errors.Is
// finds each of them in what it answers. A gateway that can't be reached ends
// it, with the totals of the streams as they are known.
func (c *Client) Receipts(ctx context.Context, stream string) ([]Summary, error) {
	sp, err := c.spool()
	if err != nil {
		return nil, err
	}
	ids, failed := c.untold(sp, stream)
	gateway, err := c.Gateway()
	if err != nil {
		return nil, err
	}
	defer gateway.Close()
	deadline := time.Now().Add(c.Wait)
	var all []Summary
	for _, id := range ids {
		sum, err := c.collect(ctx, sp, gateway, id, time.Until(deadline))
		if sum != nil {
			all = append(all, *sum)
		}
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		if failed = errors.Join(failed, err); errors.Is(err, ErrUnreachable) {
			break
		}
	}
	slices.SortStableFunc(all, func(a, b Summary) int { return strings.Compare(a.Dataset+" "+a.Stream, b.Dataset+" "+b.Stream) })
	return all, failed
}

// untold lists the streams that Receipts looks at. An error doesn't mean that
// there are none.
func (c *Client) untold(sp *spool.Spool, stream string) (chosen []string, failed error) {
	ids, err := sp.Streams()
	if err != nil {
		return nil, spoolError(sp.Dir(), err)
	}
	for _, id := range ids {
		info, err := sp.Peek(id)
		switch {
		case err != nil:
			failed = errors.Join(failed, spoolError(sp.Dir(), err))
		case stream == "" && !info.Told, stream != "" && info.Stream == stream:
			chosen = append(chosen, id)
		}
	}
	if stream != "" && len(chosen) == 0 && failed == nil {
		failed = mistakef("the spool in %s has no stream of that name", sp.Dir())
	}
	return chosen, failed
}

// collect looks at one stream.
func (c *Client) collect(ctx context.Context, sp *spool.Spool, g *Gateway, id string, wait time.Duration) (*Summary, error) {
	st, err := sp.Resume(ctx, id)
	if err != nil {
		return nil, spoolError(sp.Dir(), err)
	}
	defer st.Close()
	d := c.newDelivery(g, sp, st, nil, nil)
	if err := d.load(); err != nil {
		return nil, err
	}
	err = d.await(ctx, wait)
	sum := d.summary()
	return &sum, err
}
