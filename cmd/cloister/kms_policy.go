package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/internal/keypolicy/lint"
	"github.com/cloisterhq/cloister/internal/limits"
)

// keyPolicies is what `cloister kms policy` is asked for.
type keyPolicies struct {
	release, eif, bundle, owner, role string
	pcrs, producers                   map[string]string
	out                               string
	// tooLarge says that the enclave's IAM policy was left out.
	tooLarge bool
}

// policyFile is one policy that was made.
type policyFile struct {
	// File is its name in a directory.
	File string `json:"file"`
	// For is the key's or the role's ARN that it belongs to.
	For string `json:"for"`
	// Kind is key-policy or iam-policy.
	Kind   lint.Kind       `json:"kind"`
	Policy json.RawMessage `json:"policy"`
}

func kmsPolicyCommand() *cobra.Command {
	p := new(keyPolicies)
	cmd := &cobra.Command{
		Use:   "policy --bundle FILE --release FILE --owner ARN --enclave-role ARN",
		Short: "Write the policies of a deployment's keys for its releases",
		Long: `Policy writes the key policy of every dataset's key and of the state key, and the
IAM policies of the enclave's and the producers' roles. Each release of the
appraisal policy gets a statement of its own, so that registers of two releases
never mix: for an upgrade, name the old and the new one, and write again without
the old one when it is gone. Releases whose time is over are left out.

Without --release, --eif measures the image of one release, or --pcr names its
registers; PCR16 comes from the bundle.
The output is checked by 'cloister kms lint' before it is written. Nothing is
sent to AWS: 'aws kms put-key-policy' puts the policies in place.`,
		Example: `  cloister kms policy --release policy.json --bundle bundle.cbor --owner arn:aws:iam::111122223333:role/data-owner \
    --enclave-role arn:aws:iam::444455556666:role/enclave --producer clinic-a=arn:aws:iam::444455556666:role/clinic-a -o policies/`,
		Args: usage(cobra.NoArgs),
	}
	flags := cmd.Flags()
	flags.StringVar(&p.release, "release", "", "appraisal policy with the releases")
	flags.StringVar(&p.eif, "eif", "", "image of the one release, from which PCR0, 1 and 2 come")
	flags.StringToStringVar(&p.pcrs, "pcr", nil, "a register of the one release, such as 0=HEX; 0, 1 and 2 are needed without --eif, 3, 4, 8 and 16 may be given")
	flags.StringVar(&p.bundle, "bundle", "", "the deployment's bundle")
	flags.StringVar(&p.owner, "owner", "", "ARN of the data owner's role, which administers the keys")
	flags.StringVar(&p.role, "enclave-role", "", "ARN of the role that the enclave calls KMS with")
	flags.StringToStringVar(&p.producers, "producer", nil, "a producer of the bundle and its role, NAME=ARN")
	flags.StringVarP(&p.out, "output", "o", "json", "json, or a directory for one file each")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.run(cmd) }
	return cmd
}

func (p *keyPolicies) run(cmd *cobra.Command) error {
	one := len(p.pcrs) > 0 || p.eif != ""
	if p.bundle == "" || p.owner == "" || p.role == "" || (p.release == "") != one {
		return &exitError{exitUsage, errors.New("--bundle, --owner, --enclave-role and one of --release, --eif and --pcr are needed")}
	}
	raw, err := readLimited(p.bundle, limits.Bundle)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	b, err := bundle.Decode(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", p.bundle, err)
	}
	for name := range p.producers {
		if who, ok := b.Producer(name); !ok || who.Retired {
			return &exitError{exitUsage, fmt.Errorf("--producer %s: the bundle has no such producer, or it is retired", name)}
		}
	}
	pcr16 := attestation.PCR(bundle.PCR16(raw))
	releases, notes, err := p.releases(cmd, pcr16)
	if err != nil {
		return err
	}
	files, err := p.files(b, releases)
	if err != nil {
		return err
	}
	if err := p.selfLint(files); err != nil {
		return err
	}
	if err := p.write(cmd.OutOrStdout(), files); err != nil {
		return err
	}
	for _, n := range append(notes, p.warnings(b)...) {
		fmt.Fprintln(cmd.ErrOrStderr(), "note:", printable(n))
	}
	return nil
}

// files makes every policy.
func (p *keyPolicies) files(b *bundle.Bundle, releases []keypolicy.Release) ([]policyFile, error) {
	var all []policyFile
	add := func(name, arn string, kind lint.Kind, raw []byte, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, policyFile{name, arn, kind, raw})
		return nil
	}
	state, err := keypolicy.State(releases, p.role, p.owner, b.Deployment)
	if err != nil {
		return nil, err
	}
	raw, err := state.MarshalJSON()
	if err := add("state.key-policy.json", b.KMS.StateKeyARN, lint.KeyPolicy, raw, err); err != nil {
		return nil, err
	}
	arns := []string{b.KMS.StateKeyARN}
	keys := map[string][]keypolicy.Key{}
	for _, d := range b.Datasets {
		name := d.Contract.Dataset
		var producers []keypolicy.Producer
		for _, who := range b.Producers {
			if role := p.producers[who.Name]; role != "" && who.May(name) {
				producers = append(producers, keypolicy.Producer{Name: who.Name, Role: role})
				keys[who.Name] = append(keys[who.Name], keypolicy.Key{Dataset: name, ARN: d.KeyARN})
			}
		}
		doc, err := keypolicy.Dataset(releases, p.role, producers, p.owner, b.Deployment, name)
		if err != nil {
			return nil, err
		}
		raw, err := doc.MarshalJSON()
		if err := add("dataset-"+name+".key-policy.json", d.KeyARN, lint.KeyPolicy, raw, err); err != nil {
			return nil, err
		}
		arns = append(arns, d.KeyARN)
	}
	raw, err = keypolicy.EnclaveIdentity(releases, arns)
	if errors.Is(err, keypolicy.ErrTooLarge) {
		p.tooLarge = true
	} else if err := add("enclave.iam-policy.json", p.role, lint.IAMPolicy, raw, err); err != nil {
		return nil, err
	}
	for _, who := range b.Producers {
		if len(keys[who.Name]) == 0 {
			continue
		}
		raw, err := keypolicy.ProducerIdentity(who.Name, b.Deployment, keys[who.Name])
		if err := add("producer-"+who.Name+".iam-policy.json", p.producers[who.Name], lint.IAMPolicy, raw, err); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// selfLint holds the output to the linter.
func (p *keyPolicies) selfLint(files []policyFile) error {
	for _, f := range files {
		found, err := lint.Lint([]lint.File{{Name: f.File, Kind: f.Kind, Content: f.Policy}}, lint.Options{Owner: p.owner})
		if err != nil {
			return err
		}
		for _, x := range found {
			return fmt.Errorf("%s: %s: %s; nothing is written", x.File, x.Rule, x.Means)
		}
	}
	return nil
}

func (p *keyPolicies) write(w io.Writer, files []policyFile) error {
	if p.out == "json" {
		return writeJSON(w, map[string]any{"schema": "cloister.kms-policy/v1", "policies": files})
	}
	if err := os.MkdirAll(p.out, 0o755); err != nil {
		return &exitError{exitUsage, err}
	}
	for _, f := range files {
		path := filepath.Join(p.out, f.File)
		if err := os.WriteFile(path, append(f.Policy, '\n'), 0o644); err != nil {
			return &exitError{exitUsage, err}
		}
		fmt.Fprintf(w, "%s\t%s\n", path, f.For)
	}
	return nil
}

// warnings say what the policies shut out.
func (p *keyPolicies) warnings(b *bundle.Bundle) []string {
	all := []string{
		"from now on " + p.owner + " alone may change these policies, the account's root not: when that role is gone, only AWS Support can help",
		"an enclave that runs already keeps the keys that it has; stop it when its release is taken away",
	}
	if p.tooLarge {
		all = append(all, "the IAM policy of the enclave's role would be too large for a role and is left out: write managed policies, a key each")
	}
	var none []string
	for _, who := range b.Producers {
		if !who.Retired && p.producers[who.Name] == "" {
			none = append(none, who.Name)
		}
	}
	if len(none) > 0 {
		all = append(all, "without a role, and so without data keys from KMS: "+strings.Join(none, ", "))
	}
	return all
}
