// Package nsm is the attester's side: a client of the Nitro Secure Module, the
// device of an enclave that holds its platform configuration registers and
// signs attestation documents. It trusts the device for what the answers mean
// and not for their form: those are bounded, strictly read, and belong to the
// request or are refused.
//
// Requests and responses are those of the Nitro Secure Module API
// (aws/aws-nitro-enclaves-nsm-api, src/api): one CBOR item each, an enum as
// Rust's serde writes it.
package nsm

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

const (
	// MaxRequest is the longest request that the driver takes, in bytes.
	MaxRequest = 0x1000
	// MaxResponse is the longest response, in bytes. The driver cuts off what
	// doesn't fit into the caller's buffer and says nothing.
	MaxResponse = 0x3000
	// MaxField is the longest user_data, nonce and public_key, in bytes.
	MaxField = 1024
	// Wait is how long the driver waits for the module, and how long a call of
	// [Client] lasts at most, the wait for other calls included.
	Wait = 120 * time.Second
)

// Device carries one request to a Nitro Secure Module and its response back,
// as /dev/nsm does. A module that refuses a request says so in a response, not
// in an error.
//
// Client calls Exchange one at a time. An exchange that has begun may ignore
// ctx, but it must end by itself.
type Device interface {
	Exchange(ctx context.Context, request []byte) (response []byte, err error)
}

// Client speaks to one device. It is safe for concurrent use: since the module
// is serial, one exchange runs at a time and the other callers wait, each for
// as long as its context lasts.
//
// A call whose context ends during the exchange returns at once, but what it
// asked for may still happen, and the next exchange begins only when this one
// is over.
type Client struct {
	device Device
	permit chan struct{} // holds an element while an exchange runs
}

// NewClient makes the client of a device. All use of the device should go
// through one client.
func NewClient(device Device) *Client {
	return &Client{device: device, permit: make(chan struct{}, 1)}
}

// exchange runs one exchange on its own goroutine, which keeps the permit until
// the device has answered, whether or not the caller still waits.
func (c *Client) exchange(ctx context.Context, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	select {
	case c.permit <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil { // both were ready
		<-c.permit
		return nil, err
	}
	type answer struct {
		response []byte
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		response, err := c.device.Exchange(ctx, request)
		<-c.permit
		answers <- answer{response, err}
	}()
	select {
	case a := <-answers:
		if errors.Is(a.err, syscall.EMSGSIZE) {
			return nil, fmt.Errorf("%w: %w", InputTooLarge, a.err)
		}
		return a.response, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
