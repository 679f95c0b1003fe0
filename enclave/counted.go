package enclave

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/cloisterhq/cloister/enclave/counters"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
)

// vault is what is asked of KMS.
type vault interface {
	GenerateDataKey(ctx context.Context, arn string, encryption map[string]string) (key secret.Bytes, wrapped []byte, err error)
	Decrypt(ctx context.Context, arn string, encryption map[string]string, blob []byte) (secret.Bytes, error)
}

// countedKMS counts calls to KMS by how they end.
type countedKMS struct {
	vault  vault
	counts *counters.Counters
}

// GenerateDataKey makes a new data key.
func (c countedKMS) GenerateDataKey(ctx context.Context, arn string, encryption map[string]string) (secret.Bytes, []byte, error) {
	key, wrapped, err := c.vault.GenerateDataKey(ctx, arn, encryption)
	c.ended(err)
	return key, wrapped, err
}

// Decrypt unwraps a data key.
func (c countedKMS) Decrypt(ctx context.Context, arn string, encryption map[string]string, blob []byte) (secret.Bytes, error) {
	if asked, ok := ctx.Value(asked{}).(*atomic.Bool); ok {
		asked.Store(true)
	}
	key, err := c.vault.Decrypt(ctx, arn, encryption, blob)
	c.ended(err)
	return key, err
}

func (c countedKMS) ended(err error) {
	switch {
	case err == nil:
		c.counts.Count(counters.KMSGranted)
	case errors.Is(err, kms.ErrDenied):
		c.counts.Count(counters.KMSDenied)
	case errors.Is(err, kms.ErrUnavailable):
		c.counts.Count(counters.KMSUnavailable)
	}
}

// asked is the key of a mark in a context: whether KMS was asked for the key.
type asked struct{}

// countedKeys counts data keys that were there without asking KMS.
type countedKeys struct {
	ingest.Keys
	counts *counters.Counters
}

// Open answers the data key of an envelope.
func (c countedKeys) Open(ctx context.Context, h envelope.Header) (secret.Bytes, error) {
	mark := new(atomic.Bool)
	key, err := c.Keys.Open(context.WithValue(ctx, asked{}, mark), h)
	if err == nil && !mark.Load() && h.Wrap.Kind == envelope.WrapKMS {
		c.counts.Count(counters.KeyringHit)
	}
	return key, err
}

// countedIntake counts what becomes of envelopes.
type countedIntake struct {
	*ingest.Ingest
	counts *counters.Counters
}

// Accept takes one envelope.
func (c countedIntake) Accept(ctx context.Context, raw []byte) (*ingest.Accepted, error) {
	accepted, err := c.Ingest.Accept(ctx, raw)
	if err == nil {
		c.counts.Count(counters.EnvelopeAccepted)
	} else if _, refused := errors.AsType[*ingest.Refusal](err); refused {
		c.counts.Count(counters.EnvelopeRefused)
	}
	return accepted, err
}

// desk lets queries in, a bounded number at once, and counts what becomes of
// them.
type desk struct {
	*answerer
	turns *admission.Pool
	// memory is what one query may hold, in bytes.
	memory int64
	counts *counters.Counters
}

// Query answers one statement when its turn has come. *admission.Full says that
// it hasn't: nothing was charged.
func (d *desk) Query(ctx context.Context, who *identity.Principal, text string, bound ...sql.Parameter) (*answer.Answer, []byte, error) {
	turn, err := d.turns.Acquire(ctx, keyOfPrincipal(who), d.memory)
	if err != nil {
		return nil, nil, err
	}
	defer turn.Release()
	a, signature, err := d.answerer.Query(ctx, who, text, bound...)
	if err == nil {
		d.counts.Count(counters.QueryAnswered)
	}
	d.refused(err)
	return a, signature, err
}

// Check answers what Query would begin to answer.
func (d *desk) Check(ctx context.Context, who *identity.Principal, text string, bound ...sql.Parameter) (*query.Description, error) {
	description, err := d.answerer.Check(ctx, who, text, bound...)
	d.refused(err)
	return description, err
}

// Prepare is Check before the values are known.
func (d *desk) Prepare(ctx context.Context, who *identity.Principal, text string) (*query.Description, error) {
	description, err := d.answerer.Prepare(ctx, who, text)
	d.refused(err)
	return description, err
}

// refused counts a refusal.
func (d *desk) refused(err error) {
	if _, refused := errors.AsType[*sql.Refusal](err); refused || errors.Is(err, identity.ErrNotAllowed) {
		d.counts.Count(counters.QueryRefused)
	}
}

// keyOfPrincipal tells people apart, by issuer and subject.
func keyOfPrincipal(who *identity.Principal) string {
	if who == nil {
		return ""
	}
	return who.Issuer() + "\x00" + who.Subject()
}
