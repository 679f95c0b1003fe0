package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/limits"
)

// judge verifies a document or evidence that is there already.
func (f *verifyFlags) judge(cmd *cobra.Command, report verdicts) error {
	nonce, at, spki, err := f.values(cmd)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	roots, p, err := trust(cmd, f.root, f.policy)
	if err != nil {
		return report.refuse(err)
	}
	raw, evidence, err := f.read(cmd)
	if err != nil {
		return report.refuse(err)
	}
	if f.atDocument {
		d, err := attestation.Parse(raw)
		if err != nil {
			return report.refuse(named(verifier.CheckFormat, err))
		}
		at = d.Timestamp()
	}
	a, err := verifier.Authenticate(raw, roots, at)
	if err != nil {
		return report.refuse(err)
	}
	if nonce != nil && f.at == "" && !f.atDocument {
		r, err := verifier.Appraise(a, p, nonce, at)
		if err == nil && evidence != nil {
			err = evidence.note(r, spki)
		}
		if err != nil {
			return report.refuse(err)
		}
		return report.live(r, nil)
	}
	r, err := verifier.AppraiseArchived(a, p, nonce)
	if err == nil && evidence != nil {
		err = evidence.note(r, spki)
	}
	if err != nil {
		return report.refuse(err)
	}
	return report.archived(r)
}

// values reads the flags that have one; nil for those that weren't given. The
// time is the present one unless --at names another.
func (f *verifyFlags) values(cmd *cobra.Command) (nonce []byte, at time.Time, spki []byte, err error) {
	at = time.Now()
	if cmd.Flags().Changed("at") {
		if at, err = time.Parse(time.RFC3339, f.at); err != nil {
			return nil, at, nil, fmt.Errorf("--at %q: a time is written as 2026-01-31T12:00:00Z (RFC 3339)", f.at)
		}
	}
	if cmd.Flags().Changed("nonce") {
		if nonce, err = hex.DecodeString(f.nonce); err != nil || len(nonce) == 0 {
			return nil, at, nil, errors.New("--nonce: hexadecimal digits of at least one byte")
		}
	}
	if cmd.Flags().Changed("spki") {
		if spki, err = hex.DecodeString(f.spki); err != nil || len(spki) != attls.HashSize {
			return nil, at, nil, errors.New("--spki: the SHA-256 of a key, 64 hexadecimal digits")
		}
	}
	return nonce, at, spki, nil
}

// trust loads the policy and the roots: those that the flags name, else the
// context's.
func trust(cmd *cobra.Command, root, policyFile string) (verifier.Roots, *policy.Policy, error) {
	if policyFile != "" {
		roots, p, err := client.LoadTrust(root, policyFile)
		if err != nil {
			return verifier.Roots{}, nil, trustError(err)
		}
		return roots, p, nil
	}
	if root != "" {
		return verifier.Roots{}, nil, &exitError{exitUsage, errors.New("--trust-root goes with --policy FILE")}
	}
	if path, _ := contextPath(cmd); path == "" {
		return verifier.Roots{}, nil, &exitError{exitUsage, errors.New("no policy: give --policy FILE, or --context FILE")}
	}
	config, err := loadContext(cmd)
	if err != nil {
		return verifier.Roots{}, nil, err
	}
	roots, p, err := config.Trust()
	if err != nil {
		return verifier.Roots{}, nil, trustError(err)
	}
	return roots, p, nil
}

// saved is evidence from a file.
type saved struct{ attls.Evidence }

// read answers the document, and what came with it if it is evidence.
func (f *verifyFlags) read(cmd *cobra.Command) ([]byte, *saved, error) {
	if f.evidence != "" {
		b, err := input(cmd, f.evidence, limits.Evidence+limits.EvidenceRequest)
		if err != nil {
			return nil, nil, err
		}
		e, err := attls.ReadEvidence(b)
		if err != nil {
			return nil, nil, named(verifier.CheckFormat, err)
		}
		return e.Document, &saved{e}, nil
	}
	raw, err := readDocument(cmd, f.document)
	return raw, nil, err
}

// readDocument reads a document in one of its forms.
func readDocument(cmd *cobra.Command, name string) ([]byte, error) {
	b, err := input(cmd, name, attestation.MaxInput)
	if err != nil {
		return nil, err
	}
	raw, err := attestation.Decode(b)
	if err != nil {
		return nil, named(verifier.CheckFormat, err)
	}
	return raw, nil
}

// input reads a file or stdin. What is too long is refused as evidence; what
// can't be read is no evidence.
func input(cmd *cobra.Command, name string, limit int) ([]byte, error) {
	r := cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, &exitError{exitUnreachable, err}
		}
		defer file.Close()
		r = file
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, &exitError{exitUnreachable, err}
	}
	if len(b) > limit {
		return nil, named(verifier.CheckFormat, attestation.NewError(attestation.Malformed, "too long", nil))
	}
	return b, nil
}

// noter is a result of either kind.
type noter interface {
	Note(name, detail string)
	Document() *attestation.Document
	Environment() string
}

// note checks what came with a document that was accepted: the bundle against
// PCR16 and, if the connection's key is known, the binding.
func (s *saved) note(r noter, spki []byte) error {
	if spki != nil {
		if err := s.CheckBinding(r.Document(), [attls.HashSize]byte(spki)); err != nil {
			return named(verifier.CheckBinding, err)
		}
		r.Note(verifier.CheckBinding, "the document vouches for the given connection's key and for what came with it")
	}
	b, err := s.OpenBundle(r.Document(), r.Environment())
	if err != nil {
		return named(verifier.CheckBundle, err)
	}
	r.Note(verifier.CheckBundle, "the bundle is the one that PCR16 measures; deployment "+printable(b.Deployment)+", profile "+b.Profile)
	return nil
}

// named writes the name of the check into a refusal that was found here.
func named(check string, err error) error {
	var refusal *attestation.Error
	if !errors.As(err, &refusal) || refusal.Check != "" {
		return err
	}
	copied := *refusal
	copied.Check = check
	return &copied
}
