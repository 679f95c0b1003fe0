package standalone_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"github.com/cloisterhq/cloister/sim/kmssim/standalone"
)

const account = "111122223333"

// served is a KMS that runs.
type served struct {
	said map[string]string
	stop func()
}

// serve starts a KMS and reads what it says until it is ready.
func serve(t *testing.T, o standalone.Options) *served {
	t.Helper()
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	o.Listen, o.Region, o.Account, o.Out = "127.0.0.1:0", "eu-central-1", account, in
	ended := make(chan error, 1)
	go func() { ended <- standalone.Serve(ctx, o); in.Close() }()
	s := &served{said: map[string]string{}}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		name, value, _ := strings.Cut(lines.Text(), " ")
		s.said[name] = value
	}
	if lines.Text() != "ready" {
		t.Fatalf("never ready: %v", <-ended)
	}
	done := false
	s.stop = func() {
		cancel()
		if !done {
			done = true
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(s.stop)
	return s
}

func (s *served) client(t *testing.T) *kms.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: x509.NewCertPool()}}
	t.Cleanup(transport.CloseIdleConnections)
	if file := s.said["ca"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil || !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			t.Fatal(err)
		}
	}
	return kms.New(kms.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(s.said["endpoint"]), Retryer: aws.NopRetryer{}, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(standalone.ExampleID, standalone.ExampleSecret, ""),
	})
}

// TestServe pins that state and certificate survive a restart and that calls
// are logged.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	o := standalone.Options{State: filepath.Join(dir, "kms.json"), Events: filepath.Join(dir, "events.ndjson")}
	s := serve(t, o)
	made, err := s.client(t).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client(t).CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/kept"), TargetKeyId: made.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(s.said["ca"])
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	again := serve(t, o)
	if now, err := os.ReadFile(again.said["ca"]); err != nil || string(now) != string(ca) {
		t.Errorf("another certificate after the restart: %v", err)
	}
	if again.said["root"] != s.said["root"] || s.said["root"] == "" {
		t.Errorf("another root: %v", again.said)
	}
	found, err := again.client(t).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/kept")})
	if err != nil || aws.ToString(found.KeyMetadata.Arn) != aws.ToString(made.KeyMetadata.Arn) {
		t.Errorf("the key after the restart: %v", err)
	}
	events, err := os.ReadFile(o.Events)
	if err != nil || strings.Count(string(events), "\n") != 3 || !strings.Contains(string(events), `"eventName":"DescribeKey"`) {
		t.Errorf("events: %v %s", err, events)
	}
}

func TestPlainHTTPAndFaults(t *testing.T) {
	s := serve(t, standalone.Options{PlainHTTP: true, Faults: "GenerateRandom=throttle/2"})
	if !strings.HasPrefix(s.said["endpoint"], "http://") || s.said["ca"] != "" {
		t.Errorf("%v", s.said)
	}
	in := &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(8)}
	if _, err := s.client(t).GenerateRandom(t.Context(), in); err != nil {
		t.Error(err)
	}
	_, err := s.client(t).GenerateRandom(t.Context(), in)
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "ThrottlingException" {
		t.Errorf("the second call: %v", err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const secret = "hippocampus"
	for name, o := range map[string]standalone.Options{
		"faults":            {Faults: "Decrypt=burn"},
		"no such root":      {Roots: []string{filepath.Join(dir, "none")}},
		"not a root":        {Roots: []string{write("root", "x")}},
		"not principals":    {Principals: write("principals", secret)},
		"empty principals":  {Principals: write("empty", "[]")},
		"principal twice":   {Principals: write("twice", `[{"access_key_id":"a","secret_access_key":"`+secret+`","arn":"x"},{"access_key_id":"a"}]`)},
		"without ARN":       {Principals: write("arn", `[{"access_key_id":"a","secret_access_key":"`+secret+`"}]`)},
		"state is a folder": {State: dir},
	} {
		o.Listen, o.Region, o.Account, o.Out = "127.0.0.1:0", "eu-central-1", account, io.Discard
		if err := standalone.Serve(t.Context(), o); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPython runs boto3, the SDK of another language, unmodified. It is skipped
// where there is no boto3.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || exec.CommandContext(t.Context(), python, "-c", "import boto3").Run() != nil {
		t.Skip("needs python3 with boto3")
	}
	s := serve(t, standalone.Options{State: filepath.Join(t.TempDir(), "kms.json")})
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "boto3_test.py"))
	cmd.Env = append(os.Environ(), "KMS_ENDPOINT="+s.said["endpoint"], "KMS_CA="+s.said["ca"], "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID="+standalone.ExampleID, "AWS_SECRET_ACCESS_KEY="+standalone.ExampleSecret, "AWS_DEFAULT_REGION=eu-central-1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
