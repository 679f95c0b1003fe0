package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/parent/objects"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// Examined is what the enclave remembers, opened by an enclave of the test's own
// whose image and bundle are the deployment's.
type Examined struct {
	State *state.State
	Log   *audit.Log
}

// Examine opens state and audit log, and checks every link of both chains. KMS
// must run; parent and enclave must not.
func (f *Fleet) Examine() *Examined {
	f.t.Helper()
	e, err := f.examine(f.t.Context())
	if err != nil {
		f.t.Fatalf("the state isn't whole: %v", err)
	}
	return e
}

func (f *Fleet) examine(ctx context.Context) (*Examined, error) {
	raw, err := os.ReadFile(f.layout.Bundle())
	if err != nil {
		return nil, err
	}
	device, err := f.device()
	if err != nil {
		return nil, err
	}
	f.t.Cleanup(func() { device.Close() })
	module := nsm.NewClient(device)
	b, err := boot.Measure(ctx, module, raw)
	if err != nil {
		return nil, err
	}
	keys, err := f.stateKeys(b, module)
	if err != nil {
		return nil, err
	}
	dir, err := objects.Open(f.layout.ParentDir())
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	e := &Examined{}
	if e.State, err = state.Open(ctx, state.Config{Objects: shelf{dir}, Keys: keys, Deployment: b.Deployment, Now: time.Now}); err != nil {
		return nil, err
	}
	if e.Log, err = audit.Open(ctx, audit.Config{Objects: shelf{dir}, Sealer: e.State, Now: time.Now}); err != nil {
		return nil, err
	}
	return e, e.Log.Walk(ctx, func(audit.Record) error { return nil })
}

// device is a module that measures what the deployment's enclave is made of.
func (f *Fleet) device() (*nsmsim.Device, error) {
	pem, err := os.ReadFile(filepath.Join(f.layout.Dir(), "sim", "nsm-root.pem"))
	if err != nil {
		return nil, err
	}
	root, err := nsmsim.LoadRoot(pem)
	if err != nil {
		return nil, err
	}
	executable, err := os.Open(filepath.Join(f.bin, "cloister-sim"))
	if err != nil {
		return nil, err
	}
	defer executable.Close()
	image, err := nsmsim.Measure(executable, "")
	if err != nil {
		return nil, err
	}
	return nsmsim.New(nsmsim.Config{Root: root, Image: image, Now: time.Now})
}

// stateKeys asks the deployment's KMS as its enclave does.
func (f *Fleet) stateKeys(b *bundle.Bundle, module *nsm.Client) (*stateKeys, error) {
	file, err := os.ReadFile(filepath.Join(f.layout.Dir(), "parent-credentials.json"))
	if err != nil {
		return nil, err
	}
	var who struct {
		ID     string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
	}
	if err := json.Unmarshal(file, &who); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b.KMS.CA) {
		return nil, errors.New("no root for KMS")
	}
	client, err := kms.New(kms.Config{
		Region: b.KMS.Region, Endpoint: b.KMS.Endpoint, Now: time.Now,
		HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}},
		Credentials: func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: who.ID, SecretAccessKey: who.Secret}, nil
		},
		Attest: func(ctx context.Context, publicKey []byte) ([]byte, error) {
			return module.Attest(ctx, nsm.Request{PublicKey: publicKey})
		},
	})
	if err != nil {
		return nil, err
	}
	return &stateKeys{client, b.KMS.StateKeyARN, map[string]string{"deployment": b.Deployment, "purpose": "state"}}, nil
}

type stateKeys struct {
	kms     *kms.Client
	arn     string
	context map[string]string
}

// Generate fails: nothing is begun here.
func (k *stateKeys) Generate(context.Context) (secret.Bytes, []byte, error) {
	return secret.Bytes{}, nil, errors.New("fleet: there is no state to examine")
}

// Decrypt unwraps the state's data key.
func (k *stateKeys) Decrypt(ctx context.Context, blob []byte) (secret.Bytes, error) {
	return k.kms.Decrypt(ctx, k.arn, k.context, blob)
}

// shelf reads the parent's objects, and writes none.
type shelf struct{ dir *objects.Dir }

// PutIfAbsent fails.
func (shelf) PutIfAbsent(context.Context, string, []byte) error {
	return errors.New("fleet: nothing is written here")
}

// Get answers an object or state.ErrNotFound.
func (s shelf) Get(ctx context.Context, name string) ([]byte, error) {
	content, err := s.dir.Get(ctx, name)
	if errors.Is(err, objects.ErrNotFound) {
		return nil, state.ErrNotFound
	}
	return content, err
}

// List answers names.
func (s shelf) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return s.dir.List(ctx, prefix, after, limit)
}
