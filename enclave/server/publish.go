package server

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// Publisher answers the signed key set that producers seal under.
type Publisher interface {
	KeySet() ([]byte, error)
}

// published is a Publisher that is there.
type published struct{ Publisher }

// publicKeys gives public keys to anybody: a producer has no token. It is the one
// service on attested TLS that the door lets everybody to.
type publicKeys struct {
	cloisterv1.UnsafeKeysServer
	paths *Paths
}

// Fetch answers the signed key set once the state is open.
func (s *publicKeys) Fetch(context.Context, *cloisterv1.FetchRequest) (*cloisterv1.FetchResponse, error) {
	from := s.paths.keys.Load()
	if from == nil {
		return nil, errLocked
	}
	set, err := from.KeySet()
	if err != nil {
		return nil, status.Errorf(codes.Internal, "no key set, reference %s", reference())
	}
	return &cloisterv1.FetchResponse{KeySet: set}, nil
}
