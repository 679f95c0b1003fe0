// Package nitro_test tries what is there for a Nitro parent instance: the
// scripts of deploy/nitro beside a nitro-cli and an instance metadata service
// that are stand-ins, and, with the build tag nitro and on such an instance, a
// running enclave.
package nitro_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/image"
	"github.com/cloisterhq/cloister/parent/host"
)

var deploy = filepath.Join("..", "..", "deploy", "nitro")

// nitroCLI stands for AWS's: it measures as cloister does, writes down what it
// is asked, and has an enclave until it is terminated or the file GONE is there.
const nitroCLI = `#!/bin/sh
echo "$@" >>LOG
case "$1" in
describe-eif) cat MEASURED ;;
run-enclave) echo '{
  "EnclaveName": "cloister",
  "EnclaveID": "i-0123-enc4567",
  "EnclaveCID": 16
}' ;;
describe-enclaves) if [ -e GONE ]; then echo '[]'; else echo '[{"EnclaveID": "i-0123-enc4567", "State": "RUNNING"}]'; fi ;;
terminate-enclave) : >GONE; echo '{"Terminated": true}' ;;
esac
`

// parent is a machine with the script's tools.
type parent struct {
	t    *testing.T
	dir  string
	pcrs map[string]string
	env  map[string]string
}

func newParent(t *testing.T) *parent {
	t.Helper()
	p := &parent{t: t, dir: t.TempDir()}
	kernel := make([]byte, 2*512+32*16)
	kernel[0x1f1] = 1
	binary.LittleEndian.PutUint32(kernel[0x1f4:], 32)
	copy(kernel[0x202:], "HdrS")
	disks, err := image.Ramdisks(bytes.Repeat([]byte("init"), 1<<18))
	if err != nil {
		t.Fatal(err)
	}
	parts := image.Parts{Kernel: kernel, Release: "6", Ramdisks: disks, Date: time.Unix(0, 0)}
	result, err := parts.Write(t.Context(), p.path("unsigned.eif"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := image.Development(p.path("signer"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if result, err = parts.WriteSigned(t.Context(), p.path("cloister.eif"), result, signer); err != nil {
		t.Fatal(err)
	}
	p.pcrs = result.PCRs
	p.write("reference-values.json", map[string]any{"schema": "cloister.reference-values/v1", "pcrs": p.pcrs})
	p.measured(p.pcrs)
	fake := strings.NewReplacer("LOG", p.path("log"), "MEASURED", p.path("measured.json"), "GONE", p.path("gone")).Replace(nitroCLI)
	if err := os.MkdirAll(p.path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.path("bin/nitro-cli"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", p.path("bin/cloister"), "../../cmd/cloister")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.env = map[string]string{
		"PATH": p.path("bin") + string(os.PathListSeparator) + os.Getenv("PATH"), "EIF": p.path("cloister.eif"),
		"REFERENCE": p.path("reference-values.json"), "MEMORY_MIB": "64", "CPUS": "2", "ENCLAVE_CID": "16", "EVERY": "0.05",
	}
	return p
}

func (p *parent) path(name string) string { return filepath.Join(p.dir, name) }

func (p *parent) write(name string, content any) {
	p.t.Helper()
	b, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path(name), b, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// measured is what nitro-cli describe-eif answers.
func (p *parent) measured(pcrs map[string]string) {
	names := map[string]string{"HashAlgorithm": "Sha384 { ... }"}
	for i, v := range pcrs {
		names["PCR"+i] = v
	}
	p.write("measured.json", map[string]any{"EifVersion": 4, "Measurements": names})
}

// command prepares the script.
func (p *parent) command() (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(p.t.Context(), filepath.Join(deploy, "run-enclave.sh"))
	for name, value := range p.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	return cmd, &said
}

// asked is what nitro-cli was asked.
func (p *parent) asked() string {
	b, err := os.ReadFile(p.path("log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Fatal(err)
	}
	return string(b)
}

func TestEnclaveIsStartedAndEnded(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*parent, *exec.Cmd) error
		code int
	}{
		"at SIGTERM":   {func(_ *parent, cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) }, 0},
		"when it dies": {func(p *parent, _ *exec.Cmd) error { return os.WriteFile(p.path("gone"), nil, 0o600) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParent(t)
			cmd, said := p.command()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); strings.Count(p.asked(), "describe-enclaves") < 2; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					_ = cmd.Process.Kill()
					_ = cmd.Wait()
					t.Fatalf("it doesn't look after the enclave: %s", said)
				}
			}
			if err := c.end(p, cmd); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the exit code tells
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, not %d: %s", got, c.code, said)
			}
			want := fmt.Sprintf("run-enclave --eif-path %s --memory 64 --cpu-count 2 --enclave-cid 16\n", p.path("cloister.eif"))
			if !strings.Contains(p.asked(), want) || strings.Contains(p.asked(), "debug") {
				t.Errorf("nitro-cli was asked\n%s", p.asked())
			}
			if strings.Contains(p.asked(), "terminate-enclave --enclave-id i-0123-enc4567") != (c.code == 0) {
				t.Errorf("nitro-cli was asked\n%s", p.asked())
			}
		})
	}
}

func TestEnclaveIsRefused(t *testing.T) {
	other := strings.Repeat("0f", 48)
	with := func(p *parent, i, value string) map[string]string {
		all := map[string]string{}
		for k, v := range p.pcrs {
			all[k] = v
		}
		all[i] = value
		return all
	}
	p := newParent(t)
	for _, c := range []struct {
		name, want string
		change     func()
	}{
		{"too little memory", "four times the image are", func() { p.env["MEMORY_MIB"] = "4" }},
		{"no number", "MEMORY_MIB isn't a number", func() { p.env["MEMORY_MIB"] = "4;reboot" }},
		{"nothing set", "CPUS isn't set", func() { p.env["CPUS"] = "" }},
		{"no image", "can't be read", func() { p.env["EIF"] = p.path("none") }},
		{"another PCR0", "PCR0 of", func() { p.write("reference-values.json", map[string]any{"pcrs": with(p, "0", other)}) }},
		{"another PCR2", "PCR2 of", func() { p.write("reference-values.json", map[string]any{"pcrs": with(p, "2", other)}) }},
		{"another signer", "PCR8 of", func() { p.write("reference-values.json", map[string]any{"pcrs": with(p, "8", other)}) }},
		{"no PCR1", "has no PCR1", func() { p.write("reference-values.json", map[string]any{"pcrs": with(p, "1", "")}) }},
		{"nitro-cli measures otherwise", "nitro-cli measures another PCR1", func() { p.measured(with(p, "1", other)) }},
		{"nitro-cli says nothing of PCR0", "nitro-cli measures another PCR0", func() { p.measured(with(p, "0", "")) }},
		{"a bad image", "is refused", func() { p.write("cloister.eif", "not an image") }},
	} {
		env := map[string]string{}
		for k, v := range p.env {
			env[k] = v
		}
		image, err := os.ReadFile(p.path("cloister.eif"))
		if err != nil {
			t.Fatal(err)
		}
		c.change()
		cmd, said := p.command()
		_ = cmd.Run() // the exit code tells
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(said.String(), c.want) {
			t.Errorf("%s: %s\n%s", c.name, cmd.ProcessState, said)
		}
		p.env = env
		p.write("reference-values.json", map[string]any{"pcrs": p.pcrs})
		p.measured(p.pcrs)
		if err := os.WriteFile(p.path("cloister.eif"), image, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(p.asked(), "run-enclave") {
		t.Errorf("an enclave was started:\n%s", p.asked())
	}
}

// TestCredentials reads the instance's credentials and writes them as the parent
// reads them.
func TestCredentials(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	var answer atomic.Value
	answer.Store(`{
  "Code" : "Success",
  "Type" : "AWS-HMAC",
  "AccessKeyId" : "ASIAEXAMPLE",
  "SecretAccessKey" : "secret/with+signs=",
  "Token" : "session==",
  "Expiration" : "2030-01-02T03:04:05Z"
}`)
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a token") })
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/{role...}", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "a token":
			http.Error(w, "", http.StatusUnauthorized)
		case r.PathValue("role") == "":
			fmt.Fprint(w, "enclave-host")
		case r.PathValue("role") == "enclave-host":
			fmt.Fprint(w, answer.Load())
		default:
			http.NotFound(w, r)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "credentials.json")
	run := func() error {
		cmd := exec.CommandContext(t.Context(), filepath.Join(deploy, "credentials.sh"), file)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "METADATA=" + server.URL}
		return cmd.Run()
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got host.Credentials // the form of the parent's file
	dec := json.NewDecoder(bytes.NewReader(before))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.AccessKeyID != "ASIAEXAMPLE" || got.SecretAccessKey != "secret/with+signs=" || got.SessionToken != "session==" || got.Expires == nil || got.Expires.Year() != 2030 {
		t.Errorf("the parent reads key %s, which ends %v", got.AccessKeyID, got.Expires)
	}
	answer.Store(`{"Code": "Failed"}`)
	if err := run(); err == nil {
		t.Error("an answer without credentials is taken")
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file changed by an answer without credentials: %v", err)
	}
}
