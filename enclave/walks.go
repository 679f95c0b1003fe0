package enclave

import (
	"context"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	// keyringSize is how many data keys are held at a time.
	keyringSize = 1024
	// keyringLife is how long a data key is held after KMS released it.
	keyringLife = 15 * time.Minute
)

// stateKeys asks KMS for the state data key: only attested calls, under the
// state KEK that the bundle pins.
type stateKeys struct {
	kms     countedKMS
	arn     string
	context map[string]string
}

// Generate makes a new state data key.
func (k stateKeys) Generate(ctx context.Context) (secret.Bytes, []byte, error) {
	return k.kms.GenerateDataKey(ctx, k.arn, k.context)
}

// Decrypt unwraps the state data key of an earlier boot.
func (k stateKeys) Decrypt(ctx context.Context, blob []byte) (secret.Bytes, error) {
	return k.kms.Decrypt(ctx, k.arn, k.context, blob)
}

// unlock opens the state as soon as KMS releases its key, replays what was
// accepted, and opens both paths.
func (e *Enclave) unlock(ctx context.Context) error {
	s, err := e.openState(ctx)
	if err != nil {
		return e.stay(ctx, err, SayNoState, "the state can't be opened")
	}
	e.opened.Store(s)
	if err := e.open(ctx, s); err != nil {
		return e.stay(ctx, err, SayNoReplay, failure(err))
	}
	e.config.Say(SayReady)
	return nil
}

// stay keeps the enclave up without paths, so that its evidence and its reason
// can still be had, until ctx ends.
func (e *Enclave) stay(ctx context.Context, err error, phrase Phrase, reason string) error {
	if ctx.Err() != nil {
		return nil
	}
	e.paths.Shut(reason)
	e.config.Say(phrase)
	e.config.Say(Because(err))
	<-ctx.Done()
	return nil
}

// open makes the two paths over an open state and replays into them.
func (e *Enclave) open(ctx context.Context, s *state.State) error {
	intakes, err := e.openIntake(ctx, s)
	if err != nil {
		return err
	}
	tables := store.New(contracts(e.bundle))
	keys := keyring.New(keyring.Config{
		KMS: countedKMS{e.kms, e.counts}, Intake: intakes, Deployment: e.bundle.Deployment, Dataset: keyOf(e.bundle), Max: keyringSize, TTL: keyringLife, Now: e.clock.Now,
	})
	in, err := ingest.New(ingest.Config{Bundle: e.bundle, Keys: countedKeys{keys, e.counts}, State: s, Store: tables, Now: e.clock.Now})
	if err != nil {
		return err
	}
	log, err := e.openLog(ctx, s)
	if err != nil {
		return err
	}
	if err := e.replay(ctx, s, in); err != nil {
		return err
	}
	turns, memory, err := newTurns(e.bundle.Limits.QueryMemory)
	if err != nil {
		return err
	}
	runner := query.New(query.Config{
		Catalog: catalog{e.bundle}, Store: tables, Gate: protect.New(protect.Config{Profile: e.bundle.Profile, Audit: log}),
		Limits:  exec.Limits{Rows: e.bundle.Limits.MaxResultRows, Memory: memory},
		Timeout: time.Duration(e.bundle.Limits.QueryTimeout) * time.Millisecond,
	})
	e.paths.Open(countedIntake{in, e.counts}, &desk{
		answerer: &answerer{Runner: runner, state: s, bundle: e.bundle}, turns: turns, memory: memory, counts: e.counts,
	})
	return nil
}

// inboxName is the name under which the gateway keeps an envelope.
func inboxName(digest [32]byte) string { return "inbox/" + hex.EncodeToString(digest[:]) }

// answerer runs queries and signs what they release.
type answerer struct {
	*query.Runner
	state  *state.State
	bundle *bundle.Bundle
}

// Query answers one statement with the service key's signature over it.
func (a *answerer) Query(ctx context.Context, who *identity.Principal, text string, bound ...sql.Parameter) (*answer.Answer, []byte, error) {
	released, err := a.Run(ctx, who, text, bound...)
	if err != nil {
		return nil, nil, err
	}
	out := released.Answer()
	out.Genesis, out.Manifest, out.Query = a.state.Genesis(), a.state.Head(), answer.QueryDigest(text, sql.Literals(bound)...)
	signature, err := answer.Sign(out, a.state.ServiceKey())
	if err != nil {
		return nil, nil, err
	}
	return out, signature, nil
}

// Tables answers the contracts of the datasets that somebody may query, in the
// order of their names.
func (a *answerer) Tables(who *identity.Principal) []*contract.Contract {
	all := slices.DeleteFunc(contracts(a.bundle), func(c *contract.Contract) bool { return who.May(identity.Query, c.Dataset) != nil })
	slices.SortFunc(all, func(x, y *contract.Contract) int { return strings.Compare(x.Dataset, y.Dataset) })
	return all
}

// catalog answers the contracts of the bundle.
type catalog struct{ bundle *bundle.Bundle }

// Contract answers the contract of a dataset.
func (c catalog) Contract(dataset string) (*contract.Contract, bool) {
	d, ok := c.bundle.Dataset(dataset)
	if !ok {
		return nil, false
	}
	return &d.Contract, true
}

func contracts(b *bundle.Bundle) []*contract.Contract {
	out := make([]*contract.Contract, 0, len(b.Datasets))
	for i := range b.Datasets {
		out = append(out, &b.Datasets[i].Contract)
	}
	return out
}

// keyOf answers the KMS key and epoch that the bundle pins for a dataset.
func keyOf(b *bundle.Bundle) func(string) (string, uint64, bool) {
	return func(dataset string) (string, uint64, bool) {
		d, ok := b.Dataset(dataset)
		if !ok {
			return "", 0, false
		}
		return d.KeyARN, d.KeyEpoch, true
	}
}

// newIdentity makes the verifier of analysts' tokens; its HTTPS goes through
// egress and ends here.
func newIdentity(b *bundle.Bundle, egress interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}, now func() time.Time) (*identity.Verifier, error) {
	var issuers []identity.Issuer
	for _, i := range b.Issuers {
		issuers = append(issuers, identity.Issuer{URL: i.URL, Audience: i.Audience, RolesClaim: i.RolesClaim, TLSRoots: i.TLSRoots, RequireMFA: i.RequireMFA})
	}
	return identity.New(identity.Config{Issuers: issuers, Dial: egress.DialContext, Now: now})
}
