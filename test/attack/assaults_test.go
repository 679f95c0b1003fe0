package attack_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/sim/kmssim"
)

// assault is an attack on one KMS operation and how it must end.
type assault struct {
	attack
	// class is the error of enclave/kms; when it is nil, reason is the refusal.
	class  error
	reason string
}

// onAnswers are attacks on any attested call: what goes to KMS and what comes
// back, by somebody who ends TLS and has the host's credentials.
func (w *world) onAnswers() map[string]assault {
	foreign, _ := w.boot("another image", time.Now)
	twin, _ := w.boot("", time.Now)
	old, _ := w.boot("", func() time.Time { return time.Now().Add(-10 * time.Minute) })
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(w.t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	must(w.t, err)
	document := func(raw []byte, err error) func(message) {
		must(w.t, err)
		return func(in message) { in["Recipient"].(map[string]any)["AttestationDocument"] = raw }
	}
	attested := func(m *nsm.Client) func(message) {
		return document(m.Attest(w.t.Context(), nsm.Request{PublicKey: public}))
	}
	return map[string]assault{
		"Recipient is left out":       {attack{request: func(m message) { delete(m, "Recipient") }}, kms.ErrDenied, ""},
		"a stale document":            {attack{request: attested(old)}, kms.ErrRefused, ""},
		"another image's document":    {attack{request: attested(foreign)}, kms.ErrDenied, ""},
		"a twin enclave's document":   {attack{request: attested(twin)}, kms.ErrAnswer, ""},
		"no document at all":          {attack{request: document([]byte("no document"), nil)}, kms.ErrRefused, ""},
		"Plaintext beside the answer": {attack{answer: func(m message) { m["Plaintext"] = bytes.Repeat([]byte{1}, 32) }}, kms.ErrAnswer, ""},
		"Plaintext for the answer": {attack{answer: func(m message) {
			delete(m, "CiphertextForRecipient")
			m["Plaintext"] = bytes.Repeat([]byte{1}, 32)
		}}, kms.ErrAnswer, ""},
		"another key's ARN":     {attack{answer: func(m message) { m["KeyId"] = w.keys[visits] }}, kms.ErrAnswer, ""},
		"an alias for the ARN":  {attack{answer: func(m message) { m["KeyId"] = strings.Split(w.keys[""], "key/")[0] + "alias/state" }}, kms.ErrAnswer, ""},
		"no key's ARN":          {attack{answer: func(m message) { delete(m, "KeyId") }}, kms.ErrAnswer, ""},
		"an empty answer":       {attack{answer: func(m message) { clear(m) }}, kms.ErrAnswer, ""},
		"a message to nobody":   {attack{answer: func(m message) { m["CiphertextForRecipient"] = []byte("no message") }}, kms.ErrAnswer, ""},
		"a message to another":  {attack{forge: kmssim.WrongRecipient}, kms.ErrAnswer, ""},
		"an answer that is cut": {attack{forge: kmssim.Truncated}, kms.ErrAnswer, ""},
	}
}
