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
	// extra are condition keys of this operation alone.
	extra map[string][]string
}

// operation answers a request's body with the members of the answer; nil is an
// empty one.
type operation func(s *Server, c *call, body []byte) (map[string]any, *failure)

// operations answers how to serve each operation.
func operations() map[string]operation {
	return map[string]operation{
		"CreateKey": (*Server).createKey, "DescribeKey": (*Server).describeKey, "ListKeys": (*Server).listKeys,
		"GetKeyPolicy": (*Server).getKeyPolicy, "PutKeyPolicy": (*Server).putKeyPolicy,
		"EnableKey": (*Server).enableKey, "DisableKey": (*Server).disableKey,
		"ScheduleKeyDeletion": (*Server).scheduleKeyDeletion, "CancelKeyDeletion": (*Server).cancelKeyDeletion,
		"CreateAlias": (*Server).createAlias, "UpdateAlias": (*Server).updateAlias, "DeleteAlias": (*Server).deleteAlias, "ListAliases": (*Server).listAliases,
		"EnableKeyRotation": (*Server).enableKeyRotation, "DisableKeyRotation": (*Server).disableKeyRotation,
		"GetKeyRotationStatus": (*Server).getKeyRotationStatus, "RotateKeyOnDemand": (*Server).rotateKeyOnDemand,
		"CreateGrant": (*Server).createGrant,
		"Encrypt":     (*Server).encrypt, "Decrypt": (*Server).decrypt, "ReEncrypt": (*Server).reEncrypt,
		"GenerateDataKey": (*Server).generateDataKey, "GenerateDataKeyWithoutPlaintext": (*Server).generateDataKeyWithoutPlaintext,
		"GenerateDataKeyPair": (*Server).generateDataKeyPair, "GenerateDataKeyPairWithoutPlaintext": (*Server).generateDataKeyPairWithoutPlaintext,
		"GenerateRandom": (*Server).generateRandom, "GetPublicKey": (*Server).getPublicKey, "DeriveSharedSecret": (*Server).deriveSharedSecret,
		"Sign": (*Server).sign,
	}
}

// serve handles one call: it reads, authenticates, runs, records and answers.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{id: newID(), at: s.config.Now(), operation: "Unknown"}
	answer, f := s.handle(c, r)
	switch c.fault {
	case Slow:
		select {
		case <-time.After(s.config.Delay):
		case <-r.Context().Done():
		}
	case Drop:
		_ = s.record(c, f) // nobody is told whether it was written
		panic(http.ErrAbortHandler)
	}
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
	run := operations()[name]
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

// authorise finds the key that keyID names and asks its policy for the
// operation of the call. An unknown key answers NotFoundException.
func (s *Server) authorise(c *call, keyID string) *failure {
	return s.authoriseAs(c, keyID, c.operation)
}

// authoriseAs is authorise for an action that isn't named like its operation.
func (s *Server) authoriseAs(c *call, keyID, action string) *failure {
	var f *failure
	c.keyID = keyID
	if c.key, f = s.keys.find(keyID, c.at); f != nil {
		return f
	}
	q := question{principal: c.principal.ARN, action: "kms:" + action, resource: c.key.arn, attributes: s.attributes(c)}
	switch evaluate(c.key.policy, q) {
	case allowed:
		return nil
	case explicitDeny:
		return refuse(accessDenied, "User: %s is not authorized to perform: %s on resource: %s with an explicit deny in a resource-based policy", q.principal, q.action, q.resource)
	default:
		return refuse(accessDenied, "User: %s is not authorized to perform: %s on resource: %s because no resource-based policy allows the %s action", q.principal, q.action, q.resource, q.action)
	}
}

// attributes are the condition keys of a call on its key.
func (s *Server) attributes(c *call) attributes {
	a := attributes{}
	a.set("aws:PrincipalArn", roleOf(c.principal.ARN))
	a.set("aws:PrincipalAccount", accountOf(c.principal.ARN))
	a.set("aws:SecureTransport", "true")
	a.set("aws:ViaAWSService", "false")
	a.set("aws:RequestedRegion", s.config.Region)
	a.set("kms:CallerAccount", accountOf(c.principal.ARN))
	a.set("kms:KeySpec", c.key.spec)
	a.set("kms:KeyUsage", c.key.usage)
	a.set("kms:KeyOrigin", "AWS_KMS")
	a.set("kms:MultiRegion", "false")
	if i := strings.Index(c.keyID, "alias/"); i >= 0 {
		a.set("kms:RequestAlias", c.keyID[i:])
	}
	a["kms:resourcealiases"] = s.keys.aliasesOf(c.key.id)
	for name, v := range c.context {
		a.set("kms:EncryptionContext:"+name, v)
		a["kms:encryptioncontextkeys"] = append(a["kms:encryptioncontextkeys"], name)
	}
	for name, v := range c.extra {
		a[strings.ToLower(name)] = v
	}
	c.recipient.attributes(a)
	return a
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
