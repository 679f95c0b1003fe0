// Package nsmdev is the virtio device of a Nitro Secure Module (virtio id 33),
// before a module that answers requests on bytes. It trusts the module; of the
// guest it takes one request at a time, bounded before it is copied.
//
// The driver (Linux, drivers/misc/nsm.c) offers each request as one chain and
// the buffer for its response as the next, and looks for both behind one
// interrupt.
package nsmdev

import (
	"context"
	"fmt"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/sim/vhost"
)

// Refusals that the device answers itself, {"Error": name} in CBOR.
const (
	tooLarge = "\xa1\x65Error\x6d" + string(nsm.InputTooLarge)
	tooSmall = "\xa1\x65Error\x6e" + string(nsm.BufferTooSmall)
	broken   = "\xa1\x65Error\x6d" + string(nsm.InternalError)
)

// Device is one module's device. Like the module it does one exchange at a
// time, also across resets by the guest.
type Device struct {
	module nsm.Device
	permit chan struct{} // holds an element while an exchange runs
}

var _ vhost.Device = (*Device)(nil)

// New makes the device of a module.
func New(module nsm.Device) *Device {
	return &Device{module: module, permit: make(chan struct{}, 1)}
}

// Spec answers one queue and no configuration.
func (d *Device) Spec() vhost.Spec { return vhost.Spec{Queues: 1} }

// Run answers the driver's requests.
func (d *Device) Run(ctx context.Context, queues []*vhost.Queue) error {
	q := queues[0]
	var request, response vhost.Chain
	for {
		if err := take(ctx, q, &request); err != nil {
			return err
		}
		if request.Writable() > 0 {
			return fmt.Errorf("nsmdev: %w: a request that can be written", vhost.ErrDriver)
		}
		if err := take(ctx, q, &response); err != nil {
			return err
		}
		if response.Readable() > 0 {
			return fmt.Errorf("nsmdev: %w: no buffer for a response", vhost.ErrDriver)
		}
		answer, err := d.answer(ctx, &request)
		if err != nil {
			return err
		}
		if len(answer) > response.Writable() {
			answer = []byte(tooSmall)
		}
		if len(answer) <= response.Writable() {
			response.Put(answer)
		}
		q.Push(&request)
		q.Push(&response)
		q.Notify()
	}
}

// take waits for the next chain.
func take(ctx context.Context, q *vhost.Queue, c *vhost.Chain) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if ok, err := q.Pop(c); ok || err != nil {
			return err
		}
		if q.Arm() {
			continue
		}
		select {
		case <-ctx.Done():
		case <-q.Kicks():
		}
	}
}

// answer asks the module. An exchange may outlive ctx, but it keeps the permit
// and touches no guest memory.
func (d *Device) answer(ctx context.Context, request *vhost.Chain) ([]byte, error) {
	if request.Readable() > nsm.MaxRequest {
		return []byte(tooLarge), nil
	}
	b := make([]byte, request.Readable())
	request.Take(b)
	select {
	case d.permit <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answers := make(chan []byte, 1)
	go func() {
		response, err := d.module.Exchange(ctx, b)
		if err != nil {
			response = []byte(broken)
		}
		<-d.permit
		answers <- response
	}()
	select {
	case a := <-answers:
		return a, ctx.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
