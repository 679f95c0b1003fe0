package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/cloisterhq/cloister/internal/bundle"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/test/rig"
)

// TestStatus goes through what a deployment can be like.
func TestStatus(t *testing.T) {
	e := rig.Serve(t)
	good := func() string { return e.Context(t, e.Rig) }
	for name, c := range map[string]struct {
		context string
		code    int
		states  string
		says    string
	}{
		"good":             {good(), 0, "gateway unknown, attested ok, evidence ok, deployment ok, genesis ok, bundle ok, profile warning, freshness warning, manifest unknown, token ok", "NONE: "},
		"nobody":           {nobody(t, e), exitUnreachable, "gateway unknown, attested unreachable, token ok", "can't be reached"},
		"no gateway there": {changed(t, good(), `"gateway": ""`, `"gateway": "127.0.0.1:1"`), exitUnreachable, "gateway unreachable, attested ok, evidence ok, deployment ok, genesis ok, bundle ok, profile warning, freshness warning, manifest unknown, token ok", "can't be reached"},
		"another image":    {e.Context(t, rig.New(t, rig.Config{Root: e.Root, Label: "another"})), exitRefused, "gateway unknown, attested ok, evidence refused, token ok", "policy mismatch: PCR0"},
		"another state":    {changed(t, good(), `"genesis": "07`, `"genesis": "08`), exitRefused, "gateway unknown, attested ok, evidence ok, genesis refused, token ok", "another state than the pinned one"},
		"nothing pinned":   {changed(t, good(), `"genesis": "07`+strings.Repeat("0", 62)+`"`, `"genesis": ""`), 0, "gateway unknown, attested ok, evidence ok, deployment ok, genesis warning, bundle ok, profile warning, freshness warning, manifest unknown, token ok", "NOT PINNED"},
		"another bundle":   {changed(t, good(), `"token_file"`, `"bundle": "policy.json", "token_file"`), 0, "gateway unknown, attested ok, evidence ok, deployment ok, genesis ok, bundle warning, profile warning, freshness warning, manifest unknown, token ok", "ANOTHER than the pinned"},
		"no token":         {changed(t, good(), `"token"`, `"none"`), exitRefused, "gateway unknown, attested ok, evidence ok, deployment ok, genesis ok, bundle ok, profile warning, freshness warning, manifest unknown, token refused", "there is no token in"},
	} {
		code, out, errs := cloister(t, "status", "--context", c.context)
		var got health
		if err := json.Unmarshal([]byte(out), &got); err != nil || errs != "" {
			t.Fatalf("%s: %v: %s%s", name, err, out, errs)
		}
		var states []string
		for _, p := range got.Parts {
			states = append(states, p.Part+" "+p.State)
		}
		if code != c.code || strings.Join(states, ", ") != c.states || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, %s\n%s", name, code, strings.Join(states, ", "), out)
		}
		if got.Schema != "cloister.status/v1" || got.Ready != (c.code == 0) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	e.Locked.Store(true)
	code, out, _ := cloister(t, "status", "-o", "table", "--context", good())
	if code != exitUnreachable || !strings.Contains(out, "genesis     unreachable  none yet: the enclave has no keys") || !strings.HasSuffix(out, "\nNOT READY\n") {
		t.Errorf("locked: exit %d\n%s", code, out)
	}
}

// TestStatusPinnedBundle compares with the file that the context names.
func TestStatusPinnedBundle(t *testing.T) {
	e := rig.Serve(t)
	path := changed(t, e.Context(t, e.Rig), `"token_file"`, `"bundle": "b", "token_file"`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "b"), e.Raw, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := cloister(t, "status", "--context", path)
	if digest := bundle.Digest(e.Raw); code != 0 || !strings.Contains(out, fmt.Sprintf("SHA-384 %x, as pinned", digest)) {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// teller is a gateway that says how the enclave is.
type teller struct {
	cloisterv1.UnimplementedGatewayServer
	says *cloisterv1.HealthResponse
}

func (g *teller) Health(context.Context, *cloisterv1.HealthRequest) (*cloisterv1.HealthResponse, error) {
	return g.says, nil
}

// TestStatusClock shows what the gateway says of the enclave's clock.
func TestStatusClock(t *testing.T) {
	e := rig.Serve(t)
	gateway := &teller{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := grpc.NewServer()
	cloisterv1.RegisterGatewayServer(front, gateway)
	go func() { _ = front.Serve(l) }()
	t.Cleanup(front.Stop)
	path := changed(t, e.Context(t, e.Rig), `"gateway": ""`, `"gateway": "`+l.Addr().String()+`"`)
	for _, tt := range []struct {
		name   string
		says   *cloisterv1.Clock
		row    string
		fields string
	}{
		{"nothing", nil, "", "null"},
		{"a process", &cloisterv1.Clock{AgeS: 3}, "clock unknown the process's own, which nobody judges; set to signed time 3s ago", `{"age_s":3}`},
		{"a machine", &cloisterv1.Clock{Source: "kvm-clock", AgeS: 59}, "clock ok kvm-clock; set to signed time 59s ago", `{"source":"kvm-clock","age_s":59}`},
		{
			"ahead", &cloisterv1.Clock{Source: "tsc", OffsetMs: new(int64(12)), AgeS: 60},
			"clock ok tsc; signed time was 12ms ahead when compared 1m0s ago", `{"source":"tsc","offset_ms":12,"age_s":60}`,
		},
		{
			"behind", &cloisterv1.Clock{Source: "tsc", OffsetMs: new(int64(-1500))},
			"clock ok tsc; signed time was 1.5s behind when compared 0s ago", `{"source":"tsc","offset_ms":-1500,"age_s":0}`,
		},
		{"the same", &cloisterv1.Clock{Source: "tsc", OffsetMs: new(int64(0))}, "clock ok tsc; signed time agreed when compared 0s ago", `{"source":"tsc","offset_ms":0,"age_s":0}`},
		{
			"a hostile name", &cloisterv1.Clock{Source: "\x1b[2J\nready"},
			`clock ok "\x1b[2J\nready; set to signed time 0s ago"`, `{"source":"\u001b[2J\nready","age_s":0}`,
		},
	} {
		gateway.says = &cloisterv1.HealthResponse{Phase: "ready", Clock: tt.says}
		code, out, errs := cloister(t, "status", "-o", "table", "--context", path)
		row := ""
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "clock ") {
				row = strings.Join(strings.Fields(line), " ")
			}
		}
		if code != 0 || errs != "" || row != tt.row {
			t.Errorf("%s: exit %d, %q, want %q\n%s%s", tt.name, code, row, tt.row, out, errs)
		}
		var got struct{ Clock json.RawMessage }
		_, out, _ = cloister(t, "status", "-o", "json", "--context", path)
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		var fields bytes.Buffer
		if got.Clock == nil {
			got.Clock = json.RawMessage("null")
		}
		if err := json.Compact(&fields, got.Clock); err != nil || fields.String() != tt.fields {
			t.Errorf("%s: %s, want %s", tt.name, fields.String(), tt.fields)
		}
	}
}

// TestExpiredToken is one clear line, before anything is asked.
func TestExpiredToken(t *testing.T) {
	e := rig.Serve(t)
	path := e.Context(t, e.Rig)
	expired := "e30.eyJleHAiOjF9.c2ln" // {"exp":1}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "token"), []byte(expired), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := cloister(t, "query", text, "--context", path)
	if code != exitRefused || out != "" || e.Calls.Load() != 0 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "expired at "+time.Unix(1, 0).UTC().Format(time.RFC3339)) {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	if strings.Contains(errs, expired) {
		t.Errorf("the token is shown: %s", errs)
	}
	code, _, errs = cloister(t, "query", text, "--context", changed(t, path, `"token"`, `"none"`))
	if code != exitUsage || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "there is no token in") {
		t.Errorf("no token: exit %d, %s", code, errs)
	}
}
