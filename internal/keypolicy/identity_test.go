package keypolicy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/keypolicy"
)

const keyARN = "arn:aws:kms:eu-central-1:111122223333:key/"

// identity is an IAM policy as IAM reads it.
type identity struct {
	Version   string
	Statement []struct {
		Sid, Effect      string
		Principal        any
		Action, Resource []string
		Condition        map[string]map[string][]string
	}
}

func read(t *testing.T, b []byte, err error) identity {
	t.Helper()
	var p identity
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProducerIdentity(t *testing.T) {
	b, err := keypolicy.ProducerIdentity("clinic-a", "colon-study", []keypolicy.Key{{Dataset: "colon", ARN: keyARN + "1"}, {Dataset: "visits", ARN: keyARN + "2"}})
	p := read(t, b, err)
	if len(p.Statement) != 2 || p.Version != "2012-10-17" {
		t.Fatalf("%s", b)
	}
	for i, dataset := range []string{"colon", "visits"} {
		s := p.Statement[i]
		context := s.Condition["StringEquals"]
		if s.Effect != "Allow" || s.Principal != nil || len(s.Action) != 1 || s.Action[0] != "kms:GenerateDataKey" || len(s.Resource) != 1 || s.Resource[0] != fmt.Sprint(keyARN, i+1) {
			t.Errorf("%+v", s)
		}
		for name, value := range map[string]string{"deployment": "colon-study", "dataset": dataset, "producer": "clinic-a", "purpose": "record"} {
			if got := context["kms:EncryptionContext:"+name]; len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s is %v", s.Sid, name, got)
			}
		}
	}
}

func TestEnclaveIdentity(t *testing.T) {
	b, err := keypolicy.EnclaveIdentity(two(), []string{keyARN + "1", keyARN + "2"})
	p := read(t, b, err)
	if len(p.Statement) != 2 {
		t.Fatalf("%s", b)
	}
	for i, s := range p.Statement {
		if got := s.Condition["StringEqualsIgnoreCase"]["kms:RecipientAttestation:PCR16"]; len(got) != 1 || got[0] != strings.ToLower(two()[i].PCR16) || len(s.Resource) != 2 {
			t.Errorf("%+v", s)
		}
	}
}

func TestIdentityRefuses(t *testing.T) {
	zero := two()[0]
	zero.PCR1 = strings.Repeat("0", 96)
	var many []keypolicy.Key
	for i := range 40 {
		many = append(many, keypolicy.Key{Dataset: "d", ARN: fmt.Sprint(keyARN, i)})
	}
	produce := func(dataset string, arns ...string) error {
		var keys []keypolicy.Key
		for _, a := range arns {
			keys = append(keys, keypolicy.Key{Dataset: dataset, ARN: a})
		}
		_, err := keypolicy.ProducerIdentity("p", "d", keys)
		return err
	}
	_, zeroed := keypolicy.EnclaveIdentity([]keypolicy.Release{zero}, []string{keyARN + "1"})
	_, none := keypolicy.EnclaveIdentity(two(), nil)
	_, large := keypolicy.ProducerIdentity("p", "d", many)
	for name, c := range map[string]struct{ got, want error }{
		"zero register": {zeroed, keypolicy.ErrRelease}, "no key": {none, keypolicy.ErrPolicy}, "no dataset": {produce("x"), keypolicy.ErrPolicy},
		"every key": {produce("x", keyARN+"*"), keypolicy.ErrPolicy}, "all": {produce("x", "*"), keypolicy.ErrPolicy}, "too large": {large, keypolicy.ErrTooLarge},
		"a variable": {produce("${aws:username}", keyARN+"1"), keypolicy.ErrPolicy},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

// TestOptionalRegisters pins that PCR3, 4 and 8 are asked for when they are
// given, and checked like the others.
func TestOptionalRegisters(t *testing.T) {
	r := two()[0]
	r.PCR3, r.PCR8 = strings.Repeat("c", 96), strings.Repeat("d", 96)
	d, err := keypolicy.State([]keypolicy.Release{r}, enclave, owner, "colon-study")
	if err != nil {
		t.Fatal(err)
	}
	s := statements(d, keypolicy.Allow, "kms:Decrypt")[0]
	if values(s, "kms:RecipientAttestation:PCR3")[1] != r.PCR3 || values(s, "kms:RecipientAttestation:PCR8")[1] != r.PCR8 || values(s, "kms:RecipientAttestation:PCR4") != nil {
		t.Errorf("%+v", s.Conditions)
	}
	r.PCR8 = "d"
	if err := r.Check(); !errors.Is(err, keypolicy.ErrRelease) {
		t.Errorf("a short PCR8: %v", err)
	}
}
