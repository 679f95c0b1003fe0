package client_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/test/rig"
)

// load reads the context of somebody who wants another enclave and reaches e.
func load(t *testing.T, e *rig.Served, wanted *rig.Rig) *client.Config {
	t.Helper()
	c, err := client.Load(e.Context(t, wanted))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dial makes a client that would try for an hour.
func dial(t *testing.T, config *client.Config) *client.Client {
	t.Helper()
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	c.Wait = time.Hour
	return c
}

func class(err error) attestation.Class {
	refusal, ok := errors.AsType[*attestation.Error](err)
	if !ok {
		return ""
	}
	return refusal.Class
}

func TestVerify(t *testing.T) {
	e := rig.Serve(t)
	peer, err := dial(t, load(t, e, e.Rig)).Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !peer.ServiceKey.Equal(e.Service.Public()) || peer.Bundle.Deployment != rig.Deployment || peer.Result.Environment() != policy.Simulation {
		t.Error("another enclave was verified")
	}
	e.Locked.Store(true)
	if peer, err = dial(t, load(t, e, e.Rig)).Verify(t.Context()); err != nil || peer.ServiceKey != nil {
		t.Errorf("without keys: %v", err)
	}
}

// TestRefusals: whatever is wrong with an enclave, both Verify and Query end at
// once with the class of the refusal, and no query reaches it.
func TestRefusals(t *testing.T) {
	e := rig.Serve(t)
	for name, c := range map[string]struct {
		wanted rig.Config
		pin    func(*client.Config)
		want   attestation.Class
	}{
		"under another root":    {rig.Config{}, nil, attestation.UntrustedRoot},
		"another image":         {rig.Config{Root: e.Root, Label: "another"}, nil, attestation.PolicyMismatch},
		"another bundle":        {rig.Config{Root: e.Root, Bundle: func(b *bundle.Bundle) { b.Limits.QueryTimeout = 1 }}, nil, attestation.PolicyMismatch},
		"another genesis":       {rig.Config{Root: e.Root}, func(c *client.Config) { c.Genesis = hex.EncodeToString(make([]byte, 32)) }, client.ClassGenesis},
		"of another deployment": {rig.Config{Root: e.Root}, func(c *client.Config) { c.Deployment = "another" }, client.ClassDeployment},
	} {
		config := load(t, e, rig.New(t, c.wanted))
		if c.pin != nil {
			c.pin(config)
		}
		if peer, err := dial(t, config).Verify(t.Context()); peer != nil || class(err) != c.want {
			t.Errorf("%s: Verify: %v", name, err)
		}
		if a, err := dial(t, config).Query(t.Context(), text); a != nil || class(err) != c.want {
			t.Errorf("%s: Query: %v", name, err)
		}
	}
	if n := e.Calls.Load(); n != 0 {
		t.Errorf("%d queries reached an enclave that was refused", n)
	}
}

// TestNoPins: a context that pins nothing takes every state and deployment of
// an accepted enclave.
func TestNoPins(t *testing.T) {
	e := rig.Serve(t)
	config := load(t, e, e.Rig)
	config.Genesis, config.Deployment = "", ""
	if _, err := dial(t, config).Query(t.Context(), text); err != nil {
		t.Error(err)
	}
}

// TestUnreachable: nobody there, or somebody who gives no evidence.
func TestUnreachable(t *testing.T) {
	e := rig.Serve(t)
	for name, behave := range map[string]func(net.Conn){
		"closes":      func(net.Conn) {},
		"speaks HTTP": func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				behave(conn)
				conn.Close()
			}
		}()
		config := load(t, e, e.Rig)
		config.Attested = l.Addr().String()
		unreachable(t, name, config)
		l.Close()
		unreachable(t, name+", then nobody listens", config)
	}
}

func unreachable(t *testing.T, name string, config *client.Config) {
	t.Helper()
	c := dial(t, config)
	c.Wait = 0
	if _, err := c.Verify(t.Context()); !errors.Is(err, client.ErrUnreachable) || class(err) != "" {
		t.Errorf("%s: Verify: %v", name, err)
	}
	if _, err := c.Query(t.Context(), text); !errors.Is(err, client.ErrUnreachable) || class(err) != "" {
		t.Errorf("%s: Query: %v", name, err)
	}
	c.Wait = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Verify(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: Verify until the context ends: %v", name, err)
	}
}
