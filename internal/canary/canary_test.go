package canary_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/canary"
	"github.com/cloisterhq/cloister/internal/contract"
)

const (
	stateKey   = "arn:aws:kms:eu-central-1:111122223333:key/state"
	datasetKey = "arn:aws:kms:eu-central-1:111122223333:key/colon"
)

func study() *bundle.Bundle {
	return &bundle.Bundle{
		Deployment: "study", KMS: bundle.KMS{StateKeyARN: stateKey},
		Datasets:  []bundle.Dataset{{KeyARN: datasetKey, KeyEpoch: 3, Contract: contract.Contract{Dataset: "colon"}}},
		Producers: []bundle.Producer{{Name: "clinic", Datasets: []string{"colon"}}, {Name: "gone", Datasets: []string{"colon"}, Retired: true}},
	}
}

// call is one request that a scripted KMS saw.
type call struct {
	Operation string
	DryRun    bool
	Recipient json.RawMessage
	KeyID     string `json:"KeyId"`
	Context   map[string]string
}

// script answers every call with a code, or with success when it is empty.
func script(t *testing.T, answer func(call) string) (*kms.Client, func() []call) {
	t.Helper()
	var mu sync.Mutex
	var seen []call
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			call
			EncryptionContext, SourceEncryptionContext map[string]string
			SourceKeyID                                string `json:"SourceKeyId"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		c := in.call
		c.Operation = strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
		if c.Context = in.EncryptionContext; c.Operation == "ReEncrypt" {
			c.KeyID, c.Context = in.SourceKeyID, in.SourceEncryptionContext
		}
		mu.Lock()
		seen = append(seen, c)
		mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if code := answer(c); code != "" {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"__type": code})
			return
		}
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(server.Close)
	api := kms.New(kms.Options{Region: "eu-central-1", BaseEndpoint: aws.String(server.URL), Retryer: aws.NopRetryer{}, Credentials: credentials.NewStaticCredentialsProvider("a", "s", "")})
	return api, func() []call { mu.Lock(); defer mu.Unlock(); return seen }
}

// TestVerdicts pins what each answer of KMS means. Only a denial is good news.
func TestVerdicts(t *testing.T) {
	for code, want := range map[string]canary.Verdict{
		"": canary.Open, "DryRunOperationException": canary.Open, "InvalidCiphertextException": canary.Open, "IncorrectKeyException": canary.Open,
		"AccessDeniedException": canary.Closed, "InvalidKeyUsageException": canary.Closed, "UnsupportedOperationException": canary.Closed,
		"NotFoundException": canary.Unknown, "ThrottlingException": canary.Unknown, "UnrecognizedClientException": canary.Unknown, "DisabledException": canary.Unknown,
	} {
		api, _ := script(t, func(call) string { return code })
		results, err := canary.Run(t.Context(), study(), []canary.Caller{{Name: "parent", API: api}})
		if err != nil || len(results) == 0 {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Verdict != want || r.Code != code {
				t.Errorf("%q: %+v", code, r)
			}
		}
	}
}

// TestTries pins what is tried: every operation on every key as a dry run,
// never with a document, and a producer's own data keys not at all.
func TestTries(t *testing.T) {
	for producer, own := range map[string]bool{"": true, "clinic": false} {
		api, seen := script(t, func(call) string { return "AccessDeniedException" })
		if _, err := canary.Run(t.Context(), study(), []canary.Caller{{Name: "x", Producer: producer, API: api}}); err != nil {
			t.Fatal(err)
		}
		made := map[string]bool{}
		for _, c := range seen() {
			if !c.DryRun || c.Recipient != nil {
				t.Errorf("%s: dry run %t, document %s", c.Operation, c.DryRun, c.Recipient)
			}
			made[c.Operation+" "+c.KeyID] = true
			if c.Operation == "GenerateDataKey" && c.Context["producer"] == "clinic" {
				made["own"] = true
			}
		}
		for _, op := range []string{"Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyPair", "DeriveSharedSecret", "CreateGrant", "Encrypt"} {
			for _, key := range []string{stateKey, datasetKey} {
				if !made[op+" "+key] {
					t.Errorf("as %q: %s on %s isn't tried", producer, op, key)
				}
			}
		}
		if made["own"] != own {
			t.Errorf("as %q: the producer's own data key is tried: %t", producer, made["own"])
		}
	}
}

// TestNoAnswer pins that a silent KMS proves nothing, and an ended context is an
// error.
func TestNoAnswer(t *testing.T) {
	api := kms.New(kms.Options{Region: "eu-central-1", BaseEndpoint: aws.String("http://127.0.0.1:1"), Retryer: aws.NopRetryer{}, Credentials: credentials.NewStaticCredentialsProvider("a", "s", "")})
	results, err := canary.Run(t.Context(), study(), []canary.Caller{{Name: "parent", API: api}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Verdict != canary.Unknown {
			t.Errorf("%+v", r)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := canary.Run(ctx, study(), []canary.Caller{{Name: "parent", API: api}}); err == nil {
		t.Error("a context that ended gives a verdict")
	}
}
