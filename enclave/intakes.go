package enclave

import (
	"context"
	"time"

	"github.com/cloisterhq/cloister/enclave/intake"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/intakekey"
)

// openIntake reads the intake keys of an open state, or makes the first one,
// and publishes the newest from then on.
func (e *Enclave) openIntake(ctx context.Context, s *state.State) (*intake.Keys, error) {
	var keys *intake.Keys
	err := e.persist(ctx, server.Replaying, func() error {
		var err error
		keys, err = intake.Open(ctx, intake.Config{Objects: e.host, Sealer: s, Now: e.clock.Now})
		return err
	}, func(err error) bool { return !passing(err) })
	if err != nil {
		return nil, err
	}
	e.intake.Store(keys)
	e.paths.Publish(publisher{keys, s, e.bundle.Deployment})
	return keys, nil
}

// keepIntake renews the intake key every now and then. When that fails, the
// newest key is good for weeks, and it is tried again.
func (e *Enclave) keepIntake(ctx context.Context) error {
	tick := time.NewTicker(intakeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if keys := e.intake.Load(); keys != nil {
				_ = keys.Renew(ctx)
			}
		}
	}
}

// publisher signs the newest intake key.
type publisher struct {
	keys       *intake.Keys
	state      *state.State
	deployment string
}

// KeySet answers the key set that producers fetch.
func (p publisher) KeySet() ([]byte, error) {
	public, born, notAfter := p.keys.Current()
	return intakekey.Sign(intakekey.Claims{
		Deployment: p.deployment, Genesis: p.state.Genesis(), Key: public.Bytes(), Born: born.UnixMilli(), NotAfter: notAfter.UnixMilli(),
	}, p.state.ServiceKey())
}
