package enclave

import (
	"context"

	"github.com/cloisterhq/cloister/enclave/counters"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/answer"
)

// Desk is the way of a query to its runner.
type Desk struct {
	desk  *desk
	Turns *admission.Pool
	// Memory is what one query may hold, in bytes.
	Memory int64
}

// NewDesk makes a desk whose queries may hold one bytes each.
func NewDesk(r *query.Runner, s *state.State, one int64, c *counters.Counters) (*Desk, error) {
	turns, memory, err := newTurns(one)
	if err != nil {
		return nil, err
	}
	return &Desk{&desk{answerer: &answerer{Runner: r, state: s}, turns: turns, memory: memory, counts: c}, turns, memory}, nil
}

// Query asks at the desk.
func (d *Desk) Query(ctx context.Context, who *identity.Principal, text string) (*answer.Answer, []byte, error) {
	return d.desk.Query(ctx, who, text)
}

// Check asks what would be answered.
func (d *Desk) Check(ctx context.Context, who *identity.Principal, text string) (*query.Description, error) {
	return d.desk.Check(ctx, who, text)
}

// Vault is what is asked of KMS.
type Vault = vault

// Counted puts the counters before a KMS, and before the keys of a keyring.
func Counted(v Vault, c *counters.Counters, config keyring.Config) (Vault, ingest.Keys) {
	counted := countedKMS{v, c}
	config.KMS = counted
	return counted, countedKeys{keyring.New(config), c}
}
