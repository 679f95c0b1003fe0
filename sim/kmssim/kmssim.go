// Package kmssim is a KMS for simulation: an HTTP handler that speaks AWS KMS's
// JSON 1.1 protocol to unmodified SDK clients. It trusts the attestation roots
// and the access keys that its configuration names, and nothing in a request:
// it verifies the SigV4 signature, verifies the attestation document with the
// production verifier, and evaluates the key policy for real.
//
// It differs from AWS KMS in these ways: an account principal in a policy stands
// for everybody in the account, as if identity policies allowed all that they
// could, and so does the default policy; there are no identity policies and no
// grants; asymmetric keys are for key agreement and signing only, and there is no
// Verify; a policy with an operator or a variable that isn't evaluated is
// refused, and so is an encryption context whose names differ only in case.
package kmssim

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/attestation/verifier"
)

// Config says what a Server serves.
type Config struct {
	// Region and Account stand in every key's ARN. Required.
	Region, Account string
	// StateFile keeps keys and policies, mode 0600. Empty keeps them in memory.
	StateFile string
	// Roots are the roots of attestation documents that are believed. Required.
	Roots verifier.Roots
	// Principals are the callers, by access key id.
	Principals map[string]Principal
	// Now is the time; nil is the machine's clock.
	Now func() time.Time
	// Events receives one JSON line for each call; nil discards them. A call
	// whose event can't be written fails.
	Events io.Writer
	// Faults answers what goes wrong with a call; nil and Healthy are nothing. A
	// call takes as long as it does.
	Faults func(operation string) Fault
	// Delay is how long a Slow call takes; 0 is DefaultDelay.
	Delay time.Duration
}

// DefaultDelay is how long a Slow call takes when nothing else is said.
const DefaultDelay = 5 * time.Second

// Principal is a caller.
type Principal struct {
	// Secret is the secret access key.
	Secret string
	// ARN names the role, role session or user.
	ARN string
	// Token is the session token that goes with temporary credentials, or empty.
	Token string
}

// Server is the simulated KMS. It is safe for concurrent use.
type Server struct {
	config Config
	keys   *keys
	events struct {
		sync.Mutex
		io.Writer
	}
	// last is the last blob of GenerateDataKey by key id, for StaleBlob.
	last sync.Map
}

var (
	regionForm    = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	accountForm   = regexp.MustCompile(`^[0-9]{12}$`)
	principalForm = regexp.MustCompile(`^arn:aws:(iam|sts)::[0-9]{12}:(role|user|assumed-role)/.+$`)
)

// New opens the keys in the state file, or starts without any. It fails when
// the configuration lacks something required, and when the state file can't be
// read, is damaged, belongs to another region or account, or may be read by
// others than its owner.
func New(c Config) (*Server, error) {
	if !regionForm.MatchString(c.Region) || !accountForm.MatchString(c.Account) {
		return nil, errors.New("kmssim: no region or account")
	}
	if len(c.Roots.Fingerprints()) == 0 {
		return nil, errors.New("kmssim: no attestation root")
	}
	for id, p := range c.Principals {
		if id == "" || p.Secret == "" || !principalForm.MatchString(p.ARN) {
			return nil, fmt.Errorf("kmssim: principal %q lacks a secret or an ARN", id)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Events == nil {
		c.Events = io.Discard
	}
	if c.Faults == nil {
		c.Faults = func(string) Fault { return Healthy }
	}
	if c.Delay == 0 {
		c.Delay = DefaultDelay
	}
	keys, err := open(c.StateFile, c.Region, c.Account)
	if err != nil {
		return nil, fmt.Errorf("kmssim: %w", err)
	}
	s := &Server{config: c, keys: keys}
	s.events.Writer = c.Events
	return s, nil
}

// Handler answers the HTTP side: POST / with the operation in X-Amz-Target.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// accountOf answers the account in an ARN, or an account id itself.
func accountOf(arn string) string {
	if accountForm.MatchString(arn) {
		return arn
	}
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}
