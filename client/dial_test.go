package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/test/rig"
)

// TestDial answers no connection before the enclave has keys: on such a one the
// pinned state was never compared.
func TestDial(t *testing.T) {
	e := rig.Serve(t)
	c := dial(t, load(t, e, e.Rig))
	conn, peer, err := c.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if !peer.ServiceKey.Equal(e.Service.Public()) {
		t.Error("another enclave")
	}
	e.Locked.Store(true)
	c.Wait = 0
	if conn, _, err := c.Dial(t.Context()); !errors.Is(err, client.ErrLocked) || conn != nil {
		t.Errorf("without keys: %v", err)
	}
	if _, err := c.Verify(t.Context()); err != nil {
		t.Errorf("verifying without keys: %v", err)
	}
	c.Wait = time.Minute
	go func() {
		time.Sleep(10 * time.Millisecond)
		e.Locked.Store(false)
	}()
	if conn, _, err = c.Dial(t.Context()); err != nil {
		t.Fatalf("with keys at last: %v", err)
	}
	conn.Close()
}

// TestOtherState refuses a genuine enclave with another state than the pinned
// one, on every way to it.
func TestOtherState(t *testing.T) {
	e := rig.Serve(t)
	config := load(t, e, e.Rig)
	config.Genesis = "ff" + config.Genesis[2:]
	c := dial(t, config)
	_, _, dialed := c.Dial(t.Context())
	_, verified := c.Verify(t.Context())
	_, asked := c.Query(t.Context(), text)
	for _, err := range []error{dialed, verified, asked} {
		if class(err) != client.ClassGenesis {
			t.Errorf("%v", err)
		}
	}
	if n := e.Calls.Load(); n != 0 {
		t.Errorf("%d queries reached it", n)
	}
}
