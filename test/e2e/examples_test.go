package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// elsewhere are examples that need what a running deployment doesn't have, and
// the reason. Tests beside those commands run them.
var elsewhere = map[string]string{
	"aws ":                        "needs an AWS account",
	"cloister eif ":               "needs enclave images",
	"cloister kms ":               "needs key policies",
	"cloister policy init ":       "needs a document on disk",
	"cloister verify --document ": "needs a document on disk",
	"cloister receipts --stream ": "needs a submission of that name",
}

// refusing are examples whose exit code is 1 by purpose.
var refusing = []string{"contract lint contracts/flchain.yaml --strict"}

// untilStopped marks examples that end with Ctrl-C.
const untilStopped = "# until Ctrl-C"

// TestExamples runs every example of every command's help on a deployment.
func TestExamples(t *testing.T) {
	all := examples(t)
	d := up(t, filepath.Join("..", "data"))
	d.run(0, "cloister", "submit", "--dataset", "flchain", filepath.Join("..", "data", "flchain.csv"))
	dir := stage(t, d)
	skipped := map[string]bool{}
	for _, example := range all {
		if prefix := startOf(example); prefix != "" {
			skipped[prefix] = true
			continue
		}
		t.Run(example, func(t *testing.T) { try(t, d, dir, example) })
	}
	for prefix := range elsewhere {
		if !skipped[prefix] {
			t.Errorf("no example begins with %q any more", prefix)
		}
	}
}

func startOf(example string) string {
	for prefix := range elsewhere {
		if strings.HasPrefix(example, prefix) {
			return prefix
		}
	}
	return ""
}

// examples reads the help of all commands.
func examples(t *testing.T) (all []string) {
	t.Helper()
	commands := [][]string{nil}
	for len(commands) > 0 {
		command := commands[0]
		commands = commands[1:]
		out, err := exec.Command(filepath.Join(bin, "cloister"), append(command, "--help")...).Output()
		if err != nil {
			t.Fatalf("%v --help: %v", command, err)
		}
		for _, line := range section(string(out), "Available Commands:") {
			if name := strings.Fields(line)[0]; name != "help" && name != "completion" {
				commands = append(commands, append(command[:len(command):len(command)], name))
			}
		}
		whole := ""
		for _, line := range section(string(out), "Examples:") {
			whole += strings.TrimSpace(line)
			if strings.HasSuffix(whole, `\`) {
				whole = strings.TrimSuffix(whole, `\`)
				continue
			}
			all = append(all, whole)
			whole = ""
		}
	}
	if len(all) < 20 {
		t.Fatalf("%d examples", len(all))
	}
	return all
}

// section answers the lines of help under a title.
func section(help, title string) (lines []string) {
	_, rest, _ := strings.Cut(help, "\n"+title+"\n")
	for line := range strings.Lines(rest) {
		if strings.TrimSpace(line) == "" {
			break
		}
		lines = append(lines, line)
	}
	return lines
}

// stage makes a directory with the files that examples name.
func stage(t *testing.T, d *deployment) string {
	t.Helper()
	dir, data := t.TempDir(), filepath.Join("..", "data")
	get := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	rows := strings.Join(strings.SplitAfter(get(filepath.Join(data, "flchain.csv")), "\n")[:50], "")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := io.WriteString(z, rows); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{
		"q.sql":         "SELECT sex, COUNT(*) AS n FROM flchain GROUP BY sex\n",
		"visits.csv":    rows,
		"visits.csv.gz": packed.String(),
		"visits.ndjson": `{"id": 9001, "age": 60, "sex": "F", "sample_yr": 1998, "kappa": 1.5, "lambda": 1.25, "flc_grp": 3, "mgus": 0, "futime": 100, "death": 0}` + "\n",
		"facts.json":    facts(t, d),
	})
	for name, from := range map[string]string{
		"policy.json": filepath.Join(d.state, "policy.json"), "root.pem": filepath.Join(d.state, "root.pem"), "bundle.cbor": filepath.Join(d.state, "bundle.cbor"),
		"contracts/flchain.yaml": filepath.Join(data, "contracts", "flchain.yaml"), "deploy/cloister.yaml": filepath.Join(data, "cloister.yaml"),
		"deploy/contracts/flchain.yaml": filepath.Join(data, "contracts", "flchain.yaml"), "test/data/flchain.csv": filepath.Join(data, "flchain.csv"),
	} {
		write(t, dir, map[string]string{name: get(from)})
	}
	d.run(0, "cloister", "keys", "fetch", "-o", filepath.Join(dir, "keys.json"))
	return dir
}

// facts are those that a bundle is built from.
func facts(t *testing.T, d *deployment) string {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(d.state, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{
		"version":   1,
		"kms":       map[string]any{"region": "eu-central-1", "state_key": "arn:aws:kms:eu-central-1:111122223333:key/11111111-1111-1111-1111-111111111111"},
		"keys":      map[string]string{"flchain": "arn:aws:kms:eu-central-1:111122223333:key/22222222-2222-2222-2222-222222222222"},
		"producers": []any{map[string]any{"name": "demo", "key": "ed25519:" + strings.Repeat("A", 42) + "E=", "datasets": []string{"flchain"}}},
		"issuers":   []any{map[string]any{"issuer": "https://id.example.org", "audience": "flchain-study", "roles_claim": "groups", "tls_roots": string(root)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// try runs one example as a person would, in a shell.
func try(t *testing.T, d *deployment, dir, example string) {
	command := strings.ReplaceAll(example, "127.0.0.1:7443", attested(t, d))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	if strings.HasSuffix(example, untilStopped) {
		cmd = exec.CommandContext(t.Context(), "sh", "-c", "exec "+command)
	}
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + dir, "XDG_RUNTIME_DIR=" + filepath.Join(d.state, "run"),
		"CLOISTER_CONTEXT=" + filepath.Join(d.state, "context.json"),
	}
	var out words
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(example, untilStopped) {
		for range 500 {
			if strings.Contains(out.said(), "grpc") {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	want := 0
	for _, r := range refusing {
		if strings.Contains(example, r) {
			want = 1
		}
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Errorf("exit code %d, not %d:\n%s", code, want, out.said())
	}
}

// attested answers where the deployment's enclave is.
func attested(t *testing.T, d *deployment) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(d.state, "context.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct{ Attested string }
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c.Attested
}

// words is what a command says while it runs.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

// Write keeps.
func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}
