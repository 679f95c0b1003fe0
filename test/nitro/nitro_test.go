//go:build nitro

package nitro_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/bundle"
)

var (
	contextFlag = flag.String("nitro-context", os.Getenv("CLOISTER_CONTEXT"), "the client's context of a running deployment")
	imageFlag   = flag.String("nitro-image", "", "the image file that runs")
	bundleFlag  = flag.String("nitro-bundle", "", "the bundle file that the parent hands over")
	binFlag     = flag.String("nitro-bin", "", "the cloister binary")
)

// TestEvidence holds what an enclave on this Nitro parent instance says of itself
// against the image file, the bundle and AWS's root: the same assertions as
// test/vm makes in a virtual machine. Run it as
//
//	go test -tags nitro ./test/nitro -run TestEvidence -nitro-context context.json \
//		-nitro-image cloister.eif -nitro-bundle bundle.cbor -nitro-bin /usr/local/bin/cloister
func TestEvidence(t *testing.T) {
	for name, value := range map[string]string{"nitro-context": *contextFlag, "nitro-image": *imageFlag, "nitro-bundle": *bundleFlag, "nitro-bin": *binFlag} {
		if value == "" {
			t.Fatalf("-%s is needed", name)
		}
	}
	config, err := client.Load(*contextFlag)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := c.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if peer.Result.Environment() != "aws" || peer.Result.Debug() {
		t.Errorf("environment %s, debug %t", peer.Result.Environment(), peer.Result.Debug())
	}
	document := peer.Result.Document()
	if _, err := verifier.Authenticate(document.Raw(), verifier.AWS(), time.Now()); err != nil {
		t.Errorf("with AWS's root: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), *binFlag, "eif", "measure", *imageFlag, "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var measured struct {
		PCRs map[string]string `json:"pcrs"`
	}
	if err := json.Unmarshal(out, &measured); err != nil {
		t.Fatal(err)
	}
	for _, i := range []string{"0", "1", "2"} {
		if measured.PCRs[i] == "" {
			t.Errorf("the file's PCR%s isn't measured", i)
		}
	}
	for i, want := range measured.PCRs {
		n, err := strconv.Atoi(i)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := document.PCR(n); !ok || got.String() != want {
			t.Errorf("PCR%s is %s, the file says %s", i, got, want)
		}
	}
	raw, err := os.ReadFile(*bundleFlag)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := document.PCR(16); !ok || got != bundle.PCR16(raw) {
		t.Errorf("PCR16 is %s, not that of the bundle", got)
	}
	if peer.Bundle.Profile != bundle.Production {
		t.Errorf("the bundle's profile is %v", peer.Bundle.Profile)
	}
}
