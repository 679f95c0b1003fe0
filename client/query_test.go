package client_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/test/rig"
)

const text = "SELECT COUNT(*) AS n FROM colon"

func TestQuery(t *testing.T) {
	e := rig.Serve(t)
	a, err := dial(t, load(t, e, e.Rig)).Query(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Rows) != 1 || a.Rows[0][0].Int != 929 || !a.Peer.ServiceKey.Equal(e.Service.Public()) {
		t.Errorf("another answer: %+v", a.Answer)
	}
	if err := answer.Verify(a.Answer, a.Signature, a.Peer.ServiceKey); err != nil {
		t.Errorf("the answer can't be checked again: %v", err)
	}
}

// TestForgedAnswers: an answer is taken only with the attested service key's
// signature, for this query, from this state.
func TestForgedAnswers(t *testing.T) {
	e := rig.Serve(t)
	c := dial(t, load(t, e, e.Rig))
	other := ed25519.NewKeyFromSeed(make([]byte, 32))
	for name, forge := range map[string]func(text string) (*answer.Answer, []byte, error){
		"another key's signature": func(text string) (*answer.Answer, []byte, error) {
			a := e.Count(text)
			signature, err := answer.Sign(a, other)
			return a, signature, err
		},
		"no signature": func(text string) (*answer.Answer, []byte, error) { return e.Count(text), nil, nil },
		"another number": func(text string) (*answer.Answer, []byte, error) {
			a, signature, err := e.Sign(e.Count(text))
			a.Rows[0][0].Int++
			return a, signature, err
		},
		"another query": func(text string) (*answer.Answer, []byte, error) { return e.Sign(e.Count(text + " ")) },
		"another state": func(text string) (*answer.Answer, []byte, error) {
			a := e.Count(text)
			a.Genesis = [32]byte{9}
			return e.Sign(a)
		},
	} {
		e.Answer = forge
		if a, err := c.Query(t.Context(), text); a != nil || err == nil || errors.Is(err, client.ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestQueryRefused: a refusal of the query comes in the enclave's words, once.
func TestQueryRefused(t *testing.T) {
	e := rig.Serve(t)
	e.Answer = func(string) (*answer.Answer, []byte, error) {
		return nil, nil, sql.Refuse(rig.Dataset, "PQ100_SYNTAX", "it is so", "do otherwise")
	}
	_, err := dial(t, load(t, e, e.Rig)).Query(t.Context(), text)
	refusal, ok := errors.AsType[*client.QueryError](err)
	if !ok || refusal.Code != codes.InvalidArgument || !strings.HasPrefix(refusal.Error(), "PQ100_SYNTAX: it is so") {
		t.Errorf("%v", err)
	}
	if n := e.Calls.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestWrongToken(t *testing.T) {
	e := rig.Serve(t)
	config := load(t, e, e.Rig)
	for name, content := range map[string]string{"not a token": "tok-0815", "another issuer's": rig.NewIssuer(t).Token(t)} {
		config.TokenFile = filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(config.TokenFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := dial(t, config).Query(t.Context(), text)
		if refusal, ok := errors.AsType[*client.QueryError](err); !ok || refusal.Code != codes.Unauthenticated || strings.Contains(err.Error(), content) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, content := range map[string]string{"empty": " \n", "too long": strings.Repeat("a", 16<<10+1)} {
		if err := os.WriteFile(config.TokenFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := dial(t, config).Query(t.Context(), text); err == nil || strings.Contains(err.Error(), "aaa") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, file := range map[string]string{"none": "", "one that isn't there": filepath.Join(t.TempDir(), "token")} {
		config.TokenFile = file
		if _, err := dial(t, config).Query(t.Context(), text); err == nil {
			t.Errorf("%s: answered", name)
		}
	}
	if n := e.Calls.Load(); n != 0 {
		t.Errorf("%d queries ran", n)
	}
}

// TestUnlocking: a query waits until the enclave has its keys, and the answer
// is checked with the key that a new connection's evidence brings.
func TestUnlocking(t *testing.T) {
	e := rig.Serve(t)
	e.Locked.Store(true)
	e.Paths.Set("waiting for keys", "")
	c := dial(t, load(t, e, e.Rig))
	c.Wait = 0
	// The path is open already, but the evidence names no service key yet: not
	// even the token goes there.
	if _, err := c.Query(t.Context(), text); !errors.Is(err, client.ErrLocked) {
		t.Errorf("without keys: %v", err)
	}
	e.Locked.Store(false)
	e.Paths.Shut("not yet")
	_, err := c.Query(t.Context(), text)
	if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), "no keys") {
		t.Errorf("with a closed path: %v", err)
	}
	e.Locked.Store(true)
	c.Wait = time.Hour
	timer := time.AfterFunc(50*time.Millisecond, func() {
		e.Locked.Store(false)
		e.Paths.Open(nil, e)
	})
	defer timer.Stop()
	if _, err := c.Query(t.Context(), text); err != nil {
		t.Errorf("after it got them: %v", err)
	}
}

func TestQueryCancelled(t *testing.T) {
	e := rig.Serve(t)
	e.Paths.Shut("for good")
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(50*time.Millisecond, cancel).Stop()
	if _, err := dial(t, load(t, e, e.Rig)).Query(ctx, text); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestIssuerAway: an outage behind a verified enclave is told in its words.
func TestIssuerAway(t *testing.T) {
	e := rig.Serve(t)
	c := dial(t, load(t, e, e.Rig))
	c.Wait = 0
	e.Issuer.Close()
	if _, err := c.Query(t.Context(), text); !errors.Is(err, client.ErrUnreachable) || !strings.HasPrefix(err.Error(), "the identity provider") {
		t.Errorf("%v", err)
	}
}

func TestContext(t *testing.T) {
	e := rig.Serve(t)
	path := filepath.Join(t.TempDir(), "context.json")
	good := `{"version":1,"attested":"127.0.0.1:1","policy":"policy.json"`
	for name, c := range map[string]struct {
		content string
		ok      bool
	}{
		"smallest": {good + "}", true}, "an unknown key": {good + `,"policies":"x"}`, false}, "another version": {strings.Replace(good, "1", "2", 1) + "}", false},
		"no policy": {`{"version":1,"attested":"127.0.0.1:1"}`, false}, "no address": {`{"version":1,"policy":"p"}`, false},
		"not JSON": {"version: 1", false}, "nothing": {"", false}, "too large": {good + "}" + strings.Repeat(" ", 1<<20), false},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if config, err := client.Load(path); (err == nil) != c.ok || (config == nil) == c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := client.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for name, spoil := range map[string]func(*client.Config){
		"a short genesis": func(c *client.Config) { c.Genesis = "00" }, "a genesis of letters": func(c *client.Config) { c.Genesis = strings.Repeat("z", 64) },
		"no such policy": func(c *client.Config) { c.Policy = "none.json" }, "no such root": func(c *client.Config) { c.TrustRoot = "none.pem" },
		"a policy that is none": func(c *client.Config) { c.Policy = "root.pem" }, "a root that is none": func(c *client.Config) { c.TrustRoot = "policy.json" },
	} {
		config := load(t, e, e.Rig)
		spoil(config)
		if c, err := client.New(config); c != nil || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	saved := load(t, e, e.Rig)
	saved.Producer = client.Producer{Name: "demo", KeyFile: "producer.key"}
	if err := saved.Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the context: %v, %v", info.Mode(), err)
	}
	again, err := client.Load(path)
	if err != nil || again.Producer != saved.Producer || again.Genesis != hex.EncodeToString(e.Genesis[:]) {
		t.Errorf("came back changed: %v", err)
	}
}
