package state_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/secret"
)

// canary stands in every name and must stand in no object.
const canary = "canary-2b7e"

var (
	errStore = errors.New("the store failed")
	errKeys  = errors.New("no key for this")
)

// fault is what goes wrong with one PutIfAbsent.
type fault int

const (
	none   fault = iota
	before       // an error, and nothing is stored
	after        // an error, and the object is stored
	mute         // an error, nothing is stored, and then nothing can be read
	silent       // an error, the object is stored, and then nothing can be read
	taken        // another writer was quicker
)

// memory is an object store whose contents the tests may change.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	quiet   bool // nothing can be read
	puts    int
	// fault answers what goes wrong with a write; nil is nothing.
	fault func(name string) fault
}

func newMemory() *memory { return &memory{objects: map[string][]byte{}} }

func (m *memory) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	if err := ctx.Err(); err != nil {
		return err
	}
	f := none
	if m.fault != nil {
		f = m.fault(name)
	}
	m.quiet = f == mute || f == silent
	if f == before || f == mute {
		return errStore
	}
	if f == taken {
		m.objects[name] = []byte("of another writer")
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

func (m *memory) Get(ctx context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
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
	if m.quiet {
		return nil, errStore
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(m.objects)) {
		if strings.HasPrefix(name, prefix) && name > after && len(names) < limit {
			names = append(names, name)
		}
	}
	return names, nil
}

// clone answers a store with the same objects and no faults.
func (m *memory) clone() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{objects: maps.Clone(m.objects)}
}

// inject makes every write go wrong in one way, or none.
func (m *memory) inject(f fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.quiet = false
	m.fault = func(string) fault { return f }
}

// once makes the next write go wrong.
func (m *memory) once(f fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = func(string) fault {
		m.fault = nil
		return f
	}
}

// vault gives out one key and knows its wrapped form, as KMS would.
type vault struct {
	key     []byte
	wrapped []byte
	err     error // of every call
}

func newVault(n byte) *vault {
	return &vault{key: bytes.Repeat([]byte{n}, 32), wrapped: fmt.Appendf(nil, "the wrapped form of key %d", n)}
}

func (v *vault) Generate(context.Context) (secret.Bytes, []byte, error) {
	return secret.New(bytes.Clone(v.key)), bytes.Clone(v.wrapped), v.err
}

func (v *vault) Decrypt(_ context.Context, wrapped []byte) (secret.Bytes, error) {
	if v.err != nil {
		return secret.Bytes{}, v.err
	}
	if !bytes.Equal(wrapped, v.wrapped) {
		return secret.Bytes{}, errKeys
	}
	return secret.New(bytes.Clone(v.key)), nil
}

// begin is when the tests' clock starts.
var begin = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func config(m *memory) state.Config {
	return state.Config{Objects: m, Keys: newVault(1), Deployment: "colon-study", Now: func() time.Time { return begin }}
}

func open(t testing.TB, m *memory) *state.State {
	t.Helper()
	s, err := state.Open(t.Context(), config(m))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// acceptance is the n-th that a test appends.
func acceptance(n int) state.Acceptance {
	return state.Acceptance{
		Envelope: sha256.Sum256(fmt.Appendf(nil, "envelope %d", n)), Content: sha256.Sum256(fmt.Appendf(nil, "content %d", n)),
		Dataset: canary + "-dataset", Producer: canary + "-producer", Stream: canary + "-stream", Sequence: uint64(n),
		Contract: "1.0.0", Accepted: n, Rejected: 2 * n, Time: begin.UnixMilli() + int64(n),
		Terms: sha256.Sum256([]byte("contract")), Key: canary + "-key", Epoch: 3, Signer: [32]byte{7},
	}
}

func add(t testing.TB, s *state.State, n int) {
	t.Helper()
	head := s.Head()
	number, err := s.Append(t.Context(), acceptance(n))
	if err != nil || number != head+1 || s.Head() != number {
		t.Fatalf("acceptance %d: number %d, head %d after %d, %v", n, number, s.Head(), head, err)
	}
}

// chain makes a store with a genesis and n acceptances.
func chain(t testing.TB, n int) *memory {
	t.Helper()
	m := newMemory()
	s := open(t, m)
	for i := range n {
		add(t, s, i)
	}
	return m
}

// manifest is the name of an object of the chain.
func manifest(number int) string { return fmt.Sprintf("manifest/%020d", number) }

// shows demands that a state holds exactly the acceptances from 0 to n.
func shows(t testing.TB, s *state.State, n int) {
	t.Helper()
	all := s.Accepted()
	if len(all) != n || s.Head() != uint64(n) {
		t.Fatalf("%d acceptances, head %d; want %d", len(all), s.Head(), n)
	}
	for i := range n {
		want := acceptance(i)
		got, number, ok := s.Lookup(want.Producer, want.Stream, want.Sequence, want.Dataset)
		if all[i] != want || got != want || number != uint64(i)+1 || !ok {
			t.Errorf("acceptance %d: %+v, manifest %d, %v", i, got, number, ok)
		}
	}
}
