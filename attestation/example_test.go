package attestation_test

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/test/conformance"
)

// Parse reads what a document says. Nothing says yet that it is true: package
// verifier does.
func ExampleParse() {
	text := base64.StdEncoding.EncodeToString(conformance.Live(time.UnixMilli(1781524800000), nil, nil).Document)

	raw, err := attestation.Decode([]byte(text)) // binary, hexadecimal digits or base64
	if err != nil {
		fmt.Println(err)
		return
	}
	document, err := attestation.Parse(raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	image, _ := document.PCR(0)
	fmt.Println(document.ModuleID(), "claims to run", image.String()[:8])

	_, err = attestation.Parse(raw[:len(raw)-1])
	fmt.Println(err)
	// Output:
	// i-0123456789abcdef0-enc0123456789abcdef claims to run 3a430eeb
	// attestation: malformed: truncated
}
