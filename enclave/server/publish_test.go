package server_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// keySet is a publisher of these bytes, or of an error when there are none.
type keySet []byte

// KeySet answers the bytes.
func (k keySet) KeySet() ([]byte, error) {
	if len(k) == 0 {
		return nil, errors.New(data)
	}
	return k, nil
}

// TestFetch: public keys are for anybody whom the evidence satisfies, before the
// paths are open and without a token, good or bad; nothing else is.
func TestFetch(t *testing.T) {
	e := start(t)
	conn := e.connect(t, e.Client(t, nil))
	keys := cloisterv1.NewKeysClient(conn)
	if _, err := keys.Fetch(t.Context(), &cloisterv1.FetchRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("before there are keys: %v", err)
	}
	e.paths.Publish(keySet("a key set"))
	for _, token := range []string{"", "Bearer nonsense", "Basic !"} {
		ctx := t.Context()
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
		}
		if resp, err := keys.Fetch(ctx, &cloisterv1.FetchRequest{}); err != nil || string(resp.GetKeySet()) != "a key set" {
			t.Errorf("with the token %q: %v", token, err)
		}
	}
	stream, err := flight.NewClientFromConn(conn, nil).ListActions(t.Context(), &flight.Empty{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("a query method without a token: %v", err)
	}
	e.paths.Publish(keySet(nil))
	if _, err := keys.Fetch(t.Context(), &cloisterv1.FetchRequest{}); status.Code(err) != codes.Internal || strings.Contains(err.Error(), data) {
		t.Errorf("no key set: %v", err)
	}
}
