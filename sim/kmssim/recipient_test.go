package kmssim_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// The bytes of a message, from the reference: hexadecimal digits, with | where a
// value of its own stands.
const (
	messageHead = "3080 06092a864886f70d010703 a080 3080 020102 3182016b 30820167 020102 8020 | 303c 06092a864886f70d010107 302f" +
		" a00f 300d 0609608648016503040201 0500 a11c 301a 06092a864886f70d010108 300d 0609608648016503040201 0500 04820100 |" +
		" 3080 06092a864886f70d010701 301d 060960864801650304012a 0410 |"
	messageEnd = "0000 0000 0000 0000"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// takeMessage reads a message at fixed places and fails on any byte that isn't
// the reference's. It answers the recipient's name and the content.
func takeMessage(t *testing.T, message []byte) (rid, encryptedKey, iv, content []byte) {
	t.Helper()
	rest := message
	take := func(n int) []byte {
		if n > len(rest) {
			t.Fatalf("the message ends early: %x", message)
		}
		out := rest[:n]
		rest = rest[n:]
		return out
	}
	expect := func(want []byte) {
		if got := take(len(want)); !bytes.Equal(got, want) {
			t.Fatalf("%x instead of %x at %d", got, want, len(message)-len(rest)-len(want))
		}
	}
	values := [][]byte{make([]byte, 32), make([]byte, 256), make([]byte, 16)}
	for i, part := range strings.Split(strings.TrimSuffix(messageHead, "|"), "|") {
		expect(unhex(t, part))
		copy(values[i], take(len(values[i])))
	}
	length := func() int {
		switch first := int(take(1)[0]); first {
		case 0x81:
			return int(take(1)[0])
		case 0x82:
			b := take(2)
			return int(b[0])<<8 | int(b[1])
		default:
			return first
		}
	}
	switch tag := take(1)[0]; tag {
	case 0x80:
		content = take(length())
	case 0xa0:
		expect([]byte{0x80})
		for rest[0] != 0 {
			expect([]byte{4})
			n := length()
			if n > 1000 || len(content)%1000 != 0 {
				t.Fatalf("a chunk of %d bytes after %d", n, len(content))
			}
			content = append(content, take(n)...)
		}
		expect([]byte{0, 0})
	default:
		t.Fatalf("content has tag %x", tag)
	}
	expect(unhex(t, messageEnd))
	if len(rest) > 0 {
		t.Fatalf("%d bytes follow", len(rest))
	}
	return values[0], values[1], values[2], content
}

// openMessage reads a message and opens it with the tests' key.
func openMessage(t *testing.T, message []byte) []byte {
	t.Helper()
	_, encrypted, iv, content := takeMessage(t, message)
	key, err := rsa.DecryptOAEP(sha256.New(), nil, recipientKey(), encrypted, nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil || len(key) != 32 {
		t.Fatalf("a content key of %d bytes: %v", len(key), err)
	}
	plain := make([]byte, len(content))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, content)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > 16 || !bytes.HasSuffix(plain, bytes.Repeat([]byte{byte(pad)}, pad)) {
		t.Fatalf("padding %x", plain[len(plain)-16:])
	}
	return plain[:len(plain)-pad]
}

// TestMessageLayout holds every byte and the lengths of real messages, in both
// forms.
func TestMessageLayout(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(open())
	for _, c := range []struct {
		plain     int
		fault     kmssim.Fault
		length    int
		tag, size byte
	}{
		{32, kmssim.Healthy, 493, 0xa0, 0x80}, {15, kmssim.Healthy, 461, 0xa0, 0x80}, {15, kmssim.Primitive, 457, 0x80, 16},
		{1, kmssim.Healthy, 461, 0xa0, 0x80}, {4096, kmssim.Healthy, 4573, 0xa0, 0x80}, {32, kmssim.Primitive, 489, 0x80, 48},
	} {
		plain := bytes.Repeat([]byte{0xab}, c.plain)
		w.breakWith(kmssim.Healthy)
		sealed, err := w.as(host).Encrypt(t.Context(), &kms.EncryptInput{KeyId: &arn, Plaintext: plain})
		if err != nil {
			t.Fatal(err)
		}
		w.breakWith(c.fault)
		out, code := w.decrypt(host, arn, nil, sealed.CiphertextBlob, e.recipient())
		if code != "" {
			t.Fatal(code)
		}
		if n := len(out.CiphertextForRecipient); n != c.length {
			t.Errorf("%d bytes make a message of %d, want %d", c.plain, n, c.length)
		}
		rid, _, _, content := takeMessage(t, out.CiphertextForRecipient)
		if want := sha256.Sum256(spki(t, &recipientKey().PublicKey)); !bytes.Equal(rid, want[:]) {
			t.Errorf("rid %x isn't the SHA-256 of the key", rid)
		}
		if len(content) != c.plain/16*16+16 {
			t.Errorf("%d bytes of content for %d", len(content), c.plain)
		}
		if got := out.CiphertextForRecipient[431:433]; got[0] != c.tag || got[1] != c.size {
			t.Errorf("%d bytes: content begins with %x", c.plain, got)
		}
		if !bytes.Equal(openMessage(t, out.CiphertextForRecipient), plain) || out.Plaintext != nil {
			t.Errorf("%d bytes: the message holds something else, or Plaintext is there", c.plain)
		}
	}
}

func TestGenerateDataKeyForRecipient(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(open())
	made, code := w.generate(host, arn, nil, e.recipient())
	if code != "" || made.Plaintext != nil || aws.ToString(made.KeyId) != arn {
		t.Fatalf("%q", code)
	}
	got, code := w.decrypt(host, arn, nil, made.CiphertextBlob, nil)
	if code != "" || !bytes.Equal(got.Plaintext, openMessage(t, made.CiphertextForRecipient)) {
		t.Errorf("message and blob hold different keys: %q", code)
	}
}

// TestDocuments holds what is refused though the policy allows everything:
// never an answer in clear, and never one to a key that isn't attested.
func TestDocuments(t *testing.T) {
	w := newWorld(t)
	good := w.boot("", "bundle")
	foreign := newWorld(t).boot("", "bundle")
	arn := w.create(open())
	made, code := w.generate(host, arn, nil, nil)
	if code != "" {
		t.Fatal(code)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	onP384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := spki(t, &recipientKey().PublicKey)
	broken := good.recipient()
	broken.AttestationDocument[len(broken.AttestationDocument)-1] ^= 1
	var ahead time.Duration // of a module whose certificate is from before
	early := w.boot("", "bundle", func(c *nsmsim.Config) { c.Now = func() time.Time { return w.time().Add(ahead) } })
	ahead = 31 * time.Second
	other := good.recipient()
	other.KeyEncryptionAlgorithm = "RSAES_OAEP_SHA_1"
	for name, r := range map[string]*types.RecipientInfo{
		"broken signature":   broken,
		"another root":       foreign.recipient(),
		"not a document":     {AttestationDocument: []byte("document"), KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256},
		"no document":        {KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256},
		"too long":           {AttestationDocument: make([]byte, 262145), KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256},
		"another algorithm":  other,
		"no algorithm":       {AttestationDocument: good.recipient().AttestationDocument},
		"empty recipient":    {},
		"no key":             good.attest(nil),
		"empty key":          good.attest([]byte{}),
		"EC key":             good.attest(spki(t, &onP384.PublicKey)),
		"RSA-1024":           good.attest(spki(t, &short.PublicKey)),
		"PKCS #1 key":        good.attest(x509.MarshalPKCS1PublicKey(&recipientKey().PublicKey)),
		"trailing byte":      good.attest(append(bytes.Clone(public), 0)),
		"not a key":          good.attest([]byte("key")),
		"debug with no key":  w.boot("", "bundle", func(c *nsmsim.Config) { c.Debug = true }).attest(nil),
		"timestamp of old":   w.boot("", "bundle", func(c *nsmsim.Config) { c.Faults = oldTimestamp }).recipient(),
		"six minutes early":  w.boot("", "bundle", func(c *nsmsim.Config) { c.Now = func() time.Time { return w.time().Add(6 * time.Minute) } }).recipient(),
		"31 seconds early":   early.recipient(),
		"garbage at the end": {AttestationDocument: append(good.recipient().AttestationDocument, 0), KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256},
	} {
		_, decrypted := w.decrypt(host, arn, nil, made.CiphertextBlob, r)
		_, generated := w.generate(host, arn, nil, r)
		if decrypted != "ValidationException" || generated != "ValidationException" {
			t.Errorf("%s: Decrypt %q, GenerateDataKey %q", name, decrypted, generated)
		}
	}
}

func oldTimestamp(string) nsmsim.Fault { return nsmsim.OldTimestamp }

func TestDocumentsAge(t *testing.T) {
	w := newWorld(t)
	r := w.boot("", "bundle").recipient()
	arn := w.create(open())
	for _, c := range []struct {
		later time.Duration
		want  string
	}{{0, ""}, {5 * time.Minute, ""}, {time.Millisecond, "ValidationException"}} {
		w.advance(c.later)
		if _, code := w.generate(host, arn, nil, r); code != c.want {
			t.Errorf("%v later: %q", c.later, code)
		}
	}
}

// TestEncryptIgnoresRecipient sends a Recipient where KMS knows none.
func TestEncryptIgnoresRecipient(t *testing.T) {
	w := newWorld(t)
	arn := w.create(open())
	for _, extra := range []string{`"Recipient":{"AttestationDocument":"AAAA","KeyEncryptionAlgorithm":"x"},`, ``} {
		status, code := w.send(call{
			id: accessKey(host), secret: "secret of " + host, service: "kms", region: region, at: w.time(),
			body: `{` + extra + `"KeyId":"` + arn + `","Plaintext":"AAAA"}`, target: "Encrypt",
		})
		if status != 200 || code != "" {
			t.Errorf("%q: status %d, %q", extra, status, code)
		}
	}
}
