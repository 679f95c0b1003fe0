package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// releaser is a keeper with keys that sign, and with what an image is made of.
type releaser struct {
	*keeper
	arn string // of a P-384 key
}

func newReleaser(t *testing.T) *releaser {
	t.Helper()
	r := &releaser{keeper: newKeeper(t)}
	r.arn = r.signingKey(types.KeySpecEccNistP384, types.KeyUsageTypeSignVerify)
	r.certify("release.pem", r.arn)
	r.write("kernel", []byte("not a bzImage, but long enough to have none of its headers"))
	r.write("init.cpio", []byte("070701 first"))
	r.write("owner.json", []byte(`{"access_key_id":"OWNER","secret_access_key":"s"}`))
	return r
}

func (r *releaser) signingKey(spec types.KeySpec, usage types.KeyUsageType) string {
	r.t.Helper()
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":%q},"Action":"kms:*","Resource":"*"}]}`, ownerRole)
	out, err := r.owner.CreateKey(r.t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage, Policy: &policy})
	if err != nil {
		r.t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.Arn)
}

// certify writes a certificate for a key in KMS, from an authority of the test.
func (r *releaser) certify(name, arn string) []byte {
	r.t.Helper()
	out, err := r.owner.GetPublicKey(r.t.Context(), &kms.GetPublicKeyInput{KeyId: &arn})
	if err != nil {
		r.t.Fatal(err)
	}
	public, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		r.t.Fatal(err)
	}
	authority, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "release"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0)}
	parent := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "authority"}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, authority)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return der
}

// kms are the flags that lead to the simulated KMS.
func (r *releaser) kms(arn string) []string {
	return []string{"--kms-key", arn, "--kms-credentials", r.file("owner.json"), "--kms-endpoint", r.url, "--kms-ca", r.file("ca.pem")}
}

func (r *releaser) build(out string, more ...string) (int, string, string) {
	return cloister(r.t, append([]string{"eif", "build", "--kernel", r.file("kernel"), "--cmdline", "console=ttyS0", "--ramdisk", r.file("init.cpio"), "-o", r.file(out)}, more...)...)
}

// TestEIFSignWithKMS signs with a key that never leaves a real server of KMS's
// protocol, for each curve, when building and afterwards.
func TestEIFSignWithKMS(t *testing.T) {
	r := newReleaser(t)
	if code, _, errs := r.build("unsigned.eif"); code != 0 {
		t.Fatal(errs)
	}
	for _, spec := range []types.KeySpec{types.KeySpecEccNistP256, types.KeySpecEccNistP384} {
		arn := r.signingKey(spec, types.KeyUsageTypeSignVerify)
		der := r.certify("cert.pem", arn)
		inner := sha512.Sum384(der)
		pcr8 := sha512.Sum384(append(make([]byte, 48), inner[:]...))
		built, signed := string(spec)+"-built.eif", string(spec)+"-signed.eif"
		code, out, errs := r.build(built, append(r.kms(arn), "--sign-cert", r.file("cert.pem"))...)
		if code != 0 || !strings.Contains(out, "verdict   good") || !strings.Contains(out, hex.EncodeToString(pcr8[:])) || !strings.Contains(out, "CN=release") {
			t.Errorf("%s, build: exit %d: %s%s", spec, code, out, errs)
		}
		code, out, errs = cloister(t, append(r.kms(arn), "eif", "sign", r.file("unsigned.eif"), "--sign-cert", r.file("cert.pem"), "-o", r.file(signed))...)
		if code != 0 || !strings.Contains(out, "verdict   good") || !strings.Contains(out, hex.EncodeToString(pcr8[:])) {
			t.Errorf("%s, sign: exit %d: %s%s", spec, code, out, errs)
		}
		if code, out, errs := cloister(t, "eif", "diff", r.file(built), r.file(signed)); code != 0 {
			t.Errorf("%s: exit %d: %s%s", spec, code, out, errs)
		}
	}
}

// TestEIFSignWithKMSRefused leaves no file and says one clear thing.
func TestEIFSignWithKMSRefused(t *testing.T) {
	r := newReleaser(t)
	agreement := r.signingKey(types.KeySpecEccNistP384, types.KeyUsageTypeKeyAgreement)
	symmetric := r.signingKey("", "")
	other := r.signingKey(types.KeySpecEccNistP384, types.KeyUsageTypeSignVerify)
	disabled := r.signingKey(types.KeySpecEccNistP384, types.KeyUsageTypeSignVerify)
	r.certify("disabled.pem", disabled)
	if _, err := r.owner.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &disabled}); err != nil {
		t.Fatal(err)
	}
	cert := []string{"--sign-cert", r.file("release.pem")}
	with := func(flags ...[]string) (all []string) {
		for _, f := range flags {
			all = append(all, f...)
		}
		return all
	}
	for name, c := range map[string]struct {
		flags []string
		code  int
		word  string
	}{
		"another key than the certificate's": {with(cert, r.kms(other)), 1, "the key isn't the certificate's"},
		"a key for agreement":                {with(cert, r.kms(agreement)), 2, "isn't an ECC key for signing"},
		"a symmetric key":                    {with(cert, r.kms(symmetric)), 1, "UnsupportedOperationException"},
		"a disabled key":                     {with([]string{"--sign-cert", r.file("disabled.pem")}, r.kms(disabled)), 1, "DisabledException"},
		"an unknown key":                     {with(cert, r.kms(r.arn[:len(r.arn)-1]+"z")), 1, "NotFoundException"},
		"not allowed":                        {with(cert, r.kms(r.arn), []string{"--kms-credentials", r.file("clinic.json")}), 1, "AccessDeniedException"},
		"unknown credentials":                {with(cert, r.kms(r.arn), []string{"--kms-credentials", r.file("nobody.json")}), 1, "KMS refuses GetPublicKey"},
		"nobody there":                       {with(cert, r.kms(r.arn), []string{"--kms-endpoint", "https://127.0.0.1:1"}), 3, "KMS can't be asked"},
		"not an ARN":                         {with(cert, r.kms("alias/release")), 2, "isn't the ARN"},
		"no credentials":                     {with(cert, []string{"--kms-key", r.arn}), 2, "--kms-credentials"},
		"no certificate":                     {r.kms(r.arn), 2, "--sign-cert"},
		"a certificate alone":                {cert, 2, "--sign-key or --kms-key"},
		"two keys":                           {with(cert, r.kms(r.arn), []string{"--sign-key", "x"}), 2, "one of"},
		"an endpoint alone":                  {[]string{"--kms-endpoint", r.url}, 2, "go with --kms-key"},
	} {
		code, _, errs := r.build("never.eif", c.flags...)
		if code != c.code || !strings.Contains(errs, c.word) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
		if _, err := os.Stat(r.file("never.eif")); err == nil {
			t.Fatalf("%s: there is a file", name)
		}
	}
}

// TestEIFSignKeepsTheImage signs anew over an old signature.
func TestEIFSignKeepsTheImage(t *testing.T) {
	r := newReleaser(t)
	flags := append(r.kms(r.arn), "--sign-cert", r.file("release.pem"))
	if code, _, errs := r.build("one.eif", flags...); code != 0 {
		t.Fatal(errs)
	}
	if code, _, errs := cloister(t, append(flags, "eif", "sign", r.file("one.eif"), "-o", r.file("two.eif"))...); code != 0 {
		t.Fatal(errs)
	}
	one, err := os.ReadFile(r.file("one.eif"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(r.file("two.eif"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one, two) {
		t.Error("KMS signs with randomness; these files are the same")
	}
	if code, out, _ := cloister(t, "eif", "diff", r.file("one.eif"), r.file("two.eif")); code != 0 {
		t.Error(out)
	}
}
