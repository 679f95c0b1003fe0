package attack_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/cloisterhq/cloister/sim/kmssim"
)

// message is a request's or an answer's JSON object.
type message map[string]any

// attack changes a request on its way to KMS and the answer on its way back;
// either may be nil.
type attack struct {
	operation string
	request   func(message)
	answer    func(message)
	// forge is what the KMS simulator itself does wrong.
	forge kmssim.Fault
}

// evil stands between the enclave and KMS, with a certificate that the enclave
// believes and with the host's credentials, with which it signs what it changed.
type evil struct {
	t      *testing.T
	honest http.Handler
	server *httptest.Server

	mu     sync.Mutex
	attack attack
	seen   int // requests
	struck int // attacks
}

func newEvil(t *testing.T, honest http.Handler) *evil {
	t.Helper()
	e := &evil{t: t, honest: honest}
	e.server = httptest.NewUnstartedServer(e)
	e.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	e.server.StartTLS()
	t.Cleanup(e.server.Close)
	return e
}

// strike begins an attack; the zero attack ends it. It answers how often the one
// before struck.
func (e *evil) strike(a attack) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.struck
	e.attack, e.struck = a, 0
	return n
}

// fault is the simulator's for an operation under attack.
func (e *evil) fault(operation string) kmssim.Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	if operation != e.attack.operation {
		return kmssim.Healthy
	}
	return e.attack.forge
}

func (e *evil) requests() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen
}

func (e *evil) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	e.mu.Lock()
	a := e.attack
	e.seen++
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+a.operation) {
		e.struck++
	} else {
		a = attack{}
	}
	e.mu.Unlock()
	forwarded := r.Clone(r.Context())
	if a.request != nil {
		body = change(body, a.request)
		e.sign(forwarded, body)
	}
	forwarded.Body = io.NopCloser(bytes.NewReader(body))
	forwarded.ContentLength = int64(len(body))
	answer := httptest.NewRecorder()
	e.honest.ServeHTTP(answer, forwarded)
	out := answer.Body.Bytes()
	if a.answer != nil {
		out = change(out, a.answer)
	}
	w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
	w.Header().Set("X-Amzn-Requestid", answer.Header().Get("X-Amzn-Requestid"))
	w.WriteHeader(answer.Code)
	_, _ = w.Write(out)
}

// change edits a JSON object.
func change(body []byte, edit func(message)) []byte {
	m := message{}
	if json.Unmarshal(body, &m) != nil {
		return body
	}
	edit(m)
	out, err := json.Marshal(m)
	if err != nil {
		return body
	}
	return out
}

// sign signs a changed request with the host's credentials.
func (e *evil) sign(r *http.Request, body []byte) {
	r.Header.Del("Authorization")
	r.Header.Del("X-Amz-Date")
	r.URL.Host, r.URL.Scheme = r.Host, "https"
	r.ContentLength = int64(len(body))
	sum := sha256.Sum256(body)
	err := v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: "HOST", SecretAccessKey: "s"}, r, hex.EncodeToString(sum[:]), "kms", region, time.Now())
	if err != nil {
		e.t.Error(err)
	}
}
