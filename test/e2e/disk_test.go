package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFullDisk fills a small file system with the spool, and with a pipe's copy:
// each says so in one line, and with more room the same command goes on.
func TestFullDisk(t *testing.T) {
	small := t.TempDir()
	if out, err := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none", small).CombinedOutput(); err != nil {
		t.Skipf("no small file system can be made here: %v %s", err, out)
	}
	d := up(t, filepath.Join("..", "data"))
	file := filepath.Join(t.TempDir(), "rows.csv")
	if err := writeRows(file, 100_000, 1); err != nil {
		t.Fatal(err)
	}
	const script = `
mount -t tmpfs -o size=512k none "$SMALL"
cloister submit --dataset flchain --spool "$SMALL" --wait 60s "$FILE"
echo "exit $?" >&2
TMPDIR="$SMALL" cloister submit --dataset flchain --format csv - <"$FILE"
echo "exit $?" >&2
mount -o remount,size=64m "$SMALL"
cloister submit --dataset flchain --spool "$SMALL" --wait 60s --rejects "$SMALL/rejects" "$FILE"
echo "exit $?" >&2
`
	cmd := exec.Command("unshare", "-rm", "sh", "-c", script)
	cmd.Env = []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "SMALL=" + small, "FILE=" + file,
		"CLOISTER_CONTEXT=" + filepath.Join(d.state, "context.json"),
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	want := []string{
		"cloister: no space left for the spool in " + small + ": free some and run the same command again",
		"exit 2",
		"cloister: the input doesn't fit into " + small + ", where it is kept while it's read: set TMPDIR",
		"exit 2",
		"sent 100000 accepted 99000 rejected 1000 pending 0",
		"exit 1",
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), out)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d is %q, want %q", i+1, lines[i], want[i])
		}
	}
}
