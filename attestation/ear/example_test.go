package ear_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/attestation/ear"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

// Whoever verifies signs what was found; whoever knows the key reads it.
func ExampleSigner_Token() {
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	signer, err := ear.NewSigner(examplePEM())
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := exampleResult(now)
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := signer.Token(result, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, err := ear.Read(token, signer.Public())
	if err != nil {
		fmt.Println(err)
		return
	}
	found := claims.Submodules[ear.Submodule]
	fmt.Println(found.Status, "release", found.PolicyID)
	// Output: affirming release good
}

// examplePEM is a key file, as `openssl genpkey -algorithm ed25519` writes one.
func examplePEM() []byte {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// exampleResult verifies a live enclave; package verifier has its own examples.
func exampleResult(now time.Time) (*verifier.Result, error) {
	challenge := verifier.Challenge()
	answer := conformance.Live(now, challenge, nil)
	roots, err := verifier.NewRoots(answer.Root)
	if err != nil {
		return nil, err
	}
	accepts, err := policy.Load(answer.Policy)
	if err != nil {
		return nil, err
	}
	v, err := verifier.New(roots, accepts)
	if err != nil {
		return nil, err
	}
	return v.Verify(answer.Document, challenge, now)
}
