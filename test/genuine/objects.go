package genuine

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cloisterhq/cloister/enclave/state"
)

// Objects is an object store in memory, as honest as the parent's. A test that
// wants another one changes what it holds.
type Objects struct {
	mu   sync.Mutex
	held map[string][]byte
}

// NewObjects answers an empty store.
func NewObjects() *Objects { return &Objects{held: map[string][]byte{}} }

// PutIfAbsent keeps content, or answers state.ErrExists when the name has other
// content.
func (o *Objects) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if before, ok := o.held[name]; ok && !bytes.Equal(before, content) {
		return state.ErrExists
	}
	o.held[name] = slices.Clone(content)
	return nil
}

// Get answers an object, or state.ErrNotFound.
func (o *Objects) Get(ctx context.Context, name string) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	content, ok := o.held[name]
	if !ok {
		return nil, state.ErrNotFound
	}
	return slices.Clone(content), nil
}

// List answers at most limit names with the prefix after one, in order.
func (o *Objects) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(o.held)), func(name string) bool {
		return !strings.HasPrefix(name, prefix) || name <= after
	})
	return names[:min(limit, len(names))], nil
}

// Set puts content under a name whatever was there; nil takes the object away.
func (o *Objects) Set(name string, content []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if content == nil {
		delete(o.held, name)
		return
	}
	o.held[name] = slices.Clone(content)
}
