package intake_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/intake"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/secret"
)

var errStore = errors.New("the store failed")

// memory is the parent's object store.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	// lose stores nothing, deaf stores but answers an error, mute reads nothing.
	lose, deaf, mute bool
}

func (m *memory) PutIfAbsent(_ context.Context, name string, content []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lose {
		return errStore
	}
	if held, ok := m.objects[name]; ok && !bytes.Equal(held, content) {
		return state.ErrExists
	}
	m.objects[name] = bytes.Clone(content)
	if m.deaf {
		return errStore
	}
	return nil
}

func (m *memory) Get(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mute {
		return nil, errStore
	}
	content, ok := m.objects[name]
	if !ok {
		return nil, state.ErrNotFound
	}
	return bytes.Clone(content), nil
}

func (m *memory) List(_ context.Context, prefix, after string, limit int) ([]string, error) {
	return nil, nil
}

// under answers the names of keys that are stored.
func (m *memory) under(prefix string) (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.objects {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}

type stateKeys struct{ fill byte }

func (k stateKeys) Generate(context.Context) (secret.Bytes, []byte, error) {
	return secret.New(bytes.Repeat([]byte{k.fill}, 32)), []byte("wrapped"), nil
}

func (k stateKeys) Decrypt(context.Context, []byte) (secret.Bytes, error) {
	return secret.New(bytes.Repeat([]byte{k.fill}, 32)), nil
}

// world is a state with a clock that the test turns.
type world struct {
	t     *testing.T
	disk  *memory
	state *state.State
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, disk: &memory{objects: map[string][]byte{}}, now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	w.state = w.open(w.disk, 9)
	return w
}

func (w *world) open(disk *memory, fill byte) *state.State {
	w.t.Helper()
	s, err := state.Open(w.t.Context(), state.Config{Objects: disk, Keys: stateKeys{fill}, Deployment: "colon-study", Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) clock() time.Time { return w.now }

// boot reads the keys as an enclave does that starts.
func (w *world) boot() (*intake.Keys, error) {
	return intake.Open(w.t.Context(), intake.Config{Objects: w.disk, Sealer: w.state, Now: w.clock})
}

func (w *world) keys() *intake.Keys {
	w.t.Helper()
	k, err := w.boot()
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func id(k *intake.Keys) string {
	public, _, _ := k.Current()
	return public.ID()
}
