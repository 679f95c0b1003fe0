package kmssim

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// event is a call as CloudTrail records it (AWS KMS developer guide, logging
// with CloudTrail). It holds names and measurements, never key material.
type event struct {
	Version      string      `json:"eventVersion"`
	Time         string      `json:"eventTime"`
	Source       string      `json:"eventSource"`
	Name         string      `json:"eventName"`
	Region       string      `json:"awsRegion"`
	Identity     *identity   `json:"userIdentity,omitempty"`
	Parameters   *parameters `json:"requestParameters"`
	Additional   *additional `json:"additionalEventData,omitempty"`
	ErrorCode    string      `json:"errorCode,omitempty"`
	ErrorMessage string      `json:"errorMessage,omitempty"`
	ReadOnly     bool        `json:"readOnly"`
	Resources    []resource  `json:"resources,omitempty"`
	RequestID    string      `json:"requestID"`
	EventID      string      `json:"eventID"`
	EventType    string      `json:"eventType"`
	Category     string      `json:"eventCategory"`
}

type identity struct {
	ARN       string `json:"arn"`
	AccountID string `json:"accountId"`
}

type parameters struct {
	KeyID   string            `json:"keyId,omitempty"`
	Context map[string]string `json:"encryptionContext,omitempty"`
}

type additional struct {
	// Recipient is the document: module id, and registers in base64 as
	// CloudTrail has them.
	Recipient map[string]string `json:"recipient"`
}

type resource struct {
	AccountID string `json:"accountId"`
	Type      string `json:"type"`
	ARN       string `json:"ARN"`
}

// record writes the event of a call that ended with f, or well when f is nil.
func (s *Server) record(c *call, f *failure) error {
	e := event{
		Version: "1.11", Time: c.at.UTC().Format(time.RFC3339), Source: "kms.amazonaws.com", Name: c.operation, Region: s.config.Region,
		RequestID: c.id, EventID: newID(), EventType: "AwsApiCall", Category: "Management",
		ReadOnly: !slices.Contains(writes(), c.operation),
	}
	if c.principal.ARN != "" {
		e.Identity = &identity{c.principal.ARN, accountOf(c.principal.ARN)}
	}
	if c.keyID != "" || c.context != nil {
		e.Parameters = &parameters{c.keyID, c.context}
	}
	if c.key.arn != "" {
		e.Resources = []resource{{s.config.Account, "AWS::KMS::Key", c.key.arn}}
	}
	if c.recipient != nil {
		e.Additional = &additional{c.recipient.record()}
	}
	if f != nil {
		e.ErrorCode, e.ErrorMessage = f.code, f.message
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("kmssim: event: %w", err)
	}
	s.events.Lock()
	defer s.events.Unlock()
	if _, err := s.events.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("kmssim: event: %w", err)
	}
	return nil
}

// writes are the operations that CloudTrail doesn't call read-only.
func writes() []string {
	return []string{
		"CreateKey", "PutKeyPolicy", "EnableKey", "DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion", "CreateAlias", "UpdateAlias", "DeleteAlias",
		"EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand", "CreateGrant",
	}
}

// record is what CloudTrail says of a document. Beyond the real one it has
// register 16, the bundle.
func (r *recipient) record() map[string]string {
	out := map[string]string{"attestationDocumentModuleId": r.document.ModuleID()}
	for _, i := range []int{0, 1, 2, 3, 4, 8, 16} {
		pcr, ok := r.document.PCR(i)
		if !ok {
			continue
		}
		name := "attestationDocumentEnclavePCR" + strconv.Itoa(i)
		if i == 0 {
			name = "attestationDocumentEnclaveImageDigest"
		}
		out[name] = base64.StdEncoding.EncodeToString(pcr[:])
	}
	return out
}

// newID is a fresh id of a request or an event.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails (since Go 1.24)
	return uuid(b)
}
