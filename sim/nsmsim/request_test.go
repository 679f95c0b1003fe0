package nsmsim_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/sim/nsmsim"
)

const zeroPCR = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"

// extendedX is a zero register extended by the byte x, as in QEMU's module.
const extendedX = "f42eb18dcc96216807ca9e870c07a51ad446c13c9abc4b6335d02a4074b55a4fffb1712c7519ae198d53e703626b0619"

// TestExchanges holds framing and semantics byte for byte, one request after
// the other on one module.
func TestExchanges(t *testing.T) {
	d := newDevice(t, nsmsim.Config{Instance: "i-0809849710bf1b61b"})
	description := func(count, beyond string) string {
		return `a1 "DescribeNSM" a7 "version_major" 01 "version_minor" 00 "version_patch" 00 "module_id" "` + d.ModuleID() + `"
			"max_pcrs" 1820 "locked_pcrs" ` + count + ` 000102030405060708090a0b0c0d0e0f` + beyond + ` "digest" "SHA384"`
	}
	const (
		invalidIndex     = `a1 "Error" "InvalidIndex"`
		readOnlyIndex    = `a1 "Error" "ReadOnlyIndex"`
		invalidOperation = `a1 "Error" "InvalidOperation"`
		inputTooLarge    = `a1 "Error" "InputTooLarge"`
	)
	for _, test := range []struct{ request, response string }{
		{`"DescribeNSM"`, description("90", "")},
		{`a1 "DescribePCR" a1 "index" 03`, `a1 "DescribePCR" a2 "lock" f5 "data" 5830` + zeroPCR},
		{`a1 "DescribePCR" a1 "index" 04`, `a1 "DescribePCR" a2 "lock" f5 "data" 5830` + instanceGolden},
		{`a1 "DescribePCR" a1 "index" 0f`, `a1 "DescribePCR" a2 "lock" f5 "data" 5830` + zeroPCR},
		{`a1 "DescribePCR" a1 "index" 10`, `a1 "DescribePCR" a2 "lock" f4 "data" 5830` + zeroPCR},
		{`a1 "DescribePCR" a1 "index" 181f`, `a1 "DescribePCR" a2 "lock" f4 "data" 5830` + zeroPCR},
		{`a1 "DescribePCR" a1 "index" 1820`, invalidIndex},
		{`a1 "DescribePCR" a1 "index" 19ffff`, invalidIndex},
		{`a1 "ExtendPCR" a2 "index" 10 "data" 4178`, `a1 "ExtendPCR" a1 "data" 5830` + extendedX},
		{`a1 "ExtendPCR" a2 "data" 4178 "index" 11`, `a1 "ExtendPCR" a1 "data" 5830` + extendedX},
		{`a1 "ExtendPCR" a2 "index" 12 "data" 5830` + emptyDigest, `a1 "ExtendPCR" a1 "data" 5830` + emptyGolden},
		{`a1 "ExtendPCR" a2 "index" 00 "data" 4178`, readOnlyIndex},
		{`a1 "ExtendPCR" a2 "index" 0f "data" 40`, readOnlyIndex},
		{`a1 "ExtendPCR" a2 "index" 1820 "data" 4178`, invalidIndex},
		{`a1 "LockPCR" a1 "index" 10`, `"LockPCR"`},
		{`a1 "DescribePCR" a1 "index" 10`, `a1 "DescribePCR" a2 "lock" f5 "data" 5830` + extendedX},
		{`"DescribeNSM"`, description("91", " 10")},
		{`a1 "ExtendPCR" a2 "index" 10 "data" 4178`, readOnlyIndex},
		{`a1 "LockPCR" a1 "index" 10`, readOnlyIndex},
		{`a1 "LockPCR" a1 "index" 0f`, readOnlyIndex},
		{`a1 "LockPCR" a1 "index" 1820`, invalidIndex},
		{`a1 "LockPCRs" a1 "range" 00`, `"LockPCRs"`},
		{`a1 "LockPCRs" a1 "range" 1821`, invalidIndex},
		{`"DescribeNSM"`, description("91", " 10")},
		{`a1 "LockPCRs" a1 "range" 1820`, `"LockPCRs"`},
		{`a1 "LockPCRs" a1 "range" 1820`, `"LockPCRs"`},
		{`"DescribeNSM"`, description("9820", " 101112131415161718181819181a181b181c181d181e181f")},
		{`a1 "Attestation" a3 "user_data" 590401` + strings.Repeat("00", 1025) + ` "nonce" f6 "public_key" f6`, inputTooLarge},
		{`a1 "Attestation" a1 "nonce" 590401` + strings.Repeat("00", 1025), inputTooLarge},
		{`a1 "Attestation" a1 "public_key" 590401` + strings.Repeat("00", 1025), inputTooLarge},
	} {
		if got, want := exchange(t, d, unhex(t, test.request)), unhex(t, test.response); !bytes.Equal(got, want) {
			t.Errorf("%.80s: %x, want %x", test.request, got, want)
		}
	}
	for _, bad := range []string{
		``, `f6`, `00`, `a0`, `80`, `""`, `"LockPCR"`, `"Attestation"`, `"describensm"`, `"GetRandom" 00`, `7f "GetRandom" ff`, `4947657452616e646f6d`,
		`a1 "GetRandom" f6`, `a1 "DescribeNSM" a0`, `a1 "Unknown" a0`, `a1 "Error" "Success"`, `a2 "GetRandom" f6 "DescribeNSM" f6`,
		`a1 "DescribePCR" a0`, `a1 "DescribePCR" 00`, `a1 "DescribePCR" f6`, `a1 "DescribePCR" a1 "index" f6`, `a1 "DescribePCR" a1 "index" 20`,
		`a1 "DescribePCR" a1 "index" f94000`, `a1 "DescribePCR" a1 "index" 1a00010000`, `a1 "DescribePCR" a1 "index" c24101`, `a1 "DescribePCR" a1 "index" "0"`,
		`a1 "DescribePCR" a1 "Index" 00`, `a1 "DescribePCR" a2 "index" 00 "index" 01`, `a1 "DescribePCR" a2 "index" 00 "more" 01`, `a1 "DescribePCR" 81 00`,
		`bf "DescribePCR" a1 "index" 00 ff`, `a1 "DescribePCR" bf "index" 00 ff`, `d9d9f7 a1 "DescribePCR" a1 "index" 00`, `a1 "DescribePCR" a1 "index" 00 00`,
		`a1 "ExtendPCR" a1 "index" 13`, `a1 "ExtendPCR" a1 "data" 4178`, `a1 "ExtendPCR" a2 "index" 13 "data" f6`, `a1 "ExtendPCR" a2 "index" 13 "data" "x"`,
		`a1 "ExtendPCR" a2 "index" 13 "data" 811878`, `a1 "ExtendPCR" a2 "index" 13 "data" 5f4178ff`, `a1 "ExtendPCR" a2 "index" 13 "data" 5bffffffffffffffff`,
		`a1 "LockPCR" a1 "range" 13`, `a1 "LockPCRs" a1 "index" 13`, `a1 "LockPCRs" a1 "range" 1a00010000`, `a1 "LockPCRs" a1 "range" 20`,
		`a1 "Attestation" f6`, `a1 "Attestation" a1 "user_data" "x"`, `a1 "Attestation" a1 "nonce" 8101`, `a1 "Attestation" a1 "PUBLIC_KEY" f6`,
		`a1 "Attestation" a2 "nonce" f6 "nonce" f6`, `a1 "Attestation" a1 "document" f6`, strings.Repeat("81", 4000) + `00`,
	} {
		if got, want := exchange(t, d, unhex(t, bad)), unhex(t, invalidOperation); !bytes.Equal(got, want) {
			t.Errorf("%.80s: %x, want %x", bad, got, want)
		}
	}
}

// TestRandom holds the response against what the Linux driver compares
// literally (drivers/misc/nsm.c, parse_resp_get_random).
func TestRandom(t *testing.T) {
	d := newDevice(t, nsmsim.Config{})
	head := append([]byte{0xa1, 0x69}, "GetRandom\xa1\x66random\x59\x01\x00"...)
	var last []byte
	for range 16 {
		got := exchange(t, d, unhex(t, `"GetRandom"`))
		random, ok := bytes.CutPrefix(got, head)
		if !ok || len(random) != 256 {
			t.Fatalf("%x", got)
		}
		if bytes.Equal(random, last) || bytes.Count(random, []byte{random[0]}) == len(random) {
			t.Fatal("not random")
		}
		last = random
	}
}

// TestEveryRequestCut checks that no part of a request is one.
func TestEveryRequestCut(t *testing.T) {
	d := newDevice(t, nsmsim.Config{})
	refused := unhex(t, `a1 "Error" "InvalidOperation"`)
	for _, form := range []string{
		`"GetRandom"`, `"DescribeNSM"`, `a1 "DescribePCR" a1 "index" 00`, `a1 "ExtendPCR" a2 "index" 10 "data" 4178`, `a1 "LockPCR" a1 "index" 10`,
		`a1 "LockPCRs" a1 "range" 1820`, `a1 "Attestation" a3 "user_data" 4101 "nonce" f6 "public_key" 40`,
	} {
		request := unhex(t, form)
		for n := range len(request) {
			if got := exchange(t, d, request[:n]); !bytes.Equal(got, refused) {
				t.Errorf("first %d bytes of %s: %x", n, form, got)
			}
		}
	}
	if got := exchange(t, d, unhex(t, `a1 "DescribePCR" a1 "index" 10`)); !bytes.Equal(got, unhex(t, `a1 "DescribePCR" a2 "lock" f4 "data" 5830`+zeroPCR)) {
		t.Errorf("PCR16 changed: %x", got)
	}
}
