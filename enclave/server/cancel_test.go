package server_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/sim/issuer"
)

// blocked is a query path whose queries run until they are stopped.
type blocked struct {
	*deployed
	began chan struct{}
	ended chan error
}

// Query waits for the end of its context.
func (b *blocked) Query(ctx context.Context, _ *identity.Principal, _ string, _ ...sql.Parameter) (*answer.Answer, []byte, error) {
	b.began <- struct{}{}
	<-ctx.Done()
	b.ended <- ctx.Err()
	return nil, nil, ctx.Err()
}

// block makes all queries wait from now on. They tell when they began, and with
// which error they ended.
func (d *deployed) block() (began <-chan struct{}, ended <-chan error) {
	b := &blocked{d, make(chan struct{}, 16), make(chan error, 16)}
	d.paths.Open(nil, b)
	return b.began, b.ended
}

// TestCancel: CancelFlightInfo and CancelQuery end the query of their ticket,
// for whoever asked it, and no other.
func TestCancel(t *testing.T) {
	d := deploy(t, nil)
	began, ended := d.block()
	ctx, c := d.client(t)
	token, err := d.issuer.Mint(issuer.Claims{Subject: "eve", Roles: []string{"analyst"}})
	if err != nil {
		t.Fatal(err)
	}
	eve := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	for name, cancel := range map[string]func(context.Context, *flight.FlightInfo) (bool, error){
		"CancelFlightInfo": func(ctx context.Context, info *flight.FlightInfo) (bool, error) {
			r, err := c.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
			return r.GetStatus() == flight.CancelStatusCancelled, err
		},
		"CancelQuery": func(ctx context.Context, info *flight.FlightInfo) (bool, error) {
			r, err := c.CancelQuery(ctx, info) //nolint:staticcheck // older clients have no other
			return r == flightsql.CancelResultCancelled, err
		},
	} {
		var asking sync.WaitGroup
		var infos []*flight.FlightInfo
		for range 2 { // the same text twice, by the same person
			info, err := c.Execute(ctx, "SELECT COUNT(*) FROM colon")
			if err != nil {
				t.Fatal(err)
			}
			infos = append(infos, info)
			asking.Go(func() {
				if _, err := rows(ctx, c, info); status.Code(errors.Unwrap(err)) != codes.Canceled && status.Code(err) != codes.Canceled {
					t.Errorf("%s: the query ended with %v", name, err)
				}
			})
			<-began
		}
		if done, err := cancel(eve, infos[0]); done || err != nil {
			t.Errorf("%s by somebody else: %t, %v", name, done, err)
		}
		if len(ended) > 0 {
			t.Errorf("%s by somebody else ended a query", name)
		}
		for i, info := range infos {
			if done, err := cancel(ctx, info); !done || err != nil {
				t.Errorf("%s: %t, %v", name, done, err)
			}
			// It answers when the query has ended, and the other goes on.
			if len(ended) != 1 {
				t.Errorf("%s of query %d: %d ended", name, i, len(ended))
			}
			for range len(ended) {
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if done, err := cancel(ctx, info); done || err != nil {
				t.Errorf("%s again: %t, %v", name, done, err)
			}
		}
		asking.Wait()
	}
}

// TestCancelNothing: infos that name no query cancel none.
func TestCancelNothing(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	for name, info := range map[string]*flight.FlightInfo{
		"none":            nil,
		"no endpoint":     {},
		"an empty one":    {Endpoint: []*flight.FlightEndpoint{nil, {}}},
		"garbage":         {Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: []byte{0xff}}}}},
		"another command": {Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: []byte("\n\x00")}}}},
	} {
		r, err := c.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
		if err != nil || r.GetStatus() != flight.CancelStatusNotCancellable {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}
