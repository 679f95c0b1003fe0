package nsm_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
)

// FuzzResponse reads any bytes as the response to any request. What is refused
// leaves no value and one of two kinds of error; what is read stands in the
// response and has possible values; a refusal is never a success.
func FuzzResponse(f *testing.F) {
	all := operations()
	for i, o := range all {
		f.Add(byte(i), unhex(f, o.response))
		f.Add(byte(i), unhex(f, `a1 "Error" "ReadOnlyIndex"`))
	}
	f.Fuzz(func(t *testing.T, which byte, response []byte) {
		o := all[int(which)%len(all)]
		got, err := o.call(t.Context(), nsm.NewClient(&script{response: response}))
		if err != nil {
			if _, refused := errors.AsType[nsm.Error](err); !refused && !errors.Is(err, nsm.ErrResponse) {
				t.Fatalf("%s: %v is neither the module's error nor ErrResponse", o.name, err)
			}
			if got != nil && !reflect.ValueOf(got).IsZero() {
				t.Fatalf("%s: an error and a value", o.name)
			}
			return
		}
		if bytes.HasPrefix(response, []byte("\xa1\x65Error")) {
			t.Fatalf("%s takes a refusal for a success", o.name)
		}
		if len(response) > nsm.MaxResponse || !bytes.Contains(response, []byte(o.name)) {
			t.Fatalf("%s takes a response to something else", o.name)
		}
		switch v := got.(type) {
		case []byte:
			if len(v) == 0 || !bytes.Contains(response, v) {
				t.Fatalf("%s: bytes that the response doesn't hold", o.name)
			}
		case attestation.PCR:
			if !bytes.Contains(response, v[:]) {
				t.Fatal("a new value that the response doesn't hold")
			}
		case register:
			if !bytes.Contains(response, v.value[:]) {
				t.Fatal("a register's value that the response doesn't hold")
			}
		case nsm.Description:
			if v.Registers > 32 || !slices.IsSorted(v.Locked) || len(slices.Compact(slices.Clone(v.Locked))) != len(v.Locked) {
				t.Fatalf("an impossible bank: %d registers, locked %v", v.Registers, v.Locked)
			}
			if n := len(v.Locked); n > 0 && (v.Locked[0] < 0 || v.Locked[n-1] >= v.Registers) {
				t.Fatalf("a register that isn't there is locked: %v", v.Locked)
			}
		}
	})
}
