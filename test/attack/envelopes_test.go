package attack_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
)

// draft is an envelope before it is sealed.
type draft struct {
	header envelope.Header
	dek    secret.Bytes
	// shift makes the records others than those that belong to the header.
	shift int64
}

// write asks the honest KMS for a data key as the clinic and drafts an envelope.
func (w *world) write(dataset, stream string, sequence uint64) draft {
	w.t.Helper()
	arn := w.keys[dataset]
	out, err := w.api("CLINIC").GenerateDataKey(w.t.Context(), &awskms.GenerateDataKeyInput{
		KeyId: &arn, KeySpec: types.DataKeySpecAes256, EncryptionContext: envelope.KMSContext(deployment, dataset, "clinic", 1),
	})
	must(w.t, err)
	return draft{dek: secret.New(out.Plaintext), header: envelope.Header{
		Version: envelope.Version, Deployment: deployment, Dataset: dataset, Contract: "1.0.0", Producer: "clinic", Stream: stream, Sequence: sequence, Codec: columns.Codec,
		Wrap: envelope.Wrap{Kind: envelope.WrapKMS, Key: arn, Epoch: 1, Blob: out.CiphertextBlob}, Salt: sha256.Sum256([]byte(dataset + stream)),
	}}
}

// seal seals three records that no other draft has.
func (w *world) seal(d draft) []byte {
	w.t.Helper()
	var records []columns.Record
	id := int64(sha256.Sum256([]byte(d.header.Dataset + d.header.Stream))[0]) * 1000
	for i := range int64(3) {
		records = append(records, columns.Record{columns.Int("id", id+d.shift+int64(d.header.Sequence)*10+i), columns.Int("x", i)})
	}
	content, err := columns.Encode(records)
	must(w.t, err)
	raw, _, err := envelope.Seal(d.header, d.dek, len(records), content, w.signer)
	must(w.t, err)
	return raw
}

// refused demands a refusal for a reason.
func refused(t *testing.T, what string, err error, reason string) {
	t.Helper()
	var r *ingest.Refusal
	if !errors.As(err, &r) || r.Reason != reason {
		t.Errorf("%s: %v; want a refusal: %s", what, err, reason)
	}
}

// splice puts other bytes in the place of some, as a parent does that edits what
// it carries.
func splice(t *testing.T, raw, old, fresh []byte) []byte {
	t.Helper()
	if len(old) != len(fresh) || bytes.Count(raw, old) != 1 {
		t.Fatal("nothing to splice")
	}
	return bytes.Replace(raw, old, fresh, 1)
}
