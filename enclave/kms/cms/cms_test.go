package cms_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/cloisterhq/cloister/enclave/kms/cms"
)

// isOpen says whether an error is ErrOpen itself, with nothing around it.
func isOpen(err error) bool { return errors.Is(err, cms.ErrOpen) && err.Error() == cms.ErrOpen.Error() }

func TestOpensBothForms(t *testing.T) {
	key := testKey(t)
	to := recipient(t, key)
	for _, size := range []int{1, 15, 16, 17, 32, 999, 1000, 4096, 65_000} {
		plain := make([]byte, size)
		_, _ = rand.Read(plain)
		for name, s := range map[string]seed{"constructed": {plain: plain, chunk: 1000}, "primitive": {plain: plain}, "tiny chunks": {plain: plain, chunk: 256}} {
			p, _ := seal(t, &key.PublicKey, s)
			message := p.bytes()
			got, err := to.Open(message, size)
			if len(message) > 64<<10 {
				if !errors.Is(err, cms.ErrMalformed) {
					t.Errorf("%s, %d bytes: a message of %d bytes answers %v", name, size, len(message), err)
				}
				continue
			}
			if err != nil || !bytes.Equal(got.Expose(), plain) {
				t.Errorf("%s, %d bytes: %v", name, size, err)
			}
			if _, err := to.Open(message, size+1); !isOpen(err) {
				t.Errorf("%s, %d bytes taken for one more: %v", name, size, err)
			}
		}
	}
}

// TestLengths compares with the lengths of KMS's own messages.
func TestLengths(t *testing.T) {
	key := testKey(t)
	for _, c := range []struct{ plain, chunk, length int }{{32, 1000, 493}, {15, 1000, 461}, {15, 0, 457}, {4096, 1000, 4573}} {
		p, _ := seal(t, &key.PublicKey, seed{plain: make([]byte, c.plain), chunk: c.chunk})
		if n := len(p.bytes()); n != c.length {
			t.Errorf("the tests' message of %d bytes in chunks of %d has %d bytes, KMS's has %d", c.plain, c.chunk, n, c.length)
		}
	}
}

// TestOpensWhatOpenSSLSealed opens two messages that `openssl cms -encrypt` made
// to testdata/recipient.pem, with the NULL parameters of SHA-256 added that KMS
// writes and OpenSSL leaves out.
func TestOpensWhatOpenSSLSealed(t *testing.T) {
	to := recipient(t, testKey(t))
	for _, name := range []string{"definite.der", "indefinite.ber"} {
		got, err := to.Open(read(t, name), 32)
		if err != nil || !bytes.Equal(got.Expose(), bytes.Repeat([]byte("K"), 32)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMixedLengthForms(t *testing.T) {
	key := testKey(t)
	to := recipient(t, key)
	for mask := range 16 {
		p, _ := seal(t, &key.PublicKey, seed{plain: make([]byte, 32), chunk: 1000})
		for i, form := range []*func(byte, ...[]byte) []byte{&p.info, &p.explicit, &p.enveloped, &p.inner} {
			if mask>>i&1 == 1 {
				*form = element
			}
		}
		if _, err := to.Open(p.bytes(), 32); err != nil {
			t.Errorf("definite lengths %04b: %v", mask, err)
		}
	}
}

// TestRefusesOtherForms holds everything that can be seen without a key.
func TestRefusesOtherForms(t *testing.T) {
	key := testKey(t)
	to := recipient(t, key)
	deep := []byte{}
	for range 40 {
		deep = endless(0x30, deep)
	}
	for name, change := range map[string]func(*parts, *recipientParts){
		"another content type":     func(p *parts, _ *recipientParts) { p.contentType = unhex("06092a864886f70d010702") },
		"EnvelopedData version 0":  func(p *parts, _ *recipientParts) { p.version = unhex("020100") },
		"EnvelopedData version 3":  func(p *parts, _ *recipientParts) { p.version = unhex("020103") },
		"version in two octets":    func(p *parts, _ *recipientParts) { p.version = unhex("02020002") },
		"originator information":   func(p *parts, _ *recipientParts) { p.afterVersion = endless(0xa0) },
		"attributes":               func(p *parts, _ *recipientParts) { p.attributes = element(0xa1, unhex("3000")) },
		"no recipient":             func(p *parts, _ *recipientParts) { p.recipients = nil },
		"two recipients":           func(p *parts, r *recipientParts) { p.recipients = [][]byte{r.bytes(), r.bytes()} },
		"recipient version 0":      func(_ *parts, r *recipientParts) { r.version = unhex("020100") },
		"recipient version 3":      func(_ *parts, r *recipientParts) { r.version = unhex("020103") },
		"issuer and serial number": func(_ *parts, r *recipientParts) { r.rid = element(0x30, unhex("3000020101")) },
		"constructed rid":          func(_ *parts, r *recipientParts) { r.rid = element(0xa0, element(4, r.rid[2:])) },
		"rid of another key":       func(_ *parts, r *recipientParts) { r.rid[10] ^= 1 },
		"short rid":                func(_ *parts, r *recipientParts) { r.rid = element(0x80, r.rid[2:33]) },
		"SHA-1 throughout":         func(_ *parts, r *recipientParts) { r.algorithm = oaep(hexSHA1, hexSHA1, "") },
		"SHA-1 in MGF1":            func(_ *parts, r *recipientParts) { r.algorithm = oaep(hexSHA256, hexSHA1, "") },
		"default OAEP parameters":  func(_ *parts, r *recipientParts) { r.algorithm = unhex("300d06092a864886f70d0101073000") },
		"a label": func(_ *parts, r *recipientParts) {
			r.algorithm = oaep(hexSHA256, hexSHA256, "a20f300d06092a864886f70d0101090400")
		},
		"PKCS #1 v1.5":            func(_ *parts, r *recipientParts) { r.algorithm = unhex("300d06092a864886f70d0101010500") },
		"short encrypted key":     func(_ *parts, r *recipientParts) { r.key = element(4, r.key[4:259]) },
		"long encrypted key":      func(_ *parts, r *recipientParts) { r.key = element(4, []byte{0}, r.key[4:]) },
		"something after the key": func(_ *parts, r *recipientParts) { r.key = append(r.key, 5, 0) },
		"content of another type": func(p *parts, _ *recipientParts) { p.dataType = unhex("06092a864886f70d010703") },
		"AES-128": func(p *parts, _ *recipientParts) {
			p.algorithm = bytes.Replace(p.algorithm, unhex("0304012a"), unhex("03040102"), 1)
		},
		"AES-256-GCM": func(p *parts, _ *recipientParts) {
			p.algorithm = bytes.Replace(p.algorithm, unhex("0304012a"), unhex("0304012e"), 1)
		},
		"short IV": func(p *parts, _ *recipientParts) {
			p.algorithm = element(0x30, p.algorithm[2:13], element(4, make([]byte, 15)))
		},
		"long IV": func(p *parts, _ *recipientParts) {
			p.algorithm = element(0x30, p.algorithm[2:13], element(4, make([]byte, 17)))
		},
		"no IV":                  func(p *parts, _ *recipientParts) { p.algorithm = element(0x30, p.algorithm[2:13]) },
		"something after the IV": func(p *parts, _ *recipientParts) { p.algorithm = element(0x30, p.algorithm[2:], unhex("0500")) },
		"no content":             func(p *parts, _ *recipientParts) { p.content = nil },
		"empty content":          func(p *parts, _ *recipientParts) { p.content = unhex("8000") },
		"no chunk":               func(p *parts, _ *recipientParts) { p.content = endless(0xa0) },
		"empty chunk": func(p *parts, _ *recipientParts) {
			p.content = endless(0xa0, element(4, make([]byte, 48)), unhex("0400"))
		},
		"chunk of another type": func(p *parts, _ *recipientParts) { p.content = endless(0xa0, element(0x0c, make([]byte, 48))) },
		"chunk in chunks": func(p *parts, _ *recipientParts) {
			p.content = endless(0xa0, endless(0x24, element(4, make([]byte, 48))))
		},
		"constructed, definite": func(p *parts, _ *recipientParts) { p.content = element(0xa0, element(4, make([]byte, 48))) },
		"primitive, indefinite": func(p *parts, _ *recipientParts) { p.content = endless(0x80, make([]byte, 48)) },
		"content of 47 bytes":   func(p *parts, _ *recipientParts) { p.content = element(0x80, make([]byte, 47)) },
		"content twice":         func(p *parts, _ *recipientParts) { p.content = append(p.content, p.content...) },
		"trailing byte":         func(p *parts, _ *recipientParts) { p.trailer = []byte{0} },
		"trailing message":      func(p *parts, _ *recipientParts) { p.trailer = p.bytes() },
		"over 64 KiB":           func(p *parts, _ *recipientParts) { p.content = element(0x80, make([]byte, 64<<10)) },
		"nested deep":           func(p *parts, _ *recipientParts) { p.content = deep },
		"indefinite recipients": func(p *parts, _ *recipientParts) { p.set = endless },
		"indefinite recipient":  func(p *parts, r *recipientParts) { p.recipients = [][]byte{endless(0x30, r.bytes()[4:])} },
		"inner end too late": func(p *parts, _ *recipientParts) {
			p.inner = func(tag byte, q ...[]byte) []byte { return append(endless(tag, q...), 0, 0) }
		},
		"indefinite with inner length": func(p *parts, _ *recipientParts) {
			p.inner = func(tag byte, q ...[]byte) []byte { return append(element(tag, q...), 0, 0) }
		},
	} {
		p, r := seal(t, &key.PublicKey, seed{plain: make([]byte, 32), chunk: 1000})
		change(&p, &r)
		if len(p.recipients) == 1 && p.recipients[0][1] != 0x80 {
			p.recipients[0] = r.bytes()
		}
		if _, err := to.Open(p.bytes(), 32); !errors.Is(err, cms.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// oaep is an AlgorithmIdentifier with these hashes and further parameters.
func oaep(hash, mgf, more string) []byte {
	mgf1 := element(0x30, unhex("06092a864886f70d010108"), unhex(mgf))
	return element(0x30, unhex("06092a864886f70d010107"), element(0x30, element(0xa0, unhex(hash)), element(0xa1, mgf1), unhex(more)))
}

// TestLengthsInOneForm holds that a length must be in its shortest form, and
// that no length reaches beyond what contains it.
func TestLengthsInOneForm(t *testing.T) {
	key := testKey(t)
	to := recipient(t, key)
	iv := bytes.Repeat([]byte{9}, 16)
	for name, octets := range map[string][]byte{
		"right":            {0x10},
		"0x81 for 16":      {0x81, 0x10},
		"0x82 for 16":      {0x82, 0, 0x10},
		"four octets":      {0x84, 0, 0, 0, 0x10},
		"over the parent":  {0x11},
		"over the message": {0x82, 0x7f, 0xff},
		"almost 2^64":      {0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"reserved":         {0xff},
		"indefinite":       {0x80},
	} {
		p, _ := seal(t, &key.PublicKey, seed{plain: make([]byte, 32)})
		p.algorithm = element(0x30, unhex("060960864801650304012a"), []byte{4}, octets, iv)
		_, err := to.Open(p.bytes(), 32)
		if name == "right" && err != nil || name != "right" && !errors.Is(err, cms.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// 0x82 where 0x81 would do, around everything else.
	p, _ := seal(t, &key.PublicKey, seed{plain: make([]byte, 32)})
	p.inner = func(tag byte, q ...[]byte) []byte {
		content := bytes.Join(q, nil)
		return append([]byte{tag, 0x82, 0, byte(len(content))}, content...)
	}
	if _, err := to.Open(p.bytes(), 32); !errors.Is(err, cms.ErrMalformed) {
		t.Errorf("0x82 for less than 256: %v", err)
	}
}

// TestOneErrorForSecrets holds that whatever depends on a secret gives the same
// error, the very same value.
func TestOneErrorForSecrets(t *testing.T) {
	key := testKey(t)
	to := recipient(t, key)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, 32)
	padding := func(b ...byte) []byte { return append(make([]byte, 16-len(b)), b...) }
	for name, s := range map[string]seed{
		"garbled key":                   {plain: plain, garbled: true},
		"hidden SHA-1":                  {plain: plain, hash: crypto.SHA1},
		"content key of 16":             {plain: plain, key: make([]byte, 16)},
		"content key of 24":             {plain: plain, key: make([]byte, 24)},
		"content key of 16, with zeros": {plain: plain, key: append(bytes.Repeat([]byte{7}, 16), make([]byte, 16)...), wrapped: bytes.Repeat([]byte{7}, 16)},
		"content key of 33, cut":        {plain: plain, wrapped: bytes.Repeat([]byte{7}, 33)},
		"no content key, zeros used":    {plain: plain, key: make([]byte, 32), wrapped: []byte{}},
		"garbled key, zeros used":       {plain: plain, key: make([]byte, 32), garbled: true},
		"padding byte 0":                {plain: plain, pad: make([]byte, 16)},
		"padding byte 17":               {plain: plain, pad: bytes.Repeat([]byte{17}, 16)},
		"padding byte 200":              {plain: plain, pad: bytes.Repeat([]byte{200}, 16)},
		"one padding byte":              {plain: plain, pad: padding(1)},
		"uneven padding":                {plain: plain, pad: append([]byte{15}, bytes.Repeat([]byte{16}, 15)...)},
		"plaintext of 16":               {plain: plain[:16]},
		"plaintext of 31":               {plain: plain[:31]},
		"plaintext of 33":               {plain: make([]byte, 33)},
		"plaintext of 48":               {plain: make([]byte, 48)},
		"nothing":                       {plain: nil},
		"as long, other split":          {plain: make([]byte, 40)},
	} {
		p, _ := seal(t, &key.PublicKey, s)
		if got, err := to.Open(p.bytes(), 32); !isOpen(err) || got.Len() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Sealed to another key, with our name on it.
	p, r := seal(t, &other.PublicKey, seed{plain: plain})
	_, ours := seal(t, &key.PublicKey, seed{plain: plain})
	r.rid = ours.rid
	p.recipients = [][]byte{r.bytes()}
	if _, err := to.Open(p.bytes(), 32); !isOpen(err) {
		t.Errorf("another key: %v", err)
	}
	// A size that no message has.
	good, _ := seal(t, &key.PublicKey, seed{plain: plain})
	for _, size := range []int{-1, 0, 31, 33, 1 << 30} {
		if _, err := to.Open(good.bytes(), size); !isOpen(err) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// TestRecipientBeforeKey holds that a message to another key is refused before
// RSA sees anything of it: the encrypted key isn't one, and yet the error is
// the one of the form.
func TestRecipientBeforeKey(t *testing.T) {
	key := testKey(t)
	p, r := seal(t, &key.PublicKey, seed{plain: make([]byte, 32), garbled: true})
	r.rid[20] ^= 0x80
	p.recipients = [][]byte{r.bytes()}
	if _, err := recipient(t, key).Open(p.bytes(), 32); !errors.Is(err, cms.ErrMalformed) || errors.Is(err, cms.ErrOpen) {
		t.Error(err)
	}
}

// TestEveryByteCounts changes, and cuts at, every byte of a message of each
// form. What isn't key, IV or content has one value only.
func TestEveryByteCounts(t *testing.T) {
	key := testKey(t)
	to := recipient(t, key)
	for _, chunk := range []int{0, 16} {
		p, r := seal(t, &key.PublicKey, seed{plain: bytes.Repeat([]byte{5}, 32), chunk: chunk})
		good := p.bytes()
		free := func(i int) bool { // bytes that carry a value of their own
			for _, value := range [][]byte{r.key[4:], p.algorithm[15:]} {
				if at := bytes.Index(good, value); i >= at && i < at+len(value) {
					return true
				}
			}
			at := bytes.Index(good, p.content)
			if chunk == 0 {
				return i >= at+2 && i < at+50
			}
			return i >= at+2 && i < at+2+3*18 && (i-at-2)%18 >= 2
		}
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 0x41
			_, err := to.Open(bad, 32)
			if free(i) && errors.Is(err, cms.ErrMalformed) || !free(i) && !errors.Is(err, cms.ErrMalformed) {
				t.Errorf("chunk %d: byte %d changed: %v", chunk, i, err)
			}
			if _, err := to.Open(good[:i], 32); !errors.Is(err, cms.ErrMalformed) {
				t.Errorf("chunk %d: cut at %d: %v", chunk, i, err)
			}
		}
	}
}

func TestInputIsLeftAlone(t *testing.T) {
	key := testKey(t)
	for _, chunk := range []int{0, 1000} {
		p, _ := seal(t, &key.PublicKey, seed{plain: make([]byte, 32), chunk: chunk})
		message := p.bytes()
		before := bytes.Clone(message)
		if _, err := recipient(t, key).Open(message, 32); err != nil || !bytes.Equal(message, before) {
			t.Errorf("chunk %d: Open changed its input: %v", chunk, err)
		}
	}
}

func TestPublicKey(t *testing.T) {
	key := testKey(t)
	to := recipient(t, key)
	spki := to.PublicKey()
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil || !key.PublicKey.Equal(public) {
		t.Fatalf("not the key's SubjectPublicKeyInfo: %v", err)
	}
	spki[0] = 0
	if bytes.Equal(spki, to.PublicKey()) {
		t.Error("PublicKey doesn't answer a copy")
	}
}
