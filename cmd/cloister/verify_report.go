package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/ear"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/attls"
)

// verdicts writes verdicts in one of the forms of `cloister verify`.
type verdicts struct {
	out, errs io.Writer
	form      string
	explain   bool
	signer    *ear.Signer
}

// live writes that an enclave was verified; peer is nil without a connection.
func (r verdicts) live(result *verifier.Result, peer *attls.Peer) error {
	switch r.form {
	case "json":
		return writeJSON(r.out, result)
	case "ear":
		return r.token(r.signer.Token(result, time.Now()))
	}
	writeChecks(r.out, result.Checks(), r.explain)
	if peer != nil {
		writePeer(r.out, peer)
		return nil
	}
	fmt.Fprintf(r.out, "verified: %s, release %s, made %s\n", result.Environment(), result.Release(), stamp(result.Document().Timestamp()))
	writeOpen(r.out, result.NotEstablished())
	simulated(r.out, result.Environment())
	return nil
}

// archived writes that a document was good at a time.
func (r verdicts) archived(result *verifier.Archived) error {
	switch r.form {
	case "json":
		return writeJSON(r.out, result)
	case "ear":
		return r.token(r.signer.ArchivedToken(result, time.Now()))
	}
	writeChecks(r.out, result.Checks(), r.explain)
	fmt.Fprintf(r.out, "valid at %s: %s, release %s, made %s; FRESHNESS NOT ESTABLISHED\n",
		stamp(result.Time()), result.Environment(), result.Release(), stamp(result.Document().Timestamp()))
	writeOpen(r.out, result.NotEstablished())
	simulated(r.out, result.Environment())
	return nil
}

func (r verdicts) token(token string, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(r.out, token)
	return err
}

// refuse says which check failed and what to do. Errors that are no refusals of
// evidence stay what they are.
func (r verdicts) refuse(err error) error {
	if errors.Is(err, verifier.ErrNonce) {
		return &exitError{exitUsage, err}
	}
	var exit *exitError
	var verdict *attestation.Error
	if errors.As(err, &exit) || !errors.As(err, &verdict) {
		return err
	}
	fix := advice(verdict)
	if r.form == "json" {
		if err := writeJSON(r.out, verifier.Refusal{Err: verdict, Fix: fix}); err != nil {
			return err
		}
	}
	check := ""
	if verdict.Check != "" {
		check = "failed check: " + verdict.Check + "\n  "
	}
	return &exitError{exitRefused, fmt.Errorf("REFUSED: %w\n  %s%s", verdict, check, fix)}
}

// advice is what to do about a refusal.
func advice(e *attestation.Error) string {
	switch e.Class {
	case attestation.UntrustedRoot:
		return "This evidence is signed under another root than the one you trust. Check --trust-root and the policy's roots; don't send anything."
	case attestation.PolicyMismatch:
		return "The enclave runs another image or another bundle than your policy names. Ask the operator which release this is; don't send anything until your own policy names it."
	case client.ClassGenesis:
		return "The enclave is genuine, but its state isn't the one that your context pins: it was made anew, or this is a second copy. Ask the operator; don't send anything until you know."
	case client.ClassDeployment:
		return "The enclave is genuine, but it serves another deployment. Check the address and the context file."
	case attestation.Debug:
		return "The enclave runs in debug mode: its memory can be read from outside. Only a policy with allow_debug accepts that, for tests."
	case attestation.Stale, attestation.Future, attestation.Expired, attestation.NotYetValid:
		return "The evidence isn't of this moment. Check this machine's clock, then try again. A document of the past is judged with --at T or --at-document-time."
	case attestation.Clock:
		return "Set this machine's clock, or give a time after 1970."
	case attestation.Nonce:
		return "The document answers somebody else's challenge, or an older one of yours. Ask for a new one; don't send anything."
	case attestation.Binding:
		return "The document is an enclave's, but it doesn't vouch for what came with it: somebody may stand in between. Don't send anything."
	case attestation.Malformed:
		return "This is no attestation document, or not a whole one. One document is expected: as it is, in hexadecimal digits, or in base64 on one line (base64 -w0)."
	case attestation.WrongDocumentType:
		return "The document is of a NitroTPM or another kind of machine. Policies here are about enclaves."
	default:
		return "The evidence doesn't hold. Don't send anything; keep the output for whoever runs the enclave."
	}
}

// writeVerified prints one line a check and the verdict on a connection.
func writeVerified(out io.Writer, peer *attls.Peer) error {
	writeChecks(out, peer.Result.Checks(), false)
	writePeer(out, peer)
	return nil
}

func writePeer(out io.Writer, peer *attls.Peer) {
	if len(peer.Genesis) > 0 {
		fmt.Fprintf(out, "  %-16s %s  %s\n", "genesis", okay(out), hex.EncodeToString(peer.Genesis))
	}
	fmt.Fprintf(out, "verified: %s, release %s, deployment %s\n", peer.Result.Environment(), peer.Result.Release(), peer.Bundle.Deployment)
	simulated(out, peer.Result.Environment())
}

// writeChecks prints one line a check, with its meaning if that was asked for.
func writeChecks(out io.Writer, checks []verifier.Check, explain bool) {
	for _, c := range checks {
		fmt.Fprintf(out, "  %-16s %s  %s\n", c.Name, okay(out), c.Detail)
		for _, e := range verifier.Explain() {
			if explain && e.Check == c.Name {
				writeExplanation(out, e)
			}
		}
	}
}

func writeExplanation(out io.Writer, e verifier.Explanation) {
	fmt.Fprintf(out, "      means:   %s\n      without: %s\n", e.Means, e.Without)
}

// writeOpen prints what a document alone leaves open.
func writeOpen(out io.Writer, open []string) {
	for _, text := range open {
		fmt.Fprintf(out, "  not established: %s\n", text)
	}
}

func simulated(out io.Writer, environment string) {
	if environment == "simulation" {
		fmt.Fprintln(out, "SIMULATION: no hardware protects this enclave; use test data only")
	}
}

// explainAll says what each check means.
func explainAll(out io.Writer, form string) error {
	if form == "json" {
		var all []map[string]string
		for _, e := range verifier.Explain() {
			all = append(all, map[string]string{"name": e.Check, "means": e.Means, "without": e.Without})
		}
		return writeJSON(out, map[string]any{"schema": "cloister.explain/v1", "checks": all})
	}
	for _, e := range verifier.Explain() {
		fmt.Fprintf(out, "  %s\n", e.Check)
		writeExplanation(out, e)
	}
	return nil
}

// okay is the mark of a check that passed, green on a terminal.
func okay(out io.Writer) string {
	if !colours(out) {
		return "ok"
	}
	return "\x1b[32mok\x1b[0m"
}

// colours says whether out is a terminal that may show colours
// (https://no-color.org).
func colours(out io.Writer) bool {
	return isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
