package kmssim_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/sim/kmssim"
)

func TestFaults(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(open())
	healthy, code := w.generate(host, arn, nil, nil)
	if code != "" {
		t.Fatal(code)
	}
	generate := func(f kmssim.Fault) *kms.GenerateDataKeyOutput {
		t.Helper()
		w.breakWith(f)
		out, code := w.generate(host, arn, nil, e.recipient())
		if code != "" {
			t.Fatalf("fault %d: %q", f, code)
		}
		return out
	}
	forged := bytes.Repeat([]byte{0x46}, 32)
	if got := openMessage(t, generate(kmssim.Forged).CiphertextForRecipient); !bytes.Equal(got, forged) {
		t.Error("Forged: the message doesn't hold the forger's key")
	}
	if out := generate(kmssim.WrongKeyID); aws.ToString(out.KeyId) == arn || !strings.HasPrefix(aws.ToString(out.KeyId), "arn:aws:kms:") {
		t.Errorf("WrongKeyID: %s", aws.ToString(out.KeyId))
	}
	if out := generate(kmssim.PlaintextLeak); len(out.Plaintext) != 32 || !bytes.Equal(out.Plaintext, openMessage(t, out.CiphertextForRecipient)) {
		t.Error("PlaintextLeak: no plaintext beside the message")
	}
	rid, _, _, _ := takeMessage(t, generate(kmssim.WrongRecipient).CiphertextForRecipient)
	if own := sha256.Sum256(spki(t, &recipientKey().PublicKey)); bytes.Equal(rid, own[:]) {
		t.Error("WrongRecipient: the message names the attested key")
	}
	swapped := generate(kmssim.SwappedBlob)
	w.breakWith(kmssim.Healthy)
	if out, code := w.decrypt(host, arn, nil, swapped.CiphertextBlob, nil); code != "" || bytes.Equal(out.Plaintext, openMessage(t, swapped.CiphertextForRecipient)) {
		t.Errorf("SwappedBlob: the blob wraps the key that was answered: %q", code)
	}
	for f, want := range map[kmssim.Fault]struct {
		status int
		code   string
	}{kmssim.Throttle: {http.StatusBadRequest, "ThrottlingException"}, kmssim.Unavailable: {http.StatusInternalServerError, "KMSInternalException"}} {
		w.breakWith(f)
		_, err := w.as(host).Decrypt(t.Context(), &kms.DecryptInput{KeyId: &arn, CiphertextBlob: healthy.CiphertextBlob})
		response, ok := errors.AsType[*awshttp.ResponseError](err)
		if code := codeOf(t, err); !ok || code != want.code || response.HTTPStatusCode() != want.status {
			t.Errorf("fault %d: %v", f, err)
		}
	}
	w.breakWith(kmssim.Truncated)
	_, err := w.as(host).Decrypt(t.Context(), &kms.DecryptInput{KeyId: &arn, CiphertextBlob: healthy.CiphertextBlob})
	if _, ok := errors.AsType[*smithy.DeserializationError](err); !ok {
		t.Errorf("Truncated: %v", err)
	}
}

// TestErrorBodies compares with bodies that were seen of AWS KMS.
func TestErrorBodies(t *testing.T) {
	w := newWorld(t)
	arn := w.create(keypolicy.Owner(owner))
	_, err := w.as(host).GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &arn, KeySpec: "AES_256"})
	want := "User: " + host + " is not authorized to perform: kms:GenerateDataKey on resource: " + arn +
		" because no resource-based policy allows the kms:GenerateDataKey action"
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorMessage() != want {
		t.Errorf("%v", err)
	}
	state := w.create(statePolicy(t, w.boot("", "bundle").release))
	_, err = w.as(host).GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &state, KeySpec: "AES_256"})
	if api, ok := errors.AsType[smithy.APIError](err); !ok || !strings.HasSuffix(api.ErrorMessage(), "with an explicit deny in a resource-based policy") {
		t.Errorf("%v", err)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(datasetPolicy(t, e.release))
	if got := w.lastEvent(); got.EventName != "CreateKey" || got.ReadOnly || got.UserIdentity.ARN != owner || got.Resources[0].ARN != arn {
		t.Errorf("CreateKey: %+v", got)
	}
	made, _ := w.generate(producer, arn, recordContext(), nil)
	if got := w.lastEvent(); got.EventName != "GenerateDataKey" || got.AdditionalEventData != nil || got.ErrorCode != "" || got.RequestParameters.EncryptionContext["dataset"] != "colon" {
		t.Errorf("GenerateDataKey: %+v", got)
	}
	if _, code := w.decrypt(host, arn, recordContext(), made.CiphertextBlob, e.recipient()); code != "" {
		t.Fatal(code)
	}
	got := w.lastEvent()
	if got.EventName != "Decrypt" || got.AWSRegion != region || got.UserIdentity.AccountID != account || got.RequestParameters.KeyID != arn || !got.ReadOnly {
		t.Errorf("Decrypt: %+v", got)
	}
	pcr0, err := base64.StdEncoding.DecodeString(got.AdditionalEventData.Recipient["attestationDocumentEnclaveImageDigest"])
	if err != nil || hex.EncodeToString(pcr0) != e.release.PCR0 {
		t.Errorf("the event names another image: %x, %v", pcr0, err)
	}
	if id := got.AdditionalEventData.Recipient["attestationDocumentModuleId"]; !strings.HasPrefix(id, "i-") {
		t.Errorf("module id %q", id)
	}
	// A refused call is recorded with who, what and why, also when it had no
	// document or a bad one.
	w.decrypt(host, arn, recordContext(), made.CiphertextBlob, nil)
	if got := w.lastEvent(); got.ErrorCode != denied || got.UserIdentity.ARN != host || got.AdditionalEventData != nil || got.RequestParameters.KeyID != arn {
		t.Errorf("denied: %+v", got)
	}
	w.decrypt(host, arn, recordContext(), made.CiphertextBlob, newWorld(t).boot("", "bundle").recipient())
	if got := w.lastEvent(); got.ErrorCode != "ValidationException" || got.RequestParameters == nil || got.RequestParameters.KeyID != arn || got.AdditionalEventData != nil {
		t.Errorf("foreign document: %+v", got)
	}
	w.send(call{id: "AKIAUNKNOWN", secret: "x", service: "kms", region: region, body: "{}", at: w.time()})
	if got := w.lastEvent(); got.ErrorCode != "UnrecognizedClientException" || got.UserIdentity != nil {
		t.Errorf("unknown caller: %+v", got)
	}
}

// TestEventsHoldNoKey looks for the data keys that were made.
func TestEventsHoldNoKey(t *testing.T) {
	w := newWorld(t)
	arn := w.create(open())
	for range 3 {
		made, _ := w.generate(producer, arn, nil, nil)
		for _, form := range []string{base64.StdEncoding.EncodeToString(made.Plaintext), hex.EncodeToString(made.Plaintext), string(made.Plaintext)} {
			if strings.Contains(w.allEvents(), form) {
				t.Error("an event holds a data key")
			}
		}
	}
}

// full is a writer that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestNoRecordNoAnswer(t *testing.T) {
	w := newWorld(t)
	arn := w.create(open())
	w.config.StateFile, w.config.Events = "", full{}
	w.start()
	if _, code := w.generate(host, arn, nil, nil); code != "KMSInternalException" {
		t.Errorf("an unrecorded call answers %q", code)
	}
}
