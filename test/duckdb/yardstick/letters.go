package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/test/duckdb"
)

const (
	deployment = "yardstick"
	producer   = "clinic"
	keyVisits  = "arn:aws:kms:eu-central-1:111122223333:key/visits"
	keyState   = "arn:aws:kms:eu-central-1:111122223333:key/state"
)

// letters are visits, sealed by a producer in envelopes of equal size.
type letters struct {
	bundle   *bundle.Bundle
	signer   ed25519.PrivateKey
	dek      [32]byte
	contract *contract.Contract
	sealed   [][]byte
	// batches are the rows of each envelope once more, for the peer.
	batches [][]table.Values
	native  []*duckdb.Native
	rows    int
	bytes   int // of all envelopes
}

// newLetters seals rows of the first so many columns, size to an envelope.
func newLetters(rows, size, count int) (*letters, error) {
	c := visits(count)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	l := &letters{contract: c, signer: private, rows: rows, bundle: &bundle.Bundle{
		Version: bundle.Version, Deployment: deployment, Profile: bundle.Simulation,
		Datasets:  []bundle.Dataset{{KeyARN: keyVisits, KeyEpoch: 1, Contract: *c}},
		KMS:       bundle.KMS{Region: "eu-central-1", StateKeyARN: keyState},
		Producers: []bundle.Producer{{Name: producer, Key: public, Datasets: []string{c.Dataset}}},
		Freshness: bundle.FreshnessNone, Limits: bundle.DefaultLimits(),
	}}
	if err := l.bundle.Check(); err != nil {
		return nil, err
	}
	if _, err := rand.Read(l.dek[:]); err != nil {
		return nil, err
	}
	g := newGenerator(rows)
	g.size = size
	for n, batch := g.next(count); n > 0; n, batch = g.next(count) {
		content, err := columns.EncodePacked(records(c, n, batch))
		if err != nil {
			return nil, err
		}
		raw, err := l.seal(uint64(len(l.sealed)), n, content)
		if err != nil {
			return nil, err
		}
		l.sealed, l.batches, l.bytes = append(l.sealed, raw), append(l.batches, coded(batch)), l.bytes+len(raw)
	}
	return l, nil
}

// coded answers a batch without a string for each row, which a collector would
// look at all the time.
func coded(batch []table.Values) []table.Values {
	all := slices.Clone(batch)
	for i, v := range all {
		if v.Texts == nil {
			continue
		}
		places := map[string]uint16{}
		all[i].Codes = make([]uint16, len(v.Texts))
		all[i].Texts = nil
		for row, text := range v.Texts {
			at, ok := places[text]
			if !ok {
				at = uint16(len(places))
				places[text] = at
				all[i].Texts = append(all[i].Texts, text)
			}
			all[i].Codes[row] = at
		}
	}
	return all
}

func (l *letters) key() secret.Bytes { return secret.New(append([]byte(nil), l.dek[:]...)) }

func (l *letters) seal(sequence uint64, rows int, content []byte) ([]byte, error) {
	h := envelope.Header{
		Version: envelope.Version, Deployment: deployment, Dataset: l.contract.Dataset, Contract: l.contract.Version, Producer: producer,
		Stream: "s", Sequence: sequence, Codec: columns.CodecPacked,
		Wrap: envelope.Wrap{Kind: envelope.WrapKMS, Key: keyVisits, Epoch: 1, Blob: []byte{1}},
	}
	if _, err := rand.Read(h.Salt[:]); err != nil {
		return nil, err
	}
	raw, _, err := envelope.Seal(h, l.key(), rows, content, l.signer)
	return raw, err
}

// records are rows as a producer has them.
func records(c *contract.Contract, n int, batch []table.Values) []columns.Record {
	all, cells := make([]columns.Record, n), make(columns.Record, n*len(batch))
	for i := range all {
		all[i] = cells[i*len(batch) : (i+1)*len(batch)]
		for k, v := range batch {
			switch f := &c.Fields[k]; f.Type {
			case contract.String:
				all[i][k] = columns.Text(f.Name, v.Texts[i])
			case contract.Boolean:
				all[i][k] = columns.Bool(f.Name, v.Ints[i] == 1)
			default:
				all[i][k] = columns.Int(f.Name, v.Ints[i])
			}
		}
	}
	return all
}

// open does what the limit of ingestion consists of: the hash of an envelope,
// its opening and the decoding. The producer's signature is in it, because
// nothing is opened without.
func (l *letters) open(raw []byte, digest bool) error {
	sealed, err := envelope.Parse(raw)
	if err != nil {
		return err
	}
	authentic, err := sealed.Authenticate(l.bundle.Producers[0].Key)
	if err != nil {
		return err
	}
	opened, err := authentic.Open(l.key())
	if err != nil {
		return err
	}
	if digest {
		opened.ContentDigest()
	}
	b, err := columns.DecodePacked(opened.Content(), opened.Rows())
	if err != nil {
		return err
	}
	if b.Columns() != len(l.contract.Fields) {
		return errors.New("yardstick: other columns")
	}
	return nil
}

// ring gives the producer's data key out.
type ring struct{ of *letters }

func (r ring) Open(context.Context, envelope.Header) (secret.Bytes, error) { return r.of.key(), nil }

func (r ring) Reopen(ctx context.Context, h envelope.Header, _ string, _ uint64) (secret.Bytes, error) {
	return r.Open(ctx, h)
}
