package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/ear"
	"github.com/cloisterhq/cloister/client"
)

// verifyFlags are the flags of `cloister verify`.
type verifyFlags struct {
	policy, root       string
	document, evidence string
	at, nonce, spki    string
	atDocument         bool
	signKey, save      string
	explain            bool
}

func verifyCommand() *cobra.Command {
	f := new(verifyFlags)
	cmd := &cobra.Command{
		Use:   "verify [ADDRESS]",
		Short: "Verify a running enclave's evidence, or a document that you have",
		Long: `Verify connects to an enclave, asks for evidence with a fresh nonce on that very
connection and appraises it against a policy: the certificate chain up to the
trust root, the signature, freshness, the measurements of image and bundle, and
that the connection's key is the attested one. ADDRESS is the host:port of
attested TLS; without it the context file says.

--document judges a document that is there already, as it comes from a security
module or in hexadecimal digits or base64; --evidence judges what --save wrote.
Without more they are judged at the present time; --at names another time, which
takes the place of the clock in every check, and --at-document-time takes the
document's own. Such a verdict says nothing about freshness: whoever has a
document can show it again. Only --nonce without --at, with the nonce that you
chose and sent for this very document, makes it live.

--explain says of each check what it means and what an attacker could do
without it; alone, it explains them all and verifies nothing.

Exit codes: 0 verified, 1 refused, 2 usage, 3 no evidence could be had.`,
		Example: `  cloister verify
  cloister verify 127.0.0.1:7443 --policy policy.json --trust-root root.pem -o json
  cloister verify --document att.cbor --at 2026-11-20T10:00:00Z --policy policy.json
  cloister verify --document - --at-document-time --policy policy.json <att.b64
  cloister verify --document att.cbor --nonce $NONCE --policy policy.json -o ear --sign-key key.pem
  cloister verify --explain`,
		Args: usage(cobra.MaximumNArgs(1)),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "appraisal policy (default: the context's)")
	flags.StringVar(&f.root, "trust-root", "", "PEM file of the root to trust; the policy must name it (default: the context's, else AWS's Nitro root)")
	flags.StringVar(&f.document, "document", "", "judge the document in this file; - is stdin")
	flags.StringVar(&f.evidence, "evidence", "", "judge the evidence in this file, as --save wrote it")
	flags.StringVar(&f.at, "at", "", "judge as of this time, RFC 3339; establishes no freshness")
	flags.BoolVar(&f.atDocument, "at-document-time", false, "judge as of the document's own time; establishes no freshness")
	flags.StringVar(&f.nonce, "nonce", "", "nonce that the document must hold, hexadecimal digits")
	flags.StringVar(&f.spki, "spki", "", "with --evidence: SHA-256 of the key of the connection that it came on, 64 hexadecimal digits")
	flags.StringVar(&f.signKey, "sign-key", "", "with -o ear: PEM file of the Ed25519 or P-256 key that signs the token")
	flags.StringVar(&f.save, "save", "", "with an enclave: write the evidence to this file once it is verified")
	flags.BoolVar(&f.explain, "explain", false, "say what each check means")
	flags.StringP("output", "o", "text", "text, json or ear (a signed attestation result, JWT)")
	flags.Duration("wait", 0, "how long to keep trying when nobody answers")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) }
	return cmd
}

// run checks the whole command line before it reads or sends anything.
func (f *verifyFlags) run(cmd *cobra.Command, args []string) error {
	form, err := format(cmd, "text", "json", "ear")
	if err != nil {
		return err
	}
	given := cmd.Flags().Changed
	offline := given("document") || given("evidence")
	if f.explain && !offline && len(args) == 0 && form != "ear" {
		return explainAll(cmd.OutOrStdout(), form)
	}
	if err := f.conflicts(given, args, form, offline); err != nil {
		return &exitError{exitUsage, err}
	}
	report := verdicts{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), form: form, explain: f.explain}
	if form == "ear" {
		if report.signer, err = readSigner(f.signKey); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	if offline {
		return f.judge(cmd, report)
	}
	return f.ask(cmd, args, report)
}

// conflicts answers what doesn't go together on a command line.
func (f *verifyFlags) conflicts(given func(string) bool, args []string, form string, offline bool) error {
	needs := func(flag string, ok bool, what string) error {
		if given(flag) && !ok {
			return fmt.Errorf("--%s goes with %s", flag, what)
		}
		return nil
	}
	switch {
	case given("document") && given("evidence"):
		return errors.New("give --document or --evidence, not both")
	case offline && len(args) > 0:
		return errors.New("give an ADDRESS or a file, not both")
	case given("at") && f.atDocument:
		return errors.New("give --at or --at-document-time, not both")
	case form == "ear" && f.signKey == "":
		return errors.New("-o ear needs --sign-key FILE: whoever verified signs the result")
	}
	return errors.Join(
		needs("at", offline, "--document or --evidence"),
		needs("at-document-time", offline, "--document or --evidence"),
		needs("nonce", offline, "--document or --evidence: to an enclave a fresh nonce is sent anyway"),
		needs("spki", given("evidence"), "--evidence"),
		needs("save", !offline, "an enclave"),
		needs("wait", !offline, "an enclave"),
		needs("sign-key", form == "ear", "-o ear"),
	)
}

// ask verifies a running enclave.
func (f *verifyFlags) ask(cmd *cobra.Command, args []string, report verdicts) error {
	c, err := f.client(cmd, args)
	if err != nil {
		return report.refuse(err)
	}
	peer, err := c.Verify(cmd.Context())
	if err != nil {
		return report.refuse(err)
	}
	if f.save != "" {
		if err := os.WriteFile(f.save, peer.Evidence, 0o600); err != nil {
			return &exitError{exitUsage, fmt.Errorf("verified, but the evidence can't be saved: %w", err)}
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "saved %s; it came on a connection with the key sha256 %x\n", f.save, peer.SPKI)
	}
	return report.live(peer.Result, peer)
}

// client takes what flags and arguments say over the context's word.
func (f *verifyFlags) client(cmd *cobra.Command, args []string) (*client.Client, error) {
	if len(args) == 0 || f.policy == "" {
		config, err := loadContext(cmd)
		if err != nil {
			return nil, err
		}
		if len(args) == 1 {
			config.Attested = args[0]
		}
		if f.root != "" || f.policy != "" {
			return nil, &exitError{exitUsage, errors.New("--policy and --trust-root go with an ADDRESS or a file")}
		}
		return newClient(cmd, config)
	}
	if !strings.Contains(args[0], ":") {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: an address is host:port", args[0])}
	}
	return newClient(cmd, &client.Config{Version: 1, Attested: args[0], Policy: f.policy, TrustRoot: f.root})
}

func newClient(cmd *cobra.Command, config *client.Config) (*client.Client, error) {
	c, err := client.New(config)
	if err != nil {
		return nil, trustError(err)
	}
	c.Wait, err = cmd.Flags().GetDuration("wait")
	return c, err
}

// trustError sorts what is wrong with roots and policy: a root that the policy
// doesn't name is a refusal, a file that can't be read or loaded is usage.
func trustError(err error) error {
	var verdict *attestation.Error
	if errors.As(err, &verdict) {
		return err
	}
	return &exitError{exitUsage, err}
}

func readSigner(path string) (*ear.Signer, error) {
	b, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	s, err := ear.NewSigner(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// smallFile is the largest key or root file, in bytes.
const smallFile = 64 << 10

func readSmall(path string) ([]byte, error) { return readLimited(path, smallFile) }

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return b, nil
}

func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
