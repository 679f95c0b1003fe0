package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/bundle"
)

// The states of a part.
const (
	stateOK          = "ok"
	stateWarning     = "warning"     // works, and somebody should know
	stateUnknown     = "unknown"     // couldn't be asked, or doesn't matter
	stateRefused     = "refused"     // exit code 1
	stateUnreachable = "unreachable" // exit code 3
)

// part is one line of a status.
type part struct {
	Part   string `json:"part"`
	State  string `json:"state"`
	Detail string `json:"detail"`
}

// health is what a client can tell of a deployment.
type health struct {
	Schema     string `json:"schema"`
	Ready      bool   `json:"ready"`
	Deployment string `json:"deployment,omitempty"`
	Profile    string `json:"profile,omitempty"`
	Freshness  string `json:"freshness,omitempty"`
	Bundle     string `json:"bundle,omitempty"`
	Genesis    string `json:"genesis,omitempty"`
	Phase      string `json:"phase,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Clock      *ticks `json:"clock,omitempty"`
	Token      string `json:"token_expires,omitempty"`
	Parts      []part `json:"parts"`
}

// ticks is how the enclave's clock does.
type ticks struct {
	Source string `json:"source,omitempty"`
	// Offset is how far signed time was ahead in the last comparison.
	Offset *int64 `json:"offset_ms,omitempty"`
	Age    int64  `json:"age_s"`
}

func (h *health) add(name, state, detail string, args ...any) {
	h.Parts = append(h.Parts, part{name, state, fmt.Sprintf(detail, args...)})
}

// code is the exit code: what is refused stays refused, what can't be reached
// may come back.
func (h *health) code() int {
	code := 0
	for _, p := range h.Parts {
		switch p.State {
		case stateRefused:
			return exitRefused
		case stateUnreachable:
			code = exitUnreachable
		}
	}
	return code
}

func statusCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say which parts of the deployment can be reached, verified and used",
		Long: `Status asks the gateway how far the enclave is, verifies the enclave's evidence
and looks at the context's token and pins. It sends no token and no data. How
far the enclave is are the words of the untrusted gateway; everything below
"evidence" is what the verified enclave says.

Exit codes: 0 ready, 1 something is refused, 2 usage, 3 something is unreachable
or not ready yet.`,
		Example: `  cloister status
  cloister status -o json`,
		Args: usage(cobra.NoArgs),
	}
	outputFlag(cmd, "table", "json")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for an answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		form, err := dataForm(cmd)
		if err != nil {
			return err
		}
		config, err := loadContext(cmd)
		if err != nil {
			return err
		}
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		c.Wait = 0
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		h := examine(ctx, c, config)
		if form == "json" {
			err = writeJSON(cmd.OutOrStdout(), h)
		} else {
			err = writeStatus(cmd.OutOrStdout(), h)
		}
		if err == nil && !h.Ready {
			err = &exitError{code: h.code()}
		}
		return err
	}
	return cmd
}

// examine looks at all parts, in the order in which they depend on each other.
func examine(ctx context.Context, c *client.Client, config *client.Config) *health {
	h := &health{Schema: "cloister.status/v1"}
	h.gateway(ctx, c, config)
	if peer := h.evidence(ctx, c, config); peer != nil {
		h.enclave(peer, config)
	}
	h.token(c, config)
	h.Ready = h.code() == 0
	return h
}

func (h *health) gateway(ctx context.Context, c *client.Client, config *client.Config) {
	if config.Gateway == "" {
		h.add("gateway", stateUnknown, "the context names none")
		return
	}
	said, err := c.Health(ctx)
	if err != nil {
		h.add("gateway", stateUnreachable, "%v", err)
		return
	}
	h.Phase, h.Reason = said.Phase, said.Reason
	h.add("gateway", stateOK, "%s", config.Gateway)
	words := h.Phase
	if h.Reason != "" {
		words += ": " + h.Reason
	}
	switch h.Phase {
	case client.PhaseReady:
		h.add("enclave", stateOK, "%s", words)
	case "refused by KMS", "failed":
		h.add("enclave", stateRefused, "%s", words)
	default:
		h.add("enclave", stateUnreachable, "%s", words)
	}
	if said.Clock != nil {
		h.clock(said.Clock)
	}
}

// clock adds how the enclave's clock does. The enclave stops by itself when it
// must not go on with it.
func (h *health) clock(k *client.Clock) {
	h.Clock = &ticks{Source: k.Source, Age: int64(k.Age.Seconds())}
	state, source := stateOK, k.Source
	if source == "" {
		state, source = stateUnknown, "the process's own, which nobody judges"
	}
	if k.Offset == nil {
		h.add("clock", state, "%s; set to signed time %v ago", source, k.Age)
		return
	}
	h.Clock.Offset = new(k.Offset.Milliseconds())
	said := "agreed"
	switch {
	case *k.Offset > 0:
		said = fmt.Sprintf("was %v ahead", *k.Offset)
	case *k.Offset < 0:
		said = fmt.Sprintf("was %v behind", k.Offset.Abs())
	}
	h.add("clock", state, "%s; signed time %s when compared %v ago", source, said, k.Age)
}

// evidence verifies the enclave and answers it, nil when it wasn't accepted.
func (h *health) evidence(ctx context.Context, c *client.Client, config *client.Config) *attls.Peer {
	peer, err := c.Verify(ctx)
	var verdict *attestation.Error
	switch {
	case err == nil:
		h.add("attested", stateOK, "%s", config.Attested)
		h.add("evidence", stateOK, "%s, release %s", peer.Result.Environment(), peer.Result.Release())
		return peer
	case errors.As(err, &verdict):
		h.add("attested", stateOK, "%s", config.Attested)
		name := "evidence"
		if verdict.Class == client.ClassGenesis || verdict.Class == client.ClassDeployment {
			h.add(name, stateOK, "accepted by the policy")
			name = string(verdict.Class)
		}
		h.add(name, stateRefused, "%s", strings.TrimPrefix(verdict.Error(), "attestation: "))
	default:
		h.add("attested", stateUnreachable, "%v", err)
	}
	return nil
}

// enclave adds what a verified enclave says of itself.
func (h *health) enclave(peer *attls.Peer, config *client.Config) {
	b := peer.Bundle
	h.Deployment, h.Profile, h.Freshness, h.Genesis = b.Deployment, b.Profile, b.Freshness, hex.EncodeToString(peer.Genesis)
	h.add("deployment", stateOK, "%s", b.Deployment)
	switch {
	case peer.Genesis == nil:
		h.add("genesis", stateUnreachable, "none yet: the enclave has no keys")
	case config.Genesis == "":
		h.add("genesis", stateWarning, "%s, NOT PINNED: the context names none, so that a second copy would go unnoticed", h.Genesis)
	default:
		h.add("genesis", stateOK, "%s, as pinned", h.Genesis)
	}
	h.bundle(peer, config)
	if b.Profile == bundle.Production {
		h.add("profile", stateOK, "%s", b.Profile)
	} else {
		h.add("profile", stateWarning, "%s: no hardware protects this enclave; use test data only", b.Profile)
	}
	if b.Freshness == bundle.FreshnessNone {
		h.add("freshness", stateWarning, "NONE: a parent that brings back an old state isn't noticed")
	} else {
		h.add("freshness", stateOK, "%s", b.Freshness)
	}
	h.add("manifest", stateUnknown, "each answer and each receipt names its number")
}

// bundle compares the measured bundle with the pinned one.
func (h *health) bundle(peer *attls.Peer, config *client.Config) {
	evidence, err := attls.ReadEvidence(peer.Evidence)
	if err != nil {
		h.add("bundle", stateRefused, "%v", err)
		return
	}
	measured := bundle.Digest(evidence.Bundle)
	h.Bundle = hex.EncodeToString(measured[:])
	path := config.BundlePath()
	if path == "" {
		h.add("bundle", stateOK, "SHA-384 %s", h.Bundle)
		return
	}
	raw, err := os.ReadFile(path)
	switch {
	case err != nil:
		h.add("bundle", stateWarning, "SHA-384 %s; the pinned one can't be read: %v", h.Bundle, err)
	case bundle.Digest(raw) != measured:
		h.add("bundle", stateWarning, "SHA-384 %s, ANOTHER than the pinned %s: what is sealed for that one is refused", h.Bundle, path)
	default:
		h.add("bundle", stateOK, "SHA-384 %s, as pinned", h.Bundle)
	}
}

func (h *health) token(c *client.Client, config *client.Config) {
	if config.TokenFile == "" {
		h.add("token", stateUnknown, "the context names none; queries need one")
		return
	}
	_, expires, err := c.Bearer()
	if !expires.IsZero() {
		h.Token = expires.UTC().Format(time.RFC3339)
	}
	switch {
	case err != nil:
		h.add("token", stateRefused, "%v", err)
	case expires.IsZero():
		h.add("token", stateOK, "says no expiry")
	case time.Until(expires) < expiresSoon:
		h.add("token", stateWarning, "expires at %s", h.Token)
	default:
		h.add("token", stateOK, "expires at %s", h.Token)
	}
}

func writeStatus(out io.Writer, h *health) error {
	t := table{}
	t.add("part", "state", "detail")
	for _, p := range h.Parts {
		t.add(p.Part, p.State, printable(p.Detail))
	}
	if err := t.write(out); err != nil {
		return err
	}
	word := map[bool]string{true: "ready", false: "NOT READY"}[h.Ready]
	_, err := fmt.Fprintln(out, word)
	return err
}
