package policy_test

import (
	"fmt"
	"strings"

	"github.com/cloisterhq/cloister/attestation/policy"
)

// A policy is a file that its user writes. What is wrong with it is said with
// its place.
func ExampleLoad() {
	file := `{
  "version": 1,
  "environment": "aws",
  "kind": "nitro-enclave",
  "roots": ["641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"],
  "releases": [
    {"name": "v1", "pcrs": {"0": "AB", "1": "AB", "2": "AB", "16": "AB"}}
  ]
}`
	file = strings.ReplaceAll(file, "AB", strings.Repeat("ab", 48))
	p, err := policy.Load([]byte(file))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Environment(), p.Releases()[0].Name, "at most", p.MaxAge(), "old")

	_, err = policy.Load([]byte(strings.Replace(file, `"16":`, `"15":`, 1)))
	fmt.Println(err)
	_, err = policy.Load([]byte(strings.Replace(file, `"releases"`, `"Roots": [], "releases"`, 1)))
	fmt.Println(err)
	// Output:
	// aws v1 at most 5m0s old
	// policy: 9:2: releases[0].pcrs: PCR16 is missing
	// policy: 6:10: duplicate key "Roots", after "roots"
}
