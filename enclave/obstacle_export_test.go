package enclave

import (
	"context"

	"github.com/cloisterhq/cloister/enclave/server"
)

// Persist shows its obstacles on paths.
func Persist(ctx context.Context, paths *server.Paths, say func(Phrase), f func() error, final func(error) bool) error {
	e := &Enclave{config: Config{Say: say}, paths: paths}
	return e.persist(ctx, server.Replaying, f, final)
}

// The judgements on errors.
var (
	Passing = passing
	Failure = failure
)
