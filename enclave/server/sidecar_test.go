package server_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client/sidecar"
	"github.com/cloisterhq/cloister/internal/attls"
)

// analyst is the enclave as an analyst's machine reaches it.
type analyst struct {
	*deployed
	config attls.Config
	token  string
}

// Dial connects and verifies.
func (a *analyst) Dial(ctx context.Context) (net.Conn, *attls.Peer, error) {
	conn, err := a.dial(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	return attls.Dial(ctx, conn, a.config)
}

// Bearer answers the token.
func (a *analyst) Bearer() (string, time.Time, error) { return a.token, time.Time{}, nil }

// sidecar starts the proxy of `cloister connect` and answers its address and
// password.
func (d *deployed) sidecar(t *testing.T) (address, password string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secret := sidecar.NewPassword()
	p := sidecar.New(&analyst{d, d.Client(t, nil), strings.TrimPrefix(d.bearer(t), "Bearer ")}, sidecar.Options{})
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := p.Serve(ctx, l, secret); err != nil {
			t.Errorf("the proxy ended: %v", err)
		}
	})
	t.Cleanup(func() { stop(); serving.Wait(); p.Close() })
	return l.Addr().String(), string(secret.Expose())
}

// TestSidecar runs the stock database/sql driver through the proxy of `cloister
// connect`: parameters, refusals word for word, several at once, cancelling.
func TestSidecar(t *testing.T) {
	d := deploy(t, nil)
	address, password := d.sidecar(t)
	d.address = address
	db := d.open(t, url.UserPassword("anybody", password))
	const text = "SELECT rx, COUNT(*) FROM colon WHERE nodes = ? GROUP BY rx"
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			nodes := int64(i % 6)
			want := []string{[...]string{"Lev", "Obs"}[nodes%2] + " 10"}
			if got, err := pairs(db.QueryContext(t.Context(), text, nodes)); err != nil || !slices.Equal(got, want) {
				t.Errorf("%d nodes: %v, %v", nodes, got, err)
			}
		})
	}
	all.Wait()
	_, err := pairs(db.QueryContext(t.Context(), "SELECT postcode, COUNT(*) FROM colon GROUP BY postcode"))
	if err == nil || !strings.Contains(err.Error(), "InvalidArgument desc = PQ203_COLUMN_RESTRICTED at 7..15: this column is restricted. Fix: leave it out.") {
		t.Errorf("%v", err)
	}
	began, ended := d.block()
	ctx, cancel := context.WithCancel(t.Context())
	all.Go(func() {
		if got, err := pairs(db.QueryContext(ctx, text, int64(1))); err == nil {
			t.Errorf("cancelled: %v", got)
		}
	})
	<-began
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the query ended with %v", err)
	}
	all.Wait()
}
