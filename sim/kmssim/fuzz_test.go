package kmssim_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/sim/kmssim"
)

// FuzzPolicy holds the reader of policies against the strict one of package
// keypolicy: what that takes, this takes too, and a Deny of everything added to
// any policy closes it.
func FuzzPolicy(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("..", "..", "internal", "keypolicy", "testdata", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	const arn = "arn:aws:kms:eu-central-1:111122223333:key/x"
	f.Fuzz(func(t *testing.T, b []byte) {
		strict, strictErr := keypolicy.Parse(b)
		_, err := kmssim.ParsePolicy(b, host, "kms:Decrypt", arn)
		if strictErr == nil && err != nil {
			t.Fatalf("the strict reader takes it: %v", err)
		}
		if strictErr != nil {
			return
		}
		strict.Statements = append(strict.Statements, keypolicy.Statement{Effect: keypolicy.Deny, Principals: []string{"*"}, Actions: []string{"*"}, Resources: []string{"*"}})
		closed, err := json.Marshal(strict)
		if err != nil {
			return // too large now
		}
		if allows, err := kmssim.ParsePolicy(closed, host, "kms:Decrypt", arn); err != nil || allows {
			t.Fatalf("a Deny of everything allows %t: %v", allows, err)
		}
	})
}
