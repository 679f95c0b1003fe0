package conformance_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/test/conformance"
)

// The one caller of the simulated KMS, who may do anything with its key.
const (
	region  = "eu-central-1"
	account = "111122223333"
	owner   = "arn:aws:iam::111122223333:role/owner"
	keyID   = "AKIAOWNER"
	secret  = "secret of the owner"
)

// service is a simulated KMS that believes one root, and whose clock stands.
type service struct {
	client *kms.Client
	key    string
	now    time.Time
}

// SignHTTP signs with the service's time.
func (s *service) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, _ time.Time, o ...func(*v4.SignerOptions)) error {
	return v4.NewSigner().SignHTTP(ctx, c, r, hash, service, region, s.now, o...)
}

func newService(t *testing.T, root string, now time.Time) *service {
	t.Helper()
	roots, err := verifier.NewRoots(read(t, root))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{now: now}
	server, err := kmssim.New(kmssim.Config{
		Region: region, Account: account, Roots: roots, Now: func() time.Time { return s.now },
		Principals: map[string]kmssim.Principal{keyID: {Secret: secret, ARN: owner}},
	})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewTLSServer(server.Handler())
	t.Cleanup(listener.Close)
	s.client = kms.New(kms.Options{
		Region: region, BaseEndpoint: aws.String(listener.URL), HTTPClient: listener.Client(), Retryer: aws.NopRetryer{},
		DisableClockSkewCorrection: true, HTTPSignerV4: s,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, nil
		}),
	})
	policy := `{"Version":"2012-10-17","Statement":[{"Sid":"owner","Effect":"Allow","Principal":{"AWS":"` + owner + `"},"Action":"kms:*","Resource":"*"}]}`
	out, err := s.client.CreateKey(t.Context(), &kms.CreateKeyInput{Policy: aws.String(policy)})
	if err != nil {
		t.Fatal(err)
	}
	s.key = aws.ToString(out.KeyMetadata.Arn)
	return s
}

// TestKMS demands that the simulated KMS hands a key to every recipient with a
// good document, and to no other, for no other reason than the document.
func TestKMS(t *testing.T) {
	services := make(map[string]*service)
	for _, v := range load(t).Vectors {
		if !slices.Contains(v.EntryPoints, conformance.KMS) {
			continue
		}
		s := services[v.Root]
		if s == nil {
			s = newService(t, v.Root, *v.At)
			services[v.Root] = s
		}
		s.now = *v.At
		out, err := s.client.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{
			KeyId: aws.String(s.key), KeySpec: types.DataKeySpecAes256,
			Recipient: &types.RecipientInfo{AttestationDocument: read(t, v.Document), KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256},
		})
		switch {
		case v.Accept && err != nil:
			t.Errorf("%s: %v", v.Name, err)
		case v.Accept && (len(out.CiphertextForRecipient) == 0 || len(out.Plaintext) != 0):
			t.Errorf("%s: no key for the recipient, or one for everybody", v.Name)
		case !v.Accept && !refusesDocument(err):
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

// refusesDocument says whether KMS refused the document for what it is.
func refusesDocument(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != "ValidationException" {
		return false
	}
	message := api.ErrorMessage()
	return strings.Contains(message, "is not valid") || strings.Contains(message, "stale") || strings.HasPrefix(message, "AttestationDocument must have")
}
