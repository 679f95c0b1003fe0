package kms_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/kms/cms"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/sim/kmssim"
)

func TestKeysComeBack(t *testing.T) { synctest.Test(t, testKeysComeBack) }

func testKeysComeBack(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(e.release)
	client := w.client(e)
	key, wrapped, err := client.GenerateDataKey(t.Context(), arn, study())
	if err != nil || key.Len() != 32 || bytes.Contains(wrapped, key.Expose()) {
		t.Fatalf("%d bytes: %v", key.Len(), err)
	}
	for _, form := range []kmssim.Fault{kmssim.Healthy, kmssim.Primitive} {
		w.next(form)
		again, err := client.Decrypt(t.Context(), arn, study(), wrapped)
		if err != nil || !again.Equal(key) {
			t.Errorf("form %d: %v", form, err)
		}
	}
	// Another boot of the same release has another recipient key and the same
	// right.
	again, err := w.client(w.boot("", "bundle")).Decrypt(t.Context(), arn, study(), wrapped)
	if err != nil || !again.Equal(key) {
		t.Errorf("after a restart: %v", err)
	}
	other, _, err := client.GenerateDataKey(t.Context(), arn, study())
	if err != nil || other.Equal(key) {
		t.Errorf("the same data key twice: %v", err)
	}
}

func TestRefusals(t *testing.T) { synctest.Test(t, testRefusals) }

func testRefusals(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn, another := w.create(e.release), w.create(e.release)
	good := w.client(e)
	_, wrapped, err := good.GenerateDataKey(t.Context(), arn, study())
	if err != nil {
		t.Fatal(err)
	}
	otherImage, otherBundle := w.client(w.boot("other", "bundle")), w.client(w.boot("", "other bundle"))
	foreign := w.client(newWorld(t).boot("", "bundle"))
	context := study()
	context["purpose"] = "audit"
	for name, c := range map[string]struct {
		client  *kms.Client
		arn     string
		context map[string]string
		blob    []byte
		want    error
		code    string
	}{
		"another image":      {otherImage, arn, study(), wrapped, kms.ErrDenied, "AccessDeniedException"},
		"another bundle":     {otherBundle, arn, study(), wrapped, kms.ErrDenied, "AccessDeniedException"},
		"another deployment": {good, arn, map[string]string{"deployment": "other", "purpose": "state"}, wrapped, kms.ErrDenied, "AccessDeniedException"},
		"a foreign root":     {foreign, arn, study(), wrapped, kms.ErrRefused, "ValidationException"},
		"another context":    {good, arn, context, wrapped, kms.ErrCiphertext, "InvalidCiphertextException"},
		"a broken blob":      {good, arn, study(), wrapped[:len(wrapped)-1], kms.ErrCiphertext, "InvalidCiphertextException"},
		"another key's blob": {good, another, study(), wrapped, kms.ErrCiphertext, "IncorrectKeyException"},
		"an unknown key":     {good, arn[:len(arn)-1] + "x", study(), wrapped, kms.ErrRefused, "NotFoundException"},
	} {
		w.next()
		key, err := c.client.Decrypt(t.Context(), c.arn, c.context, c.blob)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.code) || key.Len() != 0 {
			t.Errorf("%s: %v", name, err)
		}
		if n := w.calls(); n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
}

// TestNothingIsSent holds what is refused without KMS.
func TestNothingIsSent(t *testing.T) { synctest.Test(t, testNothingIsSent) }

func testNothingIsSent(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	client := w.client(e)
	w.next()
	for name, c := range map[string]struct {
		arn  string
		blob []byte
		want error
	}{
		"no key":  {"", []byte{1}, kms.ErrRefused},
		"no blob": {"arn:aws:kms:x", nil, kms.ErrCiphertext}, "long blob": {"arn:aws:kms:x", make([]byte, 6145), kms.ErrCiphertext},
	} {
		if _, err := client.Decrypt(t.Context(), c.arn, study(), c.blob); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := client.GenerateDataKey(t.Context(), "", study()); !errors.Is(err, kms.ErrRefused) {
		t.Errorf("data key under no key: %v", err)
	}
	if n := w.calls(); n != 0 || len(e.documents) != 0 {
		t.Errorf("KMS was asked %d times", n)
	}
}

// TestKeysOfOtherLengths asks KMS for what a producer may ask it for too: data
// keys that no envelope can be sealed with. They never open, and it says so.
func TestKeysOfOtherLengths(t *testing.T) { synctest.Test(t, testKeysOfOtherLengths) }

func testKeysOfOtherLengths(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(e.release)
	client := w.client(e)
	for _, size := range []int32{1, 16, 31, 33, 47, 48, 64} {
		blob := w.wrapped(e, arn, size)
		w.next()
		key, err := client.Decrypt(t.Context(), arn, study(), blob)
		if !errors.Is(err, kms.ErrCiphertext) || errors.Is(err, kms.ErrAnswer) || key.Len() != 0 || w.calls() != 1 {
			t.Errorf("%d bytes: %v after %d calls", size, err, w.calls())
		}
	}
}

// TestBadAnswers holds what a KMS that works never answers. None is retried.
func TestBadAnswers(t *testing.T) { synctest.Test(t, testBadAnswers) }

func testBadAnswers(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(e.release)
	client := w.client(e)
	_, wrapped, err := client.GenerateDataKey(t.Context(), arn, study())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		fault kmssim.Fault
		cause error
	}{
		"plaintext": {kmssim.PlaintextLeak, kms.ErrAnswer}, "another key": {kmssim.WrongKeyID, kms.ErrAnswer},
		"another recipient": {kmssim.WrongRecipient, cms.ErrMalformed}, "cut": {kmssim.Truncated, kms.ErrAnswer},
	} {
		w.next(c.fault)
		key, err := client.Decrypt(t.Context(), arn, study(), wrapped)
		if !errors.Is(err, kms.ErrAnswer) || !errors.Is(err, c.cause) || key.Len() != 0 || w.calls() != 1 {
			t.Errorf("Decrypt, %s: %v after %d calls", name, err, w.calls())
		}
		w.next(c.fault)
		key, blob, err := client.GenerateDataKey(t.Context(), arn, study())
		if !errors.Is(err, kms.ErrAnswer) || key.Len() != 0 || blob != nil || w.calls() != 1 {
			t.Errorf("GenerateDataKey, %s: %v after %d calls", name, err, w.calls())
		}
	}
}

// TestForgedAnswersOpen shows why TLS must end in the enclave: an answer whose
// key somebody else chose can't be told from KMS's. What it wraps differs, so
// that nothing opens later.
func TestForgedAnswersOpen(t *testing.T) { synctest.Test(t, testForgedAnswersOpen) }

func testForgedAnswersOpen(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(e.release)
	client := w.client(e)
	w.next(kmssim.Forged)
	forged, wrapped, err := client.GenerateDataKey(t.Context(), arn, study())
	if err != nil || !forged.Equal(secret.New(bytes.Repeat([]byte{0x46}, 32))) {
		t.Fatalf("not the forger's key: %v", err)
	}
	if real, err := client.Decrypt(t.Context(), arn, study(), wrapped); err != nil || real.Equal(forged) {
		t.Errorf("the wrapped key is the forger's too: %v", err)
	}
}

// TestPlaintextIsWiped looks at the bytes of an answer that holds a key in clear.
func TestPlaintextIsWiped(t *testing.T) { synctest.Test(t, testPlaintextIsWiped) }

func testPlaintextIsWiped(t *testing.T) {
	w := newWorld(t)
	client := w.client(w.boot("", "bundle"))
	for name, keyID := range map[string]string{"from the key": "arn", "from another": "other"} {
		leaked := bytes.Repeat([]byte{7}, 32)
		err := kms.Opened(client, "arn", keyID, leaked, nil)
		if !errors.Is(err, kms.ErrAnswer) || !bytes.Equal(leaked, make([]byte, 32)) {
			t.Errorf("%s: %x, %v", name, leaked, err)
		}
	}
}

func TestRecipientKey(t *testing.T) { synctest.Test(t, testRecipientKey) }

func testRecipientKey(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	var mu sync.Mutex
	var seen [][]byte
	watch := func(c *kms.Config) {
		c.Attest = func(_ context.Context, public []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, public)
			return nil, context.Canceled
		}
		c.HTTP = &http.Client{Transport: &http.Transport{}}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if _, err := w.client(e, watch).Decrypt(ctx, "arn", nil, []byte{1}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if len(seen) != 2 || bytes.Equal(seen[0], seen[1]) {
		t.Fatal("two clients have one recipient key")
	}
	public, err := x509.ParsePKIXPublicKey(seen[0])
	if key, ok := public.(*rsa.PublicKey); err != nil || !ok || key.N.BitLen() != 2048 {
		t.Errorf("not an RSA-2048 key: %T, %v", public, err)
	}
}

func TestConfigRefused(t *testing.T) { synctest.Test(t, testConfigRefused) }

func testConfigRefused(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	proxy := func(*http.Request) (*url.URL, error) { return nil, nil }
	for name, change := range map[string]func(*kms.Config){
		"no region":         func(c *kms.Config) { c.Region = "" },
		"no HTTP":           func(c *kms.Config) { c.HTTP = nil },
		"no credentials":    func(c *kms.Config) { c.Credentials = nil },
		"no device":         func(c *kms.Config) { c.Attest = nil },
		"no clock":          func(c *kms.Config) { c.Now = nil },
		"http":              func(c *kms.Config) { c.Endpoint = "http://127.0.0.1:1" },
		"Go's transport":    func(c *kms.Config) { c.HTTP = http.DefaultClient },
		"a proxy":           func(c *kms.Config) { c.HTTP = &http.Client{Transport: &http.Transport{Proxy: proxy}} },
		"no real transport": func(c *kms.Config) { c.HTTP = &http.Client{Transport: (*http.Transport)(nil)} },
	} {
		c := w.config(e)
		change(&c)
		if _, err := kms.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestManyAtATime(t *testing.T) { synctest.Test(t, testManyAtATime) }

func testManyAtATime(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(e.release)
	client := w.client(e)
	key, wrapped, err := client.GenerateDataKey(t.Context(), arn, study())
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if again, err := client.Decrypt(t.Context(), arn, study(), wrapped); err != nil || !again.Equal(key) {
				t.Error(err)
			}
		})
	}
	group.Wait()
}
