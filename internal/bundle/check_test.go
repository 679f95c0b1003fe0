package bundle_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
)

// TestCheck breaks each invariant once, in a bundle that is good otherwise.
func TestCheck(t *testing.T) {
	type b = bundle.Bundle
	const (
		id   = "1 to 63 of a-z, 0-9 and -"
		word = "1 to 256 printable ASCII characters without spaces"
		url  = "not an https URL without user, query and fragment"
		host = "the URL's host isn't a lower-case name or address, or its port is none"
	)
	for _, c := range []struct {
		name   string
		breaks func(*b)
		want   string
	}{
		{"version 0", func(b *b) { b.Version = 0 }, "version: 1 is the only one known"},
		{"version 2", func(b *b) { b.Version = 2 }, "version: 1 is the only one known"},
		{"no deployment", func(b *b) { b.Deployment = "" }, "deployment: " + id},
		{"deployment with a slash", func(b *b) { b.Deployment = "a/b" }, "deployment: " + id},
		{"long deployment", func(b *b) { b.Deployment = strings.Repeat("a", 64) }, "deployment: " + id},
		{"no profile", func(b *b) { b.Profile = "" }, "profile: production or simulation"},
		{"other profile", func(b *b) { b.Profile = "Production" }, "profile: production or simulation"},
		{"no freshness", func(b *b) { b.Freshness = "" }, "freshness: none or witnesses"},
		{"other freshness", func(b *b) { b.Freshness = "s3" }, "freshness: none or witnesses"},

		{"no datasets", func(b *b) { b.Datasets = nil }, "datasets: 1 to 256"},
		{"many datasets", func(b *b) { b.Datasets = make([]bundle.Dataset, 257) }, "datasets: 1 to 256"},
		{"bad contract", func(b *b) { b.Datasets[1].Contract.Floor = 4 }, "dataset 2: contract: floor: 5 to 1000000"},
		{"dataset twice", func(b *b) { b.Datasets[1].Contract.Dataset = "colon" }, "dataset colon stands twice"},
		{"no dataset key", func(b *b) { b.Datasets[0].KeyARN = "" }, "dataset colon: key: not the ARN of a KMS key"},
		{"an alias", func(b *b) { b.Datasets[1].KeyARN = "arn:aws:kms:eu-central-1:111122223333:alias/a" }, "dataset visits: key: not the ARN of a KMS key (an alias won't do)"},
		{"a key elsewhere", func(b *b) { b.Datasets[0].KeyARN = "arn:aws:kms:eu-west-1:111122223333:key/a" }, "dataset colon: key: the key is in another region"},
		{"the state's key", func(b *b) { b.Datasets[1].KeyARN = keyS }, "dataset visits: key: it is the state key; the state needs one of its own"},

		{"no region", func(b *b) { b.KMS.Region = "" }, "kms: region: an AWS region such as eu-central-1"},
		{"bad region", func(b *b) { b.KMS.Region = "eu-central-1.evil.example" }, "kms: region: an AWS region such as eu-central-1"},
		{"no state key", func(b *b) { b.KMS.StateKeyARN = "" }, "kms: state key: not the ARN of a KMS key"},
		{"endpoint without TLS", func(b *b) { b.KMS.Endpoint = "http://127.0.0.1:8443" }, "kms: endpoint: " + url},
		{"endpoint in capitals", func(b *b) { b.KMS.Endpoint = "https://KMS.example" }, "kms: endpoint: " + host},
		{"bad CA", func(b *b) { b.KMS.CA = []byte("no PEM") }, "kms: CA: something other than certificates in PEM"},

		{"many producers", func(b *b) { b.Producers = make([]bundle.Producer, 1025) }, "producers: at most 1024"},
		{"producer's name", func(b *b) { b.Producers[0].Name = "Clinic" }, "producer 1: name: " + id},
		{"short key", func(b *b) { b.Producers[1].Key = b.Producers[1].Key[:31] }, "producer 2: key: an Ed25519 public key has 32 bytes"},
		{"producer twice", func(b *b) { b.Producers[1].Name = "clinic-a" }, "producer clinic-a stands twice"},
		{"key twice", func(b *b) { b.Producers[1].Key = b.Producers[0].Key }, "producer clinic-b has the key of another producer"},
		{"producer of nothing", func(b *b) { b.Producers[0].Datasets = nil }, "producer clinic-a: names no dataset"},
		{"producer of another's", func(b *b) { b.Producers[0].Datasets[0] = "lung" }, "producer clinic-a: names a dataset twice or one that the bundle doesn't have"},
		{"producer of one twice", func(b *b) { b.Producers[1].Datasets[0] = "colon" }, "producer clinic-b: names a dataset twice or one that the bundle doesn't have"},

		{"many issuers", func(b *b) { b.Issuers = make([]bundle.Issuer, 17) }, "issuers: at most 16"},
		{"issuer without TLS", func(b *b) { b.Issuers[0].URL = "http://id.example.org" }, "issuer 1: " + url},
		{"issuer with a query", func(b *b) { b.Issuers[0].URL = "https://id.example.org?a=b" }, "issuer 1: " + url},
		{"issuer with an empty query", func(b *b) { b.Issuers[0].URL = "https://id.example.org?" }, "issuer 1: " + url},
		{"issuer with a fragment", func(b *b) { b.Issuers[0].URL = "https://id.example.org#" }, "issuer 1: " + url},
		{"issuer with a user", func(b *b) { b.Issuers[0].URL = "https://a@id.example.org" }, "issuer 1: " + url},
		{"issuer without host", func(b *b) { b.Issuers[0].URL = "https:///realms" }, "issuer 1: " + url},
		{"issuer with a port of none", func(b *b) { b.Issuers[0].URL = "https://id.example.org:0" }, "issuer 1: " + host},
		{"long issuer", func(b *b) { b.Issuers[0].URL = "https://id.example.org/" + strings.Repeat("a", 512) }, "issuer 1: " + url},
		{"issuer twice", func(b *b) { b.Issuers[1].URL = b.Issuers[0].URL }, "issuer 2 stands twice"},
		{"no audience", func(b *b) { b.Issuers[1].Audience = "" }, "issuer 2: audience: " + word},
		{"audience with a space", func(b *b) { b.Issuers[0].Audience = "a b" }, "issuer 1: audience: " + word},
		{"no claim", func(b *b) { b.Issuers[0].RolesClaim = "" }, "issuer 1: roles claim: " + word},
		{"long claim", func(b *b) { b.Issuers[0].RolesClaim = strings.Repeat("a", 257) }, "issuer 1: roles claim: " + word},
		{"no roots", func(b *b) { b.Issuers[0].TLSRoots = nil }, "issuer 1: TLS roots: none given"},
		{"a private key", func(b *b) {
			b.Issuers[0].TLSRoots = append(b.Issuers[0].TLSRoots, "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"...)
		}, "issuer 1: TLS roots: something other than certificates in PEM"},
		{"text behind", func(b *b) { b.Issuers[0].TLSRoots = append(b.Issuers[0].TLSRoots, "text"...) }, "issuer 1: TLS roots: something other than certificates in PEM"},
		{"not a certificate", func(b *b) {
			b.Issuers[0].TLSRoots = []byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
		}, "issuer 1: TLS roots: certificate 1 can't be read"},
		{"cut certificate", func(b *b) { b.Issuers[0].TLSRoots = b.Issuers[0].TLSRoots[:100] }, "issuer 1: TLS roots: not 1 to 64 certificates in PEM"},
		{"many roots", func(b *b) { b.Issuers[0].TLSRoots = bytes.Repeat(b.Issuers[0].TLSRoots, 65) }, "issuer 1: TLS roots: not 1 to 64 certificates in PEM"},
		{"large roots", func(b *b) { b.Issuers[0].TLSRoots = make([]byte, 256<<10+1) }, "issuer 1: TLS roots: over 262144 bytes"},

		{"much egress", func(b *b) { b.Egress = make([]string, 65) }, "egress: at most 64"},
		{"egress twice", func(b *b) { b.Egress[1] = b.Egress[0] }, "egress: entry 2 isn't a lower-case host:port, or stands twice"},

		{"production, endpoint", func(b *b) { production(b); b.KMS.Endpoint = "https://kms" }, "kms: an endpoint or CA of its own is for simulation only"},
		{"production, CA", func(b *b) { ca := b.KMS.CA; production(b); b.KMS.CA = ca }, "kms: an endpoint or CA of its own is for simulation only"},
		{"production, not fresh", func(b *b) { production(b); b.Freshness = bundle.FreshnessNone }, "freshness: none is for simulation only"},
		{"production, threshold", func(b *b) { production(b); b.Datasets[1].Contract.Mode = contract.Threshold }, "dataset visits: mode threshold is for simulation only"},

		{"no envelope", func(b *b) { b.Limits.MaxEnvelope = 0 }, "limits: largest envelope: 1 to 16777216 bytes"},
		{"large envelope", func(b *b) { b.Limits.MaxEnvelope = 16<<20 + 1 }, "limits: largest envelope: 1 to 16777216 bytes"},
		{"no rows", func(b *b) { b.Limits.MaxResultRows = 0 }, "limits: result rows: 1 to 10000000"},
		{"many rows", func(b *b) { b.Limits.MaxResultRows = 10_000_001 }, "limits: result rows: 1 to 10000000"},
		{"no time", func(b *b) { b.Limits.QueryTimeout = 0 }, "limits: query timeout: 1 to 600000 milliseconds"},
		{"much time", func(b *b) { b.Limits.QueryTimeout = 600_001 }, "limits: query timeout: 1 to 600000 milliseconds"},
		{"little memory", func(b *b) { b.Limits.QueryMemory = 1<<20 - 1 }, "limits: query memory: 1048576 to 1099511627776 bytes"},
		{"much memory", func(b *b) { b.Limits.QueryMemory = 1<<40 + 1 }, "limits: query memory: 1048576 to 1099511627776 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := whole(t)
			if err := b.Check(); err != nil {
				t.Fatalf("before: %v", err)
			}
			c.breaks(b)
			err := b.Check()
			if !errors.Is(err, bundle.ErrBundle) || err.Error() != "bundle: "+c.want {
				t.Errorf("got  %v\nwant bundle: %s", err, c.want)
			}
			if raw, err := b.Encode(); err == nil || raw != nil {
				t.Errorf("it encodes all the same: %v", err)
			}
		})
	}
}

func TestEgress(t *testing.T) {
	for hostport, ok := range map[string]bool{
		"kms.eu-central-1.amazonaws.com:443": true, "a:1": true, "127.0.0.1:65535": true, "[2001:db8::1]:443": true,
		"":                                false,
		"a":                               false,
		"a:":                              false,
		":443":                            false,
		"a:0":                             false,
		"a:0443":                          false,
		"a:65536":                         false,
		"a:https":                         false,
		"A:443":                           false,
		"a..b:443":                        false,
		"-a:443":                          false,
		"a-:443":                          false,
		"a.:443":                          false,
		"*.a:443":                         false,
		"a b:443":                         false,
		"https://a:443":                   false,
		"a:443\n":                         false,
		"2001:db8::1:443":                 false,
		"[2001:DB8::1]:443":               false,
		"[2001:db8:0::1]:443":             false,
		"[fe80::1%eth0]:443":              false,
		"[a]:443":                         false,
		strings.Repeat("a", 64) + ":1":    false,
		strings.Repeat("a.", 127) + "a:1": false,
	} {
		b := vector()
		b.Egress = []string{hostport}
		if err := b.Check(); (err == nil) != ok {
			t.Errorf("%q: %v", hostport, err)
		}
	}
}

// TestErrorsShowNoKey holds that errors don't repeat keys or certificates.
func TestErrorsShowNoKey(t *testing.T) {
	b := whole(t)
	b.Producers[0].Key = []byte("0123456789abcdef")
	err := b.Check()
	if err == nil || strings.Contains(err.Error(), fmt.Sprintf("%x", b.Producers[0].Key)) || strings.Contains(err.Error(), string(b.Producers[0].Key)) {
		t.Errorf("%v", err)
	}
}
