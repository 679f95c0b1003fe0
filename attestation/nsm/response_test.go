package nsm_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation/nsm"
)

// TestKeyOrder reads responses as QEMU's module writes them: keys in another
// order, and integers that could be shorter.
func TestKeyOrder(t *testing.T) {
	other := map[string]string{
		"DescribePCR": `a1 "DescribePCR" a2 "data" 5830` + pcrHex + ` "lock" f5`,
		"DescribeNSM": `a1 "DescribeNSM" a7 "digest" "SHA384" "max_pcrs" 1820 "module_id" "i-0-enc0" "locked_pcrs" 83 1810 1800 180f
			"version_major" 1801 "version_minor" 1802 "version_patch" 1803`,
	}
	for _, o := range operations() {
		response, ok := other[o.name]
		if !ok {
			continue
		}
		got, err := o.call(t.Context(), nsm.NewClient(&script{response: unhex(t, response)}))
		if err != nil || !reflect.DeepEqual(got, o.want) {
			t.Errorf("%s: %v, %v; want %v", o.name, got, err, o.want)
		}
	}
}

// TestRefusals checks that no request takes a refusal, which comes with a
// successful exchange, for a success, and that none answers a value with it.
func TestRefusals(t *testing.T) {
	names := []nsm.Error{
		nsm.InvalidArgument, nsm.InvalidIndex, nsm.InvalidResponse, nsm.ReadOnlyIndex,
		nsm.InvalidOperation, nsm.BufferTooSmall, nsm.InputTooLarge, nsm.InternalError,
	}
	for _, o := range operations() {
		for _, want := range names {
			response := unhex(t, `a1 "Error" "`+string(want)+`"`)
			got, err := o.call(t.Context(), nsm.NewClient(&script{response: response}))
			if !errors.Is(err, want) || errors.Is(err, nsm.ErrResponse) {
				t.Errorf("%s, %s: %v", o.name, want, err)
			}
			if typed, ok := errors.AsType[nsm.Error](err); !ok || typed != want {
				t.Errorf("%s, %s: typed %q", o.name, want, typed)
			}
			if got != nil && !reflect.ValueOf(got).IsZero() {
				t.Errorf("%s, %s: an error and %v", o.name, want, got)
			}
		}
		for _, bad := range []string{
			`a1 "Error" "Success"`, `a1 "Error" "readonlyindex"`, `a1 "Error" ""`, `a1 "Error" 03`, `a1 "Error" f6`,
			`a1 "Error" 4d526561644f6e6c79496e646578`, `a1 "Error" a1 "ReadOnlyIndex" f6`, `"Error"`, `a1 "error" "ReadOnlyIndex"`,
			`a2 "Error" "ReadOnlyIndex" "Error" "InternalError"`,
		} {
			if _, err := o.call(t.Context(), nsm.NewClient(&script{response: unhex(t, bad)})); !errors.Is(err, nsm.ErrResponse) {
				t.Errorf("%s, %s: %v, want ErrResponse", o.name, bad, err)
			}
		}
	}
}

// TestRefusalBeside checks that a response and a refusal in one map are none.
func TestRefusalBeside(t *testing.T) {
	for _, o := range operations() {
		good, ok := strings.CutPrefix(o.response, "a1 ")
		if !ok {
			good = o.response + " f6"
		}
		response := unhex(t, "a2", good, `"Error" "ReadOnlyIndex"`)
		if _, err := o.call(t.Context(), nsm.NewClient(&script{response: response})); !errors.Is(err, nsm.ErrResponse) {
			t.Errorf("%s: %v, want ErrResponse", o.name, err)
		}
	}
}

// TestEveryCut checks that no prefix of a good response is read, as a short
// buffer would leave it, and nothing longer.
func TestEveryCut(t *testing.T) {
	for _, o := range operations() {
		good := unhex(t, o.response)
		for n := range len(good) {
			if _, err := o.call(t.Context(), nsm.NewClient(&script{response: good[:n]})); !errors.Is(err, nsm.ErrResponse) {
				t.Errorf("%s, first %d bytes: %v, want ErrResponse", o.name, n, err)
			}
		}
		if _, err := o.call(t.Context(), nsm.NewClient(&script{response: append(good, 0)})); !errors.Is(err, nsm.ErrResponse) {
			t.Errorf("%s, trailing byte: %v, want ErrResponse", o.name, err)
		}
	}
}

// TestOtherRequests checks that no request takes the response to another.
func TestOtherRequests(t *testing.T) {
	for _, o := range operations() {
		for _, other := range operations() {
			if o.name == other.name {
				continue
			}
			if _, err := o.call(t.Context(), nsm.NewClient(&script{response: unhex(t, other.response)})); !errors.Is(err, nsm.ErrResponse) {
				t.Errorf("%s answered by %s: %v, want ErrResponse", o.name, other.name, err)
			}
		}
	}
}

// TestMalformed checks responses that aren't, each one change from a good one.
func TestMalformed(t *testing.T) {
	const describe = `"version_major" 01 "version_minor" 02 "version_patch" 03`
	tests := map[string][]string{
		"DescribePCR": {
			`a1 "DescribePCR" a1 "data" 5830` + pcrHex,
			`a1 "DescribePCR" a1 "lock" f5`,
			`a1 "DescribePCR" a2 "lock" f6 "data" 5830` + pcrHex,
			`a1 "DescribePCR" a2 "lock" 01 "data" 5830` + pcrHex,
			`a1 "DescribePCR" a2 "lock" f5 "data" f6`,
			`a1 "DescribePCR" a2 "lock" f5 "data" 582f` + pcrHex[2:],
			`a1 "DescribePCR" a2 "lock" f5 "data" 5831` + pcrHex + `00`,
			`a1 "DescribePCR" a2 "lock" f5 "data" 7830` + strings.Repeat("61", 48),
			`a1 "DescribePCR" a2 "lock" f5 "data" 9830` + strings.Repeat("01", 48),
			`a1 "DescribePCR" a2 "lock" f5 "data" 5f5830` + pcrHex + `ff`,
			`a1 "DescribePCR" a3 "lock" f5 "lock" f4 "data" 5830` + pcrHex,
			`a1 "DescribePCR" a3 "lock" f5 "data" 5830` + pcrHex + ` "more" 00`,
			`a1 "DescribePCR" a2 "Lock" f5 "data" 5830` + pcrHex,
			`a1 "DescribePCR" a2 446c6f636b f5 "data" 5830` + pcrHex,
			`a1 "DescribePCR" bf "lock" f5 "data" 5830` + pcrHex + ` ff`,
			`bf "DescribePCR" a2 "lock" f5 "data" 5830` + pcrHex + ` ff`,
			`d9d9f7 a1 "DescribePCR" a2 "lock" f5 "data" 5830` + pcrHex,
			`a1 4b4465736372696265504352 a2 "lock" f5 "data" 5830` + pcrHex,
			`a1 "DescribePCR" 82 f5 5830` + pcrHex,
		},
		"ExtendPCR": {`a1 "ExtendPCR" a0`, `a1 "ExtendPCR" f6`, `"ExtendPCR"`, `a1 "ExtendPCR" a1 "data" 40`, `a1 "ExtendPCR" a1 "data" d84d5830` + pcrHex},
		"LockPCR":   {`a1 "LockPCR" f6`, `a1 "LockPCR" a0`, `"LockPCRs"`, `474c6f636b504352`, `7f "LockPCR" ff`, `81 "LockPCR"`, `a0`, `f6`},
		"LockPCRs":  {`a1 "LockPCRs" f6`, `"LockPCR"`, `"lockpcrs"`, `""`},
		"DescribeNSM": {
			`a1 "DescribeNSM" a6 ` + describe + ` "max_pcrs" 1820 "locked_pcrs" 80 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "" "max_pcrs" 1820 "locked_pcrs" 80 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" 790100` + strings.Repeat("61", 256) + ` "max_pcrs" 1820 "locked_pcrs" 80 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" 61ff "max_pcrs" 1820 "locked_pcrs" 80 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 1821 "locked_pcrs" 80 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 20 "locked_pcrs" 80 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 1a00010020 "locked_pcrs" 80 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" f94c00 "locked_pcrs" 80 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 10 "locked_pcrs" 81 10 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 1820 "locked_pcrs" 82 05 05 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 1820 "locked_pcrs" 9821` + strings.Repeat("00", 33) + ` "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 1820 "locked_pcrs" 4100 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 1820 "locked_pcrs" f6 "digest" "SHA384"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 1820 "locked_pcrs" 80 "digest" "SHA256"`,
			`a1 "DescribeNSM" a7 ` + describe + ` "module_id" "i" "max_pcrs" 1820 "locked_pcrs" 80 "digest" f6`,
		},
		"Attestation": {
			`a1 "Attestation" a1 "document" 40`, `a1 "Attestation" a1 "document" f6`, `a1 "Attestation" a1 "document" "text"`,
			`a1 "Attestation" a1 "document" 5bffffffffffffffff`, `a1 "Attestation" a1 "document" 5a7fffffff00`,
			`a1 "Attestation" a1 "document" 8118d2`, `a1 "Attestation" a1 "document" ` + strings.Repeat("81", 4000) + `00`,
		},
		"GetRandom": {`a1 "GetRandom" a1 "random" 40`, `a1 "GetRandom" a1 "random" 581f` + randomHex[:62], `a1 "GetRandom" a1 "random" f6`},
	}
	for _, o := range operations() {
		if len(tests[o.name]) == 0 {
			t.Errorf("%s: no test", o.name)
		}
		for _, bad := range tests[o.name] {
			got, err := o.call(t.Context(), nsm.NewClient(&script{response: unhex(t, bad)}))
			if !errors.Is(err, nsm.ErrResponse) {
				t.Errorf("%s, %.120s: %v, want ErrResponse", o.name, bad, err)
			}
			if got != nil && !reflect.ValueOf(got).IsZero() {
				t.Errorf("%s, %.120s: an error and a value", o.name, bad)
			}
		}
	}
}

// TestLongResponse checks the longest response there can be, and one more byte.
func TestLongResponse(t *testing.T) {
	head := unhex(t, `a1 "Attestation" a1 "document" 590000`)
	for size, want := range map[int]error{nsm.MaxResponse: nil, nsm.MaxResponse + 1: nsm.ErrResponse} {
		n := size - len(head)
		response := append(bytes.Clone(head), make([]byte, n)...)
		response[len(head)-2], response[len(head)-1] = byte(n>>8), byte(n)
		document, err := nsm.NewClient(&script{response: response}).Attest(t.Context(), nsm.Request{})
		if !errors.Is(err, want) || err == nil && len(document) != n {
			t.Errorf("%d bytes: %v, document of %d; want %v", size, err, len(document), want)
		}
	}
}

// TestNothingQuoted checks that errors don't repeat what the device said.
func TestNothingQuoted(t *testing.T) {
	const said = "confidential"
	for _, o := range operations() {
		for _, form := range []string{`"` + said + `"`, `a1 "` + said + `" f6`, `a1 "Error" "` + said + `"`, `a1 "` + o.name + `" a1 "` + said + `" f6`, `a1 "` + o.name + `" "` + said + `"`} {
			_, err := o.call(t.Context(), nsm.NewClient(&script{response: unhex(t, form)}))
			if err == nil || strings.Contains(err.Error(), said) {
				t.Errorf("%s, %s: %v", o.name, form, err)
			}
		}
	}
}
