package kmssim

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxBody is the largest request, in bytes: a document of the largest size
	// in base64, and the rest.
	maxBody = 512 << 10
	// maxContext is the largest encryption context, in bytes of its texts (AWS
	// KMS developer guide, encryption context: 8192 bytes).
	maxContext  = 8192
	contentType = "application/x-amz-json-1.1"
)

// call is one request as far as it is known; the event is made from it.
type call struct {
	id, operation string
	at            time.Time
	principal     Principal
	fault         Fault
	// keyID is the key that the request names, and key the one that was found.
	keyID     string
	key       key
	context   map[string]string
	recipient *recipient
}

// operation answers a request's body with the members of the answer; nil is an
// empty one.
type operation func(s *Server, c *call, body []byte) (map[string]any, *failure)

// lookup answers how to serve an operation.
func lookup(name string) operation {
	switch name {
	case "CreateKey":
		return (*Server).createKey
	case "DescribeKey":
		return (*Server).describeKey
	case "GetKeyPolicy":
		return (*Server).getKeyPolicy
	case "PutKeyPolicy":
		return (*Server).putKeyPolicy
	case "Encrypt":
		return (*Server).encrypt
	case "Decrypt":
		return (*Server).decrypt
	case "GenerateDataKey":
		return (*Server).generateDataKey
	default:
		return nil
	}
}

// serve handles one call: it reads, authenticates, runs, records and answers.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{id: newID(), at: s.config.Now(), operation: "Unknown"}
	answer, f := s.handle(c, r)
	if s.record(c, f) != nil {
		answer, f = nil, internal() // no record, no answer
	}
	body, status := []byte{}, http.StatusOK
	switch {
	case f != nil:
		body, status = f.body(), f.status
	case answer != nil:
		b, err := json.Marshal(answer)
		if err != nil {
			body, status = internal().body(), internal().status
			break
		}
		body = b
	}
	if c.fault == Truncated {
		body = body[:len(body)/2]
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-Requestid", c.id)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that left gets nothing
}

// handle runs the operation that a request asks for.
func (s *Server) handle(c *call, r *http.Request) (map[string]any, *failure) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	run := lookup(name)
	if r.Method != http.MethodPost || r.URL.Path != "/" || r.URL.RawQuery != "" || !ok || run == nil || r.Header.Get("Content-Type") != contentType {
		return nil, refuse("UnknownOperationException", "")
	}
	c.operation = name
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, refuse("RequestEntityTooLargeException", "")
	}
	if err != nil {
		return nil, refuse("SerializationException", "")
	}
	var f *failure
	if c.principal, f = s.authenticate(r, body); f != nil {
		return nil, f
	}
	switch c.fault = s.config.Faults(name); c.fault {
	case Throttle:
		return nil, refuse("ThrottlingException", "Rate exceeded")
	case Unavailable:
		return nil, internal()
	}
	return run(s, c, body)
}

// read decodes a request's body. KMS ignores members that it doesn't know.
func read(body []byte, into any) *failure {
	if json.Unmarshal(body, into) != nil {
		return refuse("SerializationException", "")
	}
	return nil
}

// authorise finds the key that keyID names and asks its policy. An unknown key
// answers NotFoundException.
func (s *Server) authorise(c *call, keyID string) *failure {
	var f *failure
	c.keyID = keyID
	if c.key, f = s.keys.find(keyID); f != nil {
		return f
	}
	q := question{principal: c.principal.ARN, action: "kms:" + c.operation, resource: c.key.arn, attributes: map[string]string{
		"aws:principalarn": roleOf(c.principal.ARN), "kms:calleraccount": accountOf(c.principal.ARN),
	}}
	for name, v := range c.context {
		q.attributes["kms:encryptioncontext:"+strings.ToLower(name)] = v
	}
	c.recipient.attributes(q.attributes)
	switch evaluate(c.key.policy, q) {
	case allowed:
		return nil
	case explicitDeny:
		return refuse(accessDenied, "User: %s is not authorized to perform: %s on resource: %s with an explicit deny in a resource-based policy", q.principal, q.action, q.resource)
	default:
		return refuse(accessDenied, "User: %s is not authorized to perform: %s on resource: %s because no resource-based policy allows the %s action", q.principal, q.action, q.resource, q.action)
	}
}

// inContext takes the encryption context of a request. Names that differ only
// in case would be one condition key with two values.
func (c *call) inContext(context map[string]string) *failure {
	seen, size := map[string]bool{}, 0
	for name, v := range context {
		size += len(name) + len(v)
		if name == "" || seen[strings.ToLower(name)] {
			return invalid("EncryptionContext has an empty name, or two that differ only in case")
		}
		seen[strings.ToLower(name)] = true
	}
	if size > maxContext {
		return invalid("EncryptionContext is larger than %d bytes", maxContext)
	}
	c.context = context
	return nil
}
