package e2e_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/test/fleet"
	"github.com/cloisterhq/cloister/test/rig"
)

// hostile is a deployment whose producer sends what it likes.
type hostile struct {
	t       *testing.T
	fleet   *fleet.Fleet
	who     *fleet.Producer
	gateway cloisterv1.GatewayClient
	streams int
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	config := t.TempDir()
	write(t, config, map[string]string{"cloister.yaml": unseenConfig, "contracts/visits.yaml": unseenContract})
	f := fleet.New(t, bin, config)
	return &hostile{t: t, fleet: f, gateway: f.Gateway()}
}

func (h *hostile) start() {
	h.t.Helper()
	h.fleet.Start()
	h.fleet.Ready()
	h.who = h.fleet.Producer()
}

// letter drafts a good batch of a stream of its own.
func (h *hostile) letter() *fleet.Letter {
	h.t.Helper()
	h.streams++
	id := int64(h.streams)
	return h.who.Letter("visits", fmt.Sprint("stream-", id), []columns.Record{{columns.Int("id", id), columns.Text("rx", "Obs")}})
}

// hand hands bytes to the gateway and answers what it says, in one line.
func (h *hostile) hand(raw []byte) string {
	h.t.Helper()
	resp, err := h.gateway.Submit(h.t.Context(), &cloisterv1.SubmitRequest{Envelope: raw})
	switch {
	case err != nil:
		s := status.Convert(err)
		return fmt.Sprintf("%s: %s", s.Code(), s.Message())
	case resp.GetState() == cloisterv1.SubmitResponse_STATE_REFUSED:
		return "refused: " + resp.GetRefusal()
	case resp.GetState() == cloisterv1.SubmitResponse_STATE_RECEIPTED:
		return "receipted"
	default:
		return "pending"
	}
}

// TestHostileEnvelopes sends envelopes of every bad kind. Each is refused in one
// line, for good; the enclave stays up, and what is good comes through.
func TestHostileEnvelopes(t *testing.T) {
	h := newHostile(t)
	h.start()
	enclave, parent := h.fleet.PID(stack.Enclave), h.fleet.PID(stack.Parent)
	whole := h.who.Seal(h.letter())
	const (
		malformed = "refused: not an envelope of version 1"
		unsigned  = "refused: the signature isn't the producer's"
		content   = "refused: the content isn't in a known codec"
		blob      = "refused: KMS can't open the data key with this producer's context"
	)
	is := func(what string, raw []byte, want string) {
		t.Helper()
		if got := h.hand(raw); got != want {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
		if again := h.hand(raw); again != want {
			t.Errorf("%s, again: %s", what, again)
		}
	}
	changed := func(what string, change func(*fleet.Letter), want string) {
		t.Helper()
		l := h.letter()
		change(l)
		is(what, h.who.Seal(l), want)
	}
	flipped := func(at int) []byte {
		raw := bytes.Clone(whole)
		raw[at] ^= 0x10
		return raw
	}

	for _, n := range []int{1, 8, 12, 100} {
		is(fmt.Sprintf("cut to %d bytes", n), whole[:n], malformed)
	}
	is("a byte short", whole[:len(whole)-1], unsigned)
	is("a byte long", append(bytes.Clone(whole), 0), unsigned)
	is("a bit of the magic", flipped(3), malformed)
	is("a bit of the header's length", flipped(8), malformed)
	is("a bit of the signature", flipped(len(whole)-1), unsigned)
	is("a bit of the ciphertext", flipped(len(whole)-100), unsigned)
	is("noise", bytes.Repeat([]byte{0xa5}, 4096), malformed)
	is("nothing", nil, "InvalidArgument: the envelope is empty")

	changed("an unknown dataset", func(l *fleet.Letter) { l.Header.Dataset = "nothing" }, "refused: the producer has no right to the dataset")
	changed("another version of the contract", func(l *fleet.Letter) { l.Header.Contract = "0.9.0" }, "refused: the envelope is for another version of the contract")
	changed("another deployment", func(l *fleet.Letter) { l.Header.Deployment = "other" }, "refused: the envelope is for another deployment")
	changed("another epoch", func(l *fleet.Letter) { l.Header.Wrap.Epoch = 7 }, "refused: the data key is wrapped by another key than the dataset's")
	changed("a broken blob", func(l *fleet.Letter) { l.Header.Wrap.Blob[len(l.Header.Wrap.Blob)-1] ^= 1 }, blob)
	changed("a short data key", func(l *fleet.Letter) { _, l.Header.Wrap.Blob = h.who.DataKey("visits", 16) }, blob)
	changed("another data key", func(l *fleet.Letter) { l.DEK[0] ^= 1 }, "refused: the envelope doesn't open with its data key")
	changed("an unknown codec", func(l *fleet.Letter) { l.Header.Codec = 200 }, content)

	// CBOR that promises more than there is, in the header and inside.
	header := binary.BigEndian.Uint32(whole[8:])
	for name, bomb := range bombs() {
		raw := append(bytes.Clone(whole[:8]), 0, 0, 0, 0)
		binary.BigEndian.PutUint32(raw[8:], uint32(len(bomb)))
		raw = append(append(raw, bomb...), whole[12+header:]...)
		is("a header of "+name, raw, malformed)
		for _, rows := range []int{1, limits.BatchRows} {
			changed(fmt.Sprintf("content of %s, %d rows", name, rows), func(l *fleet.Letter) { l.Content, l.Rows = bomb, rows }, content)
		}
	}
	is("a good one", whole, "receipted")
	if h.fleet.PID(stack.Enclave) != enclave || h.fleet.PID(stack.Parent) != parent {
		t.Error("a process died")
	}
}

// bombs are small pieces of CBOR that claim to be large.
func bombs() map[string][]byte {
	return map[string][]byte{
		"a map of 2^32-1":      {0xba, 0xff, 0xff, 0xff, 0xff},
		"an array of 2^63":     {0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"bytes of 2^62":        {0x5b, 0x40, 0, 0, 0, 0, 0, 0, 0},
		"text of 2^64-1":       {0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"arrays in arrays":     bytes.Repeat([]byte{0x81}, 8000),
		"maps in maps":         bytes.Repeat([]byte{0xa1, 0x61, 0x61}, 2600),
		"indefinite arrays":    bytes.Repeat([]byte{0x9f}, 8000),
		"tags on tags":         bytes.Repeat([]byte{0xd9, 0xd9, 0xf7}, 2600),
		"a map with a key 500": bytes.Repeat([]byte{0xa1, 0x19, 0x01, 0xf4}, 2000),
	}
}

// TestHugeBatch sends 100 MB to the gateway: it is turned away before it is
// read, in one line, and the next batch comes through.
func TestHugeBatch(t *testing.T) {
	h := newHostile(t)
	h.start()
	for size, want := range map[int]string{
		limits.Envelope + 1: "InvalidArgument: the envelope is larger than 16 MiB",
		100 << 20:           "ResourceExhausted: grpc: received message larger than max (104857605 vs. 16842752)",
	} {
		if got := h.hand(make([]byte, size)); got != want {
			t.Errorf("%d bytes: %s", size, got)
		}
	}
	if got := h.hand(h.who.Seal(h.letter())); got != "receipted" {
		t.Errorf("the next one: %s", got)
	}
}

// TestKMSStops lets batches wait for KMS, and an enclave that starts without it.
func TestKMSStops(t *testing.T) {
	h := newHostile(t)
	h.start()
	early, late := h.who.Seal(h.letter()), h.who.Seal(h.letter())
	file := filepath.Join(t.TempDir(), "visits.csv")
	if err := os.WriteFile(file, []byte(visitors(1000, "", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	h.fleet.Kill(stack.KMS, syscall.SIGKILL)
	if got := h.hand(early); got != "pending" {
		t.Errorf("without KMS: %s", got)
	}
	code, out, errs := h.fleet.Client("submit", "--dataset", "visits", "--wait", "300ms", file)
	if want := "cloister: KMS gives no data key now, so nothing more can be sealed: "; code != 3 || out != "" || !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
		t.Errorf("submit: exit code %d: %s%s", code, out, errs)
	}
	h.fleet.Kill(stack.Enclave, syscall.SIGKILL)
	h.fleet.Start(stack.Enclave)
	if reason := h.fleet.Await("waiting for keys"); !fleet.Eventually(func() bool {
		_, reason = h.fleet.Status(t.Context())
		return reason == "KMS doesn't answer"
	}) {
		t.Errorf("the enclave waits, it says: %q", reason)
	}
	if got := h.hand(late); got != "pending" {
		t.Errorf("without keys: %s", got)
	}
	h.fleet.Start(stack.KMS)
	h.fleet.Ready()
	for _, raw := range [][]byte{early, late} {
		if !fleet.Eventually(func() bool { return h.hand(raw) == "receipted" }) {
			t.Error("what was pending gets no receipt")
		}
	}
	if code, _, errs := h.fleet.Client("submit", "--dataset", "visits", file); code != 0 || !strings.Contains(errs, "sent 10 accepted 10 rejected 0 pending 0") {
		t.Errorf("submit: exit code %d: %s", code, errs)
	}
}

// TestSecondParent starts another parent on the same directory: it says so and
// ends, and the first goes on.
func TestSecondParent(t *testing.T) {
	h := newHostile(t)
	h.start()
	first := h.fleet.PID(stack.Parent)
	log, err := os.ReadFile(h.fleet.Layout().Log(stack.Parent))
	if err != nil {
		t.Fatal(err)
	}
	h.fleet.Start(stack.Parent)
	h.fleet.Ended(stack.Parent)
	both, err := os.ReadFile(h.fleet.Layout().Log(stack.Parent))
	if err != nil {
		t.Fatal(err)
	}
	said := strings.TrimPrefix(string(both), string(log))
	if want := "cloister-sim: parent: objects: another cloister-parent has this directory: " + h.fleet.Layout().ParentDir() + "\n"; !strings.HasSuffix(said, want) {
		t.Errorf("it said %q", said)
	}
	if err := syscall.Kill(first, 0); err != nil {
		t.Fatalf("the first one: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Kill(first, syscall.SIGKILL) })
	if got := h.hand(h.who.Seal(h.letter())); got != "receipted" {
		t.Errorf("a batch: %s", got)
	}
}

// TestParentsFullDisk fills the parent's disk: each says in one line that it
// can't go on, nothing that was promised is lost, and with room again all goes
// on by itself.
func TestParentsFullDisk(t *testing.T) {
	if out, err := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none", t.TempDir()).CombinedOutput(); err != nil {
		t.Skipf("no small file system can be made here: %v %s", err, out)
	}
	h := newHostile(t)
	h.fleet.Under = map[string][]string{stack.Parent: {"unshare", "-rm", "sh", "-c", `mount -t tmpfs -o size=2m none "$0" && exec "$@"`, h.fleet.Layout().ParentDir()}}
	// What the provisioning left there is not on the small disk.
	if err := os.RemoveAll(h.fleet.Layout().ParentDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.fleet.Layout().ParentDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	h.unpinned()
	h.start()
	first, second, third := h.who.Seal(h.letter()), h.who.Seal(h.letter()), h.who.Seal(h.letter())
	if got := h.hand(first); got != "receipted" {
		t.Fatalf("with room: %s", got)
	}
	file := filepath.Join(t.TempDir(), "visits.csv")
	if err := os.WriteFile(file, []byte(visitors(1000, "", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	filler := fmt.Sprintf("/proc/%d/root%s/filler", h.fleet.PID(stack.Parent), h.fleet.Layout().ParentDir())
	size := fill(t, filler)

	if got, want := h.hand(second), "Unavailable: the parent's store failed; try again"; got != want {
		t.Errorf("a batch: %s", got)
	}
	code, out, errs := h.fleet.Client("submit", "--dataset", "visits", "--wait", "300ms", file)
	if want := "the parent's store failed; try again"; code != 3 || out != "" || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
		t.Errorf("submit: exit code %d: %s%s", code, out, errs)
	}
	code, out, errs = h.fleet.Client("query", "--wait", "300ms", "SELECT COUNT(*) AS n FROM visits")
	if want := "the audit log can't be written now, and without it nothing is answered; try again"; code != 3 || out != "" || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
		t.Errorf("query: exit code %d: %s%s", code, out, errs)
	}

	// Room for the envelope, and none for the manifest that accepts it.
	if err := os.Truncate(filler, size-int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	if got := h.hand(third); got != "pending" {
		t.Errorf("with room for one page: %s", got)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{third, first, second} {
		if !fleet.Eventually(func() bool { return h.hand(raw) == "receipted" }) {
			t.Errorf("with room again: %s", h.hand(raw))
		}
	}
	if code, _, errs := h.fleet.Client("submit", "--dataset", "visits", file); code != 0 || !strings.Contains(errs, "sent 10 accepted 10 rejected 0 pending 0") {
		t.Errorf("submit: exit code %d: %s", code, errs)
	}
	if code, out, errs := h.fleet.Client("query", "-o", "csv", "SELECT COUNT(*) AS n FROM visits"); code != 0 || !strings.HasSuffix(out, "13\n") {
		t.Errorf("query: exit code %d: %s%s", code, out, errs)
	}
}

// unpinned forgets the genesis that the provisioning pinned.
func (h *hostile) unpinned() {
	h.t.Helper()
	c, err := client.Load(h.fleet.Layout().Context())
	if err == nil {
		c.Genesis = ""
		err = c.Save(h.fleet.Layout().Context())
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// fill writes a file until there is no room, and answers its size.
func fill(t *testing.T, path string) (size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for piece := make([]byte, os.Getpagesize()); err == nil; {
		_, err = f.Write(piece)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestUnreadableKey takes the producer's key file away from its owner.
func TestUnreadableKey(t *testing.T) {
	h := newHostile(t)
	h.start()
	file := filepath.Join(t.TempDir(), "visits.csv")
	if err := os.WriteFile(file, []byte(visitors(1, "", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(h.fleet.Layout().Dir(), "producer.key")
	if err := os.Chmod(key, 0); err != nil {
		t.Fatal(err)
	}
	cmd := h.fleet.Command(t.Context(), "submit", "--dataset", "visits", file)
	if os.Getuid() == 0 { // root may read everything, but not in a name space of somebody else
		if out, err := exec.Command("unshare", "-U", "cat", key).CombinedOutput(); err == nil || !strings.Contains(string(out), "ermission denied") {
			t.Skipf("nothing is unreadable here: %v %s", err, out)
		}
		cmd.Args = append([]string{"unshare", "-U", cmd.Path}, cmd.Args[1:]...)
		var err error
		if cmd.Path, err = exec.LookPath("unshare"); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := fleet.Run(t, cmd)
	if want := "cloister: the key of producer demo: open " + key + ": permission denied\n"; code != 2 || out != "" || errs != want {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := h.fleet.Client("submit", "--dataset", "visits", file); code != 0 {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// TestClockOff verifies enclaves whose signed time is off by an hour.
func TestClockOff(t *testing.T) {
	for off, want := range map[time.Duration]string{
		-time.Hour: "cloister: REFUSED: attestation: stale: older than the policy's max_age",
		time.Hour:  "cloister: REFUSED: attestation: not yet valid: certificate 4 of 5, counted from the root",
	} {
		s := rig.ServeAs(t, rig.Config{Module: func(c *nsmsim.Config) { c.Now = func() time.Time { return time.Now().Add(off) } }})
		context := s.Context(t, s.Rig)
		for _, args := range [][]string{{"verify"}, {"query", "SELECT COUNT(*) AS n FROM colon"}} {
			code, out, errs := fleet.Run(t, clientCommand(t, context, args...))
			first, _, _ := strings.Cut(errs, "\n")
			if code != 1 || out != "" || first != want {
				t.Errorf("%s off, %s: exit code %d: %s%s", off, args[0], code, out, errs)
			}
		}
		if s.Calls.Load() != 0 {
			t.Errorf("%s off: a query was sent", off)
		}
	}
}

// clientCommand prepares the client's command in a context.
func clientCommand(t *testing.T, context string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "cloister"), args...)
	cmd.Env = []string{"CLOISTER_CONTEXT=" + context, "HOME=" + t.TempDir()}
	return cmd
}
