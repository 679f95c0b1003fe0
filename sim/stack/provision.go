package stack

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/deployment"
	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/sim/issuer"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

const (
	region  = "eu-central-1"
	account = "111122223333"
	// tokenLife is how long the token that Up writes is good.
	tokenLife = 12 * time.Hour
	// demoProducer is who submits when cloister.yaml names nobody.
	demoProducer = "demo"
	// demoSubject is who asks queries in simulation.
	demoSubject = "analyst@simulation"
)

// provision makes what a deployment needs before its processes start: roots,
// keys, bundle, key policies, the clients' policy and context.
func provision(ctx context.Context, l Layout, f *facts, out io.Writer) error {
	config, err := deployment.Read(f.Config)
	if err != nil {
		return err
	}
	if config.Profile != bundle.Simulation {
		return errors.New("cloister.yaml: profile is production; cloister-sim runs profile: simulation only")
	}
	if f.Deployment != "" && f.Deployment != config.Deployment {
		return fmt.Errorf("the state directory belongs to deployment %s; give another --state for %s", f.Deployment, config.Deployment)
	}
	f.Deployment = config.Deployment
	root, err := l.root(f.Deployment)
	if err != nil {
		return err
	}
	var raw []byte
	err = l.withKMS(f, func(api *awskms.Client) error {
		b, err := l.build(ctx, api, f, config)
		if err != nil {
			return err
		}
		if raw, err = b.Encode(); err != nil {
			return err
		}
		release, err := l.measured(ctx, f, raw)
		if err != nil {
			return err
		}
		if err := l.writePolicy(root, release); err != nil {
			return err
		}
		return putPolicies(ctx, api, f, b, release)
	})
	if err != nil {
		return err
	}
	if err := write(l.Bundle(), raw); err != nil {
		return err
	}
	pcr := bundle.PCR16(raw)
	fmt.Fprintf(out, "  bundle    %d bytes, PCR16 %s\n", len(raw), hex.EncodeToString(pcr[:8])+"…")
	return l.writeContext(f)
}

// root loads the deployment's simulated Nitro root, or makes one.
func (l Layout) root(name string) (*nsmsim.Root, error) {
	path := l.sim("nsm-root.pem")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		root, err := nsmsim.NewRoot(time.Now(), name)
		if err != nil {
			return nil, err
		}
		key, err := root.MarshalKey()
		if err != nil {
			return nil, err
		}
		return root, write(path, key)
	}
	if err != nil {
		return nil, fmt.Errorf("stack: %w", err)
	}
	return nsmsim.LoadRoot(b)
}

// build fills in what cloister.yaml leaves out and answers the bundle.
func (l Layout) build(ctx context.Context, api *awskms.Client, f *facts, config *deployment.Config) (*bundle.Bundle, error) {
	_, kmsCA, err := l.certificate(KMS)
	if err != nil {
		return nil, err
	}
	_, issuerCA, err := l.certificate(Issuer)
	if err != nil {
		return nil, err
	}
	if f.StateKey, err = createKey(ctx, api, f.StateKey, "state"); err != nil {
		return nil, err
	}
	for _, name := range config.DatasetNames() {
		if f.Keys[name], err = createKey(ctx, api, f.Keys[name], "dataset "+name); err != nil {
			return nil, err
		}
	}
	producer, err := l.producerKey()
	if err != nil {
		return nil, err
	}
	return config.Bundle(deployment.Facts{
		KMS:       bundle.KMS{Region: region, Endpoint: "https://" + f.KMS, CA: kmsCA, StateKeyARN: f.StateKey},
		Keys:      f.Keys,
		Producers: []bundle.Producer{{Name: demoProducer, Key: producer.Public().(ed25519.PublicKey), Datasets: config.DatasetNames()}},
		Issuers:   []bundle.Issuer{{URL: "https://" + f.Issuer, Audience: f.Deployment, RolesClaim: "groups", TLSRoots: issuerCA, RequireMFA: true}},
		Egress:    []string{f.KMS, f.Issuer},
		Freshness: "none",
	})
}

// measured answers the release that the image and this bundle make: the image
// file of tier two, this executable in tier one.
func (l Layout) measured(ctx context.Context, f *facts, raw []byte) (keypolicy.Release, error) {
	image, err := Image("")
	if f.Machine != nil {
		image, err = l.adopt(ctx, f)
	}
	if err != nil {
		return keypolicy.Release{}, err
	}
	r := keypolicy.Release{
		PCR0: image.PCR0.String(), PCR1: image.PCR1.String(), PCR2: image.PCR2.String(), PCR16: attestation.PCR(bundle.PCR16(raw)).String(),
	}
	if !image.PCR8.IsZero() {
		r.PCR8 = image.PCR8.String()
	}
	return r, nil
}

// Image measures the enclave of tier one: this executable, and a label that
// makes another image when it isn't empty.
func Image(label string) (nsmsim.Image, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nsmsim.Image{}, fmt.Errorf("stack: %w", err)
	}
	defer f.Close()
	return nsmsim.Measure(f, label)
}

// writePolicy writes the clients' trust root and appraisal policy.
func (l Layout) writePolicy(root *nsmsim.Root, r keypolicy.Release) error {
	if err := write(l.file("root.pem"), root.PEM()); err != nil {
		return err
	}
	pcrs := map[string]string{"0": r.PCR0, "1": r.PCR1, "2": r.PCR2, "16": r.PCR16}
	if r.PCR8 != "" {
		pcrs["8"] = r.PCR8
	}
	file := policy.File{
		Version: 1, Environment: "simulation", Kind: "nitro-enclave", Roots: []string{root.Fingerprint()}, Bundle: "required", MaxAge: "5m",
		Releases: []policy.FileRelease{{Name: "simulation", PCRs: pcrs}},
	}
	b, err := file.Marshal()
	if err != nil {
		return err
	}
	return write(l.file("policy.json"), b)
}

// writeContext writes everything that clients read.
func (l Layout) writeContext(f *facts) error {
	_, kmsCA, err := l.certificate(KMS)
	if err != nil {
		return err
	}
	if err := write(l.file("kms-ca.pem"), kmsCA); err != nil {
		return err
	}
	if err := l.writeToken(f); err != nil {
		return err
	}
	old, _ := client.Load(l.Context())
	c := &client.Config{
		Version: 1, Deployment: f.Deployment, Gateway: f.Gateway, Attested: f.Attested,
		TrustRoot: "root.pem", Policy: "policy.json", TokenFile: "token", Bundle: "bundle.cbor", Spool: "spool",
		Producer: client.Producer{Name: demoProducer, KeyFile: "producer.key"},
		KMS:      client.KMS{Endpoint: "https://" + f.KMS, CA: "kms-ca.pem", CredentialsFile: "producer-credentials.json"},
	}
	if old != nil && old.Deployment == f.Deployment {
		c.Genesis = old.Genesis
	}
	return c.Save(l.Context())
}

// writeToken mints a fresh analyst's token.
func (l Layout) writeToken(f *facts) error {
	i, err := l.issuer(f)
	if err != nil {
		return err
	}
	token, err := i.Mint(issuer.Claims{Subject: demoSubject, Roles: []string{"analyst"}, Audience: f.Deployment, Life: tokenLife})
	if err != nil {
		return err
	}
	return write(l.file("token"), []byte(token+"\n"))
}

// issuer opens the deployment's OpenID issuer.
func (l Layout) issuer(f *facts) (*issuer.Issuer, error) {
	key, err := l.keep("issuer-key.pem", issuer.NewKey)
	if err != nil {
		return nil, err
	}
	return issuer.New(issuer.Config{URL: "https://" + f.Issuer, Audience: f.Deployment, Key: key, Now: time.Now})
}

// producerKey loads the demo producer's signing key, or makes one.
func (l Layout) producerKey() (ed25519.PrivateKey, error) {
	path := l.file("producer.key")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("stack: %w", err)
		}
		private, _, err := client.EncodeSigningKey(key)
		if err != nil {
			return nil, fmt.Errorf("stack: %w", err)
		}
		return key, write(path, private)
	}
	return client.LoadSigningKey(path)
}

// keep loads a file of the simulators, or makes it.
func (l Layout) keep(name string, fresh func() ([]byte, error)) ([]byte, error) {
	b, err := os.ReadFile(l.sim(name))
	if errors.Is(err, fs.ErrNotExist) {
		if b, err = fresh(); err == nil {
			err = write(l.sim(name), b)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stack: %s: %w", name, err)
	}
	return b, nil
}

// pin keeps the genesis id of the first start in the context, so that clients
// notice another state from then on.
func pin(ctx context.Context, l Layout) error {
	config, err := client.Load(l.Context())
	if err != nil || config.Genesis != "" {
		return err
	}
	c, err := client.New(config)
	if err != nil {
		return err
	}
	peer, err := c.Verify(ctx)
	if err != nil {
		return fmt.Errorf("stack: the new enclave doesn't verify: %w", err)
	}
	config.Genesis = hex.EncodeToString(peer.Genesis)
	return config.Save(l.Context())
}

// withKMS serves KMS in this process for as long as f runs and gives it the
// data owner's client.
func (l Layout) withKMS(f *facts, use func(*awskms.Client) error) error {
	handler, closeLog, err := l.kmsHandler()
	if err != nil {
		return err
	}
	defer closeLog()
	cert, ca, err := l.certificate(KMS)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.KMS)
	if err != nil {
		return fmt.Errorf("stack: KMS: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	defer server.Close()
	who, err := l.principals()
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return use(awskms.New(awskms.Options{
		Region: region, BaseEndpoint: aws.String("https://" + f.KMS),
		Credentials: credentials.NewStaticCredentialsProvider(who[owner].ID, who[owner].Secret, ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}},
	}))
}

// createKey makes a KMS key that only its owner can administer, unless the
// deployment has one.
func createKey(ctx context.Context, api *awskms.Client, arn, description string) (string, error) {
	if arn != "" {
		return arn, nil
	}
	p, err := keypolicy.Owner(roleARN(owner)).MarshalJSON()
	if err != nil {
		return "", err
	}
	out, err := api.CreateKey(ctx, &awskms.CreateKeyInput{Description: aws.String("Cloister simulation, " + description), Policy: aws.String(string(p))})
	if err != nil {
		return "", fmt.Errorf("stack: create the key for %s: %w", description, err)
	}
	return aws.ToString(out.KeyMetadata.Arn), nil
}

// putPolicies gives every key the policy for this release.
func putPolicies(ctx context.Context, api *awskms.Client, f *facts, b *bundle.Bundle, r keypolicy.Release) error {
	releases := []keypolicy.Release{r}
	statePolicy, err := keypolicy.State(releases, roleARN(host), roleARN(owner), b.Deployment)
	if err != nil {
		return err
	}
	if err := putPolicy(ctx, api, f.StateKey, statePolicy); err != nil {
		return err
	}
	for _, d := range b.Datasets {
		var producers []keypolicy.Producer
		for _, p := range b.Producers {
			if p.May(d.Contract.Dataset) {
				producers = append(producers, keypolicy.Producer{Name: p.Name, Role: roleARN(producer)})
			}
		}
		doc, err := keypolicy.Dataset(releases, roleARN(host), producers, roleARN(owner), b.Deployment, d.Contract.Dataset)
		if err != nil {
			return err
		}
		if err := putPolicy(ctx, api, d.KeyARN, doc); err != nil {
			return err
		}
	}
	return nil
}

func putPolicy(ctx context.Context, api *awskms.Client, arn string, doc json.Marshaler) error {
	b, err := doc.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = api.PutKeyPolicy(ctx, &awskms.PutKeyPolicyInput{KeyId: aws.String(arn), Policy: aws.String(string(b)), PolicyName: aws.String("default")})
	if err != nil {
		return fmt.Errorf("stack: key policy: %w", err)
	}
	return nil
}

// Token writes a fresh analyst's token for an existing deployment.
func Token(l Layout) error {
	f, err := l.loadFacts()
	if err != nil {
		return err
	}
	if f.Deployment == "" {
		return fmt.Errorf("%s holds no deployment; start one with `cloister-sim up`", l.dir)
	}
	return l.writeToken(f)
}
