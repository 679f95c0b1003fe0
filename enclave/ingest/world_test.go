package ingest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/receipt"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/test/genuine"
)

const (
	keyColon  = "arn:aws:kms:eu-central-1:111122223333:key/colon"
	keyVisits = "arn:aws:kms:eu-central-1:111122223333:key/visits"
	keyState  = "arn:aws:kms:eu-central-1:111122223333:key/state"
)

func at[T any](v T) *T { return &v }

// signer is the key of a producer.
func signer(producer string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(producer))
	return ed25519.NewKeyFromSeed(seed[:])
}

func registered(name string, retired bool, datasets ...string) bundle.Producer {
	return bundle.Producer{Name: name, Key: signer(name).Public().(ed25519.PublicKey), Datasets: datasets, Retired: retired}
}

func dataset(name, key string) bundle.Dataset {
	return bundle.Dataset{KeyARN: key, KeyEpoch: 3, Contract: contract.Contract{
		Dataset: name, ID: name, Version: "1.0.0", Floor: 10,
		Fields: []contract.Field{
			{Name: "id", Type: contract.Integer, Role: contract.Unit},
			{Name: "x", Type: contract.Integer, Role: contract.Measure, Minimum: at(int64(0)), Maximum: at(int64(1_000_000))},
		},
	}}
}

// study is the bundle of most tests.
func study(t testing.TB) *bundle.Bundle {
	t.Helper()
	b := &bundle.Bundle{
		Version: bundle.Version, Deployment: "colon-study", Profile: bundle.Simulation,
		Datasets: []bundle.Dataset{dataset("colon", keyColon), dataset("visits", keyVisits)},
		KMS:      bundle.KMS{Region: "eu-central-1", StateKeyARN: keyState},
		Producers: []bundle.Producer{
			registered("clinic-a", false, "colon", "visits"), registered("clinic-b", false, "visits"), registered("clinic-r", true, "colon"),
		},
		Freshness: bundle.FreshnessNone, Limits: bundle.DefaultLimits(),
	}
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	return b
}

// letter is an envelope before it is sealed.
type letter struct {
	header  envelope.Header
	signer  string // a producer's name
	dek     byte
	rows    int // added to the true number
	content []byte
	records []columns.Record
}

// write drafts an envelope of clinic-a with records that nobody else sends.
func write(sequence uint64) letter {
	var records []columns.Record
	for i := range int64(3) {
		records = append(records, columns.Record{columns.Int("id", int64(sequence)*10+i), columns.Int("x", int64(sequence)*100+i)})
	}
	l := letter{
		header: envelope.Header{
			Version: envelope.Version, Deployment: "colon-study", Dataset: "colon", Contract: "1.0.0", Producer: "clinic-a",
			Stream: "s", Sequence: sequence, Codec: columns.Codec,
			Wrap: envelope.Wrap{Kind: envelope.WrapKMS, Key: keyColon, Epoch: 3, Blob: []byte{1}},
		},
		signer: "clinic-a", dek: 1, records: records,
	}
	binary.BigEndian.PutUint64(l.header.Salt[:], sequence+1)
	return l
}

// dek is the data key that a wrapped form of one byte stands for.
func dek(n byte) secret.Bytes { return secret.New(bytes.Repeat([]byte{n}, 32)) }

// seal answers the envelope and the key of its report.
func (l letter) seal(t testing.TB) ([]byte, secret.Bytes) {
	t.Helper()
	content := l.content
	if content == nil {
		encode := columns.Encode
		if l.header.Codec == columns.CodecPacked {
			encode = columns.EncodePacked
		}
		var err error
		if content, err = encode(l.records); err != nil {
			t.Fatal(err)
		}
	}
	raw, key, err := envelope.Seal(l.header, dek(l.dek), len(l.records)+l.rows, content, signer(l.signer))
	if err != nil {
		t.Fatal(err)
	}
	return raw, key
}

// raw is seal without the key.
func (l letter) raw(t testing.TB) []byte {
	t.Helper()
	raw, _ := l.seal(t)
	return raw
}

// ring gives out data keys by their wrapped forms.
type ring struct {
	mu    sync.Mutex
	given []secret.Bytes
	err   error
	// reopened counts keys of envelopes that were accepted before.
	reopened int
}

var (
	errKMS  = errors.New("KMS doesn't answer")
	errWrap = errors.New("another wrap")
)

func (r *ring) Open(_ context.Context, h envelope.Header) (secret.Bytes, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return secret.Bytes{}, r.err
	}
	key := dek(h.Wrap.Blob[0])
	r.given = append(r.given, key)
	return key, nil
}

// Reopen demands that the wire says what was recorded.
func (r *ring) Reopen(ctx context.Context, h envelope.Header, arn string, epoch uint64) (secret.Bytes, error) {
	if h.Wrap.Key != arn || h.Wrap.Epoch != epoch {
		return secret.Bytes{}, errWrap
	}
	r.mu.Lock()
	r.reopened++
	r.mu.Unlock()
	return r.Open(ctx, h)
}

// forbidden fails the test when it is asked for anything.
type forbidden struct{ t testing.TB }

func (f forbidden) Open(context.Context, envelope.Header) (secret.Bytes, error) {
	f.t.Error("the key service was asked")
	return secret.Bytes{}, errKMS
}

func (f forbidden) Reopen(ctx context.Context, h envelope.Header, _ string, _ uint64) (secret.Bytes, error) {
	return f.Open(ctx, h)
}

// stateKeys holds the key of the state.
type stateKeys struct{}

func (stateKeys) Generate(context.Context) (secret.Bytes, []byte, error) {
	return dek(99), []byte("wrapped"), nil
}
func (stateKeys) Decrypt(context.Context, []byte) (secret.Bytes, error) { return dek(99), nil }

// fault is what goes wrong with one PutIfAbsent.
type fault int

const (
	none   fault = iota
	before       // an error, and nothing is stored
	after        // an error, and the object is stored
	mute         // as before, and then nothing can be read
	silent       // as after, and then nothing can be read
	taken        // another enclave was quicker
)

var errStore = errors.New("the store failed")

// memory is the parent's object store.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	quiet   bool
	fault   func(name string) fault
}

func (m *memory) PutIfAbsent(_ context.Context, name string, content []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := none
	if m.fault != nil {
		f = m.fault(name)
	}
	m.quiet = f == mute || f == silent
	if f == before || f == mute {
		return errStore
	}
	if f == taken {
		m.objects[name] = []byte("of another enclave")
	}
	if held, ok := m.objects[name]; ok && !bytes.Equal(held, content) {
		return state.ErrExists
	}
	m.objects[name] = bytes.Clone(content)
	if f == after || f == silent {
		return errStore
	}
	return nil
}

func (m *memory) Get(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.quiet {
		return nil, errStore
	}
	content, ok := m.objects[name]
	if !ok {
		return nil, state.ErrNotFound
	}
	return bytes.Clone(content), nil
}

func (m *memory) List(_ context.Context, prefix, after string, limit int) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(m.objects)) {
		if strings.HasPrefix(name, prefix) && name > after && len(names) < limit {
			names = append(names, name)
		}
	}
	return names, nil
}

// inject makes every write of a manifest go wrong in one way, or none.
func (m *memory) inject(f fault) { m.injectAt("manifest/", f) }

// injectAt makes every write under a prefix go wrong in one way.
func (m *memory) injectAt(prefix string, f fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.quiet = false
	m.fault = func(name string) fault {
		if strings.HasPrefix(name, prefix) {
			return f
		}
		return none
	}
}

// tables are the real tables, which may be made to fail.
type tables struct {
	*store.Store
	err error
}

func (t *tables) Append(b *record.Batch) error {
	if t.err != nil {
		return t.err
	}
	return t.Store.Append(b)
}

// world is one life of an enclave's record path, and what outlives it.
type world struct {
	t      testing.TB
	bundle *bundle.Bundle
	disk   *memory
	inbox  map[[32]byte][]byte
	now    time.Time
	tick   time.Duration // how far every look at the clock moves it

	keys   *ring
	tables *tables
	state  *state.State
	in     *ingest.Ingest
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		t: t, bundle: study(t), disk: &memory{objects: map[string][]byte{}}, inbox: map[[32]byte][]byte{},
		now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC),
	}
	w.boot()
	return w
}

// boot begins a new life: the state is recovered and replayed from the inbox.
func (w *world) boot() {
	w.t.Helper()
	w.disk.mu.Lock()
	w.disk.quiet = false
	w.disk.mu.Unlock()
	w.start()
	for _, a := range w.state.Accepted() {
		if err := w.in.Replay(w.t.Context(), a, w.inbox[a.Envelope]); err != nil {
			w.t.Fatalf("replay: %v", err)
		}
	}
}

// start is boot without the replay.
func (w *world) start() {
	w.t.Helper()
	w.now = w.now.Add(time.Hour)
	var contracts []*contract.Contract
	for i := range w.bundle.Datasets {
		contracts = append(contracts, &w.bundle.Datasets[i].Contract)
	}
	w.keys, w.tables = &ring{}, &tables{Store: store.New(contracts)}
	var err error
	w.state, err = state.Open(w.t.Context(), state.Config{Objects: w.disk, Keys: stateKeys{}, Deployment: w.bundle.Deployment, Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	w.in, err = ingest.New(ingest.Config{Bundle: w.bundle, Keys: w.keys, State: w.state, Store: w.tables, Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) clock() time.Time {
	if w.tick > 0 {
		w.now = w.now.Add(w.tick)
	}
	return w.now
}

// accept hands an envelope in, as a parent does that stored it before.
func (w *world) accept(raw []byte) (*ingest.Accepted, error) {
	w.inbox[sha256.Sum256(raw)] = raw
	return w.in.Accept(w.t.Context(), raw)
}

// accepts demands a receipt.
func (w *world) accepts(raw []byte) *ingest.Accepted {
	w.t.Helper()
	a, err := w.accept(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// verified answers what a receipt says, after all that a producer checks.
func (w *world) verified(a *ingest.Accepted, raw []byte, key secret.Bytes) (*receipt.Receipt, *receipt.Report) {
	w.t.Helper()
	r, err := receipt.Verify(a.Receipt, w.state.ServicePublicKey())
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Envelope != sha256.Sum256(raw) || r.Report != sha256.Sum256(a.Report) || r.Genesis != w.state.Genesis() || r.Deployment != "colon-study" {
		w.t.Errorf("the receipt is for something else: %+v", r)
	}
	plain, err := envelope.OpenReport(key, r.Envelope, a.Report)
	if err != nil {
		w.t.Fatal(err)
	}
	report, err := receipt.DecodeReport(plain)
	if err != nil {
		w.t.Fatal(err)
	}
	return r, report
}

// rows writes down what queries see of a dataset, in the order in which units
// came.
func (w *world) rows(dataset string) string {
	w.t.Helper()
	snapshot, ok := w.tables.Snapshot(dataset)
	if !ok {
		w.t.Fatal("no such dataset")
	}
	var all []string
	for _, row := range genuine.Rows(snapshot) {
		all = append(all, fmt.Sprintf("%d:%d", row.Unit, row.Values[1].Int))
	}
	return fmt.Sprint(snapshot.Number(), " ", strings.Join(all, " "))
}

// reason answers why an envelope is refused, "" when it isn't.
func reason(err error) string {
	var r *ingest.Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return ""
}
