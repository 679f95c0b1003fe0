package verifier_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

// A relying party challenges an enclave and appraises what comes back. Here the
// enclave is one of the conformance tests', under a root of its own.
func ExampleVerifier_Verify() {
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	challenge := verifier.Challenge()
	answer := conformance.Live(now, challenge, nil) // what the enclave sends

	roots, err := verifier.NewRoots(answer.Root) // verifier.AWS() for hardware
	if err != nil {
		fmt.Println(err)
		return
	}
	accepts, err := policy.Load(answer.Policy) // your own file
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := verifier.New(roots, accepts)
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := v.Verify(answer.Document, challenge, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("release", result.Release(), "in", result.Environment())

	// The same document again is a replay.
	_, err = v.Verify(answer.Document, challenge, now)
	fmt.Println(err)
	// Output:
	// release good in other
	// attestation: nonce: this nonce was used before
}

// A refusal has a class that programs branch on, and names the check.
func ExampleAuthenticate() {
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	document := conformance.Live(now, nil, nil).Document

	_, err := verifier.Authenticate(document, verifier.AWS(), now)
	if refusal, ok := errors.AsType[*attestation.Error](err); ok {
		fmt.Println(refusal.Class, "by the check", refusal.Check)
	}
	// Output: untrusted root by the check root
}

// A document of the past is judged as of a time. The result is of another type
// than that of a live verification, and says that freshness isn't established.
func ExampleAppraiseArchived() {
	made := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	kept := conformance.Live(made, nil, nil)
	roots, err := verifier.NewRoots(kept.Root)
	if err != nil {
		fmt.Println(err)
		return
	}
	accepts, err := policy.Load(kept.Policy)
	if err != nil {
		fmt.Println(err)
		return
	}
	document, err := attestation.Parse(kept.Document)
	if err != nil {
		fmt.Println(err)
		return
	}
	authentic, err := verifier.Authenticate(kept.Document, roots, document.Timestamp())
	if err != nil {
		fmt.Println(err)
		return
	}
	archived, err := verifier.AppraiseArchived(authentic, accepts, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("release", archived.Release(), "at", archived.Time().Format(time.RFC3339))
	fmt.Println(archived.NotEstablished()[0])
	// Output:
	// release good at 2026-06-15T12:00:00Z
	// freshness: this was so at 2026-06-15T12:00:00Z, and says nothing about the present
}
