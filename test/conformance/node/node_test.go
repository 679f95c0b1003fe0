package node_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/intakekey"
)

// node runs jobs of the implementation in JavaScript.
type node struct {
	t   *testing.T
	dir string
}

// newNode installs the packages in a directory of the test's own. It skips the
// test where Node or the packages can't be had.
func newNode(t *testing.T) *node {
	t.Helper()
	if testing.Short() {
		t.Skip("it installs packages")
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the second implementation of the envelope isn't run: there is no %s here", program)
		}
	}
	n := &node{t, t.TempDir()}
	for _, file := range []string{"package.json", "main.mjs", "envelope.mjs", "cbor.mjs"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(n.dir, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
		"--fetch-retries=0", "--fetch-timeout=15000")
	cmd.Dir, cmd.WaitDelay = n.dir, time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("the second implementation of the envelope isn't run: its npm packages can't be had: %v\n%s", err, out)
	}
	return n
}

// do runs one job.
func (n *node) do(job, outcome any) {
	n.t.Helper()
	in, err := json.Marshal(job)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "main.mjs")
	var errs bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = n.dir, bytes.NewReader(in), &errs
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("%v\n%s", err, errs.String())
	}
	if err := json.Unmarshal(out, outcome); err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
}

// outcome is what became of opening one envelope.
type outcome struct {
	Name    string `json:"name"`
	Rows    int    `json:"rows"`
	Content string `json:"content"`
	Report  string `json:"report"`
	Refused string `json:"refused"`
}

func (n *node) open(envelopes []sealed) []outcome {
	n.t.Helper()
	var out struct{ Outcomes []outcome }
	n.do(map[string]any{"do": "open", "envelopes": envelopes}, &out)
	if len(out.Outcomes) != len(envelopes) {
		n.t.Fatalf("%d outcomes of %d envelopes", len(out.Outcomes), len(envelopes))
	}
	return out.Outcomes
}

// TestNode has the two implementations open each other's envelopes.
func TestNode(t *testing.T) {
	n := newNode(t)
	t.Run("opens", n.opens)
	t.Run("refuses", n.refuses)
	t.Run("seals", n.seals)
}

// opens: Node finds in the vectors, and in envelopes of several chunks that are
// sealed now, what Go put there.
func (n *node) opens(t *testing.T) {
	all := loadVectors(t).Envelopes
	for _, size := range []int{1, 64<<10 - 7, 64<<10 - 6, 64<<10 - 5, 200_000} {
		all = append(all, sealAs(t, "sealed now", intakeHeader(t, "s-now"), size%7+1, bytes.Repeat([]byte{0x5a}, size)))
	}
	for i, got := range n.open(all) {
		want := all[i]
		if got != (outcome{Name: want.Name, Rows: want.Rows, Content: want.Content, Report: want.Report}) {
			t.Errorf("%s, %d bytes: refused %q", want.About, len(want.Content)/2, got.Refused)
		}
	}
}

// refuses: what Go refuses, Node refuses, after the producer signed it too.
func (n *node) refuses(t *testing.T) {
	good := loadVectors(t).Envelopes[1]
	raw := unhex(t, good.Envelope)
	var broken []sealed
	for i := 0; i < len(raw); i += 13 {
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << (i % 8)
		e := good
		e.Envelope = hex.EncodeToString(bad)
		broken = append(broken, e)
	}
	for _, change := range []func(*envelope.Header){
		func(h *envelope.Header) { h.Dataset = "visits" },
		func(h *envelope.Header) { h.Deployment = "lung-study" },
		func(h *envelope.Header) { h.Producer = "clinic-b" },
		func(h *envelope.Header) { h.Stream = "s-2" },
		func(h *envelope.Header) { h.Wrap.Key = "sha256:" + hex.EncodeToString(make([]byte, 32)) },
		func(h *envelope.Header) { h.Wrap.Blob[0] ^= 1 },
		func(h *envelope.Header) { h.Wrap.Blob[1167] ^= 1 },
	} {
		h := intakeHeader(t, "s-1")
		change(&h)
		broken = append(broken, sealAs(t, "for another place", h, 1, nil))
	}
	for i, got := range n.open(broken) {
		if got.Refused == "" {
			t.Errorf("Node opened broken envelope %d", i)
		}
		if _, err := openSealed(unhex(t, broken[i].Envelope), unhex(t, broken[i].Producer), keyOf(t, broken[i])); err == nil {
			t.Errorf("Go opened broken envelope %d", i)
		}
	}
}

// seals: Go opens what Node seals to the key in a signed key set.
func (n *node) seals(t *testing.T) {
	key, err := intakekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	claims := vectorClaims(t)
	claims.Key = key.Public().Bytes()
	set, err := intakekey.Sign(claims, vectorService())
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	type answer struct{ Envelope, Report string }
	seal := func(content any) (got answer) {
		n.do(map[string]any{
			"do": "seal", "key_set": hex.EncodeToString(set), "service": hex.EncodeToString(public(vectorService())), "now": claims.Born,
			"to":   map[string]any{"dataset": "colon", "contract": "1.0.0", "producer": "clinic-a", "stream": "node", "sequence": 9, "codec": 1},
			"rows": 3, "content": content, "signer": hex.EncodeToString(vectorSigner().Seed()),
		}, &got)
		return got
	}
	open := keyOf(t, sealed{Seed: hex.EncodeToString(seed.Expose())})
	// A producer that seals another form than the specification's.
	if _, err := openSealed(unhex(t, seal(nil).Envelope), public(vectorSigner()), open); !errors.Is(err, envelope.ErrOpen) {
		t.Errorf("content that is null: %v", err)
	}
	for _, size := range []int{0, 5, 64<<10 - 6, 150_000} {
		content := bytes.Repeat([]byte{0x5a}, size)
		got := seal(hex.EncodeToString(content))
		o, err := openSealed(unhex(t, got.Envelope), public(vectorSigner()), open)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if h := o.Header(); o.Rows() != 3 || !bytes.Equal(o.Content(), content) || h.Sequence != 9 || h.Stream != "node" || hex.EncodeToString(o.ReportKey().Expose()) != got.Report {
			t.Errorf("%d bytes: something else is inside", size)
		}
	}
}
