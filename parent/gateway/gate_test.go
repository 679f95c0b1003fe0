package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// hinted demands RESOURCE_EXHAUSTED with a time to wait.
func hinted(t *testing.T, err error) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != codes.ResourceExhausted {
		t.Fatalf("got %v", err)
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok && info.GetRetryDelay().AsDuration() > 0 {
			return
		}
	}
	t.Errorf("no hint in %v", s.Details())
}

// busy makes an enclave that holds every envelope until release is closed.
func (w *world) busy() (release chan struct{}) {
	release = make(chan struct{})
	w.enclave.behave(func(ctx context.Context, got []byte) (*cloisterv1.AcceptResponse, error) {
		select {
		case <-release:
			return give(got), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	w.enclave.start()
	return release
}

// fill submits envelopes that stay with the enclave, and answers how to wait
// for their receipts.
func (w *world) fill(envelopes ...[]byte) (wait func()) {
	w.t.Helper()
	var wg sync.WaitGroup
	for _, e := range envelopes {
		wg.Go(func() {
			resp, err := w.client.Submit(w.t.Context(), &cloisterv1.SubmitRequest{Envelope: e})
			if err != nil || resp.GetState() != receipted {
				w.t.Errorf("one of those inside: %v, %v", resp.GetState(), err)
			}
		})
	}
	w.eventually("all to be inside", func() bool {
		w.enclave.mu.Lock()
		defer w.enclave.mu.Unlock()
		return w.enclave.inside == len(envelopes)
	})
	return wg.Wait
}

func TestMaxSubmits(t *testing.T) {
	w := newWorld(t)
	w.config.MaxSubmits, w.config.Wait = 3, time.Minute
	release := w.busy()
	w.up()
	wait := w.fill(envelope("1"), envelope("2"), envelope("3"))
	fourth := envelope("4")
	_, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: fourth})
	hinted(t, err)
	w.holds("inbox/"+hexOf(fourth), nil)
	// Others than submits have places of their own.
	if w.ask(envelope("1")).GetState() != pending {
		t.Error("a lookup found no pending envelope")
	}
	close(release)
	wait()
	w.eventually("a free place", func() bool {
		_, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: fourth})
		return err == nil
	})
}

func TestMaxBytes(t *testing.T) {
	w := newWorld(t)
	w.config.MaxBytes, w.config.Wait = 3000, time.Minute
	release := w.busy()
	w.up()
	big := func(n byte) []byte { return bytes.Repeat([]byte{n}, 1000) }
	wait := w.fill(big(1), big(2))
	_, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: bytes.Repeat([]byte{3}, 1001)})
	hinted(t, err)
	last := w.fillMore(3, big(3))
	_, err = w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: []byte{4}})
	hinted(t, err)
	close(release)
	wait()
	last()
	w.submit(bytes.Repeat([]byte{5}, 3000), receipted)
	_, err = w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: bytes.Repeat([]byte{6}, 3001)})
	hinted(t, err)
}

// fillMore is fill when others are inside already.
func (w *world) fillMore(inside int, e []byte) (wait func()) {
	w.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := w.client.Submit(w.t.Context(), &cloisterv1.SubmitRequest{Envelope: e})
		done <- err
	}()
	w.eventually("one more to be inside", func() bool {
		w.enclave.mu.Lock()
		defer w.enclave.mu.Unlock()
		return w.enclave.inside == inside
	})
	return func() {
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

// TestGoneProducers give their places back, and their envelopes are carried.
func TestGoneProducers(t *testing.T) {
	w := newWorld(t)
	w.config.MaxSubmits, w.config.Wait = 2, time.Minute
	release := w.busy()
	w.up()
	for i := range 6 {
		ctx, leave := context.WithCancel(t.Context())
		e := envelope(fmt.Sprint(i))
		ended := make(chan error, 1)
		go func() {
			_, err := w.client.Submit(ctx, &cloisterv1.SubmitRequest{Envelope: e})
			ended <- err
		}()
		w.eventually("it to be with the enclave", func() bool { return w.enclave.seen(e) > 0 })
		leave()
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Fatalf("envelope %d: %v", i, err)
		}
	}
	close(release)
	for i := range 6 {
		w.becomes(envelope(fmt.Sprint(i)), receipted)
	}
}

func TestMaxConnections(t *testing.T) {
	w := newWorld(t)
	w.config.MaxConnections = 3
	w.up()
	if w.ask2() != codes.NotFound { // the producer's own connection is one
		t.Fatal("the first connection doesn't work")
	}
	var held []net.Conn
	for range 2 {
		held = append(held, w.raw())
	}
	over := w.raw()
	defer over.Close()
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Error("a connection over the limit was served")
	}
	for _, c := range held {
		c.Close()
	}
	w.eventually("a place for another", func() bool {
		c := w.raw()
		defer c.Close()
		// A served connection begins with the server's settings.
		_, err := c.Read(make([]byte, 1))
		return err == nil
	})
}

// ask2 answers the code of a lookup of nothing.
func (w *world) ask2() codes.Code {
	_, err := w.client.Receipt(w.t.Context(), &cloisterv1.ReceiptRequest{Digest: make([]byte, 32)})
	return status.Code(err)
}

// raw opens a connection that says the first words of HTTP/2.
func (w *world) raw() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		c.Close()
	}
	return c
}
