package vm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/eif"
	images "github.com/cloisterhq/cloister/image"
	"github.com/cloisterhq/cloister/internal/cmdline"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/sim/vm"
	"github.com/cloisterhq/cloister/test/vm/report"
)

// quick is how long a refusal may take at most: the slowest device takes two
// seconds to answer nothing at all.
const quick = time.Second

// probeImage builds an image with the kernel of the one under test and the probe
// as its only program.
func probeImage(t *testing.T) string {
	t.Helper()
	f, err := os.Open(image(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := eif.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	var kernel bytes.Buffer
	for _, s := range m.Sections() {
		if s.Type == eif.Kernel {
			if err := m.Copy(&kernel, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(dir, "probe"), "./probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binary, err := os.ReadFile(filepath.Join(dir, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	parts := images.Parts{Kernel: kernel.Bytes(), Release: "of the image under test", Date: time.Unix(0, 0)}
	if parts.Ramdisks, err = images.Ramdisks(binary); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "probe.eif")
	if _, err := parts.Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// machine is the probe's, with the test as its host.
type machine struct {
	root     *nsmsim.Root
	measured nsmsim.Image
	console  string
	dir      string
	sockets  string
	reports  net.Listener
	ended    chan error
}

// boot starts the probe.
func boot(t *testing.T, path string) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{console: filepath.Join(dir, "console"), dir: filepath.Join(dir, "run"), sockets: filepath.Join(dir, "vsock"), ended: make(chan error, 1)}
	if err := os.Mkdir(m.sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	image, err := vm.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	m.measured = image.Measured()
	image.Close()
	if m.root, err = nsmsim.NewRoot(time.Now(), "probe"); err != nil {
		t.Fatal(err)
	}
	m.reports = m.listen(t, vsock.HostCID, report.Host)
	for _, cid := range []uint32{2, vsock.HostCID} {
		l := m.listen(t, cid, report.HostEcho)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					_, _ = io.Copy(conn, conn) // the probe compares
				}()
			}
		}()
	}
	console, err := vm.OpenConsole(m.console)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	config := vm.Config{
		Image: path, QEMU: interpreter(t), Root: m.root, Dir: m.dir, Sockets: m.sockets, Memory: 256,
		Ports: []uint32{report.GuestEcho, report.Nobody}, Console: console, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	go func() { m.ended <- vm.Run(ctx, config) }()
	t.Cleanup(func() {
		cancel()
		console.Close()
	})
	return m
}

func (m *machine) listen(t *testing.T, cid, port uint32) net.Listener {
	t.Helper()
	l, err := vsock.Unix(m.sockets, cid).Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// report waits for the probe's report. The connection stays open: closing it
// makes the probe restart the machine.
func (m *machine) report(t *testing.T) (*report.Report, net.Conn) {
	t.Helper()
	arrived := make(chan net.Conn, 1)
	go func() {
		if conn, err := m.reports.Accept(); err == nil {
			arrived <- conn
		}
	}()
	select {
	case conn := <-arrived:
		r := &report.Report{}
		if err := json.NewDecoder(conn).Decode(r); err != nil {
			t.Fatal(err)
		}
		if r.Wrong != "" {
			t.Fatalf("the probe found out no more than %+v: %s", r, r.Wrong)
		}
		return r, conn
	case err := <-m.ended:
		t.Fatalf("%v\n%s", err, m.words())
	case <-time.After(hang):
		t.Fatalf("no report\n%s", m.words())
	}
	return nil, nil
}

func (m *machine) words() string {
	all, _ := vm.ReadConsole(m.console)
	return all[max(0, len(all)-3000):]
}

// TestMachine boots the probe and compares what it finds with what an enclave
// must find on Nitro.
func TestMachine(t *testing.T) {
	m := boot(t, probeImage(t))
	r, conn := m.report(t)
	defer conn.Close()

	t.Run("kernel", func(t *testing.T) {
		if r.PID != 1 || r.CID != vsock.EnclaveCID {
			t.Errorf("process %d of the machine %d", r.PID, r.CID)
		}
		if err := cmdline.Check([]byte(r.CommandLine)); err != nil {
			t.Errorf("%q: %v", r.CommandLine, err)
		}
		if r.Entropy != "nsm-hwrng" {
			t.Errorf("random numbers come from %q", r.Entropy)
		}
		if r.Clock != "tsc" {
			t.Errorf("time comes from %q", r.Clock)
		}
		if want := []string{"/dev/nsm", "/dev/vsock", "/dev/hwrng"}; !slices.Equal(r.Files, want) {
			t.Errorf("device files %v, want %v", r.Files, want)
		}
		if len(r.Drivers) != 2 || r.Drivers["0x0013"] != "vmw_vsock_virtio_transport" || r.Drivers["0x0021"] != "nsm" {
			t.Errorf("drivers by device: %v", r.Drivers)
		}
	})
	t.Run("registers", func(t *testing.T) { m.checkRegisters(t, r) })
	t.Run("document", func(t *testing.T) { m.checkDocument(t, r) })
	t.Run("sockets", func(t *testing.T) {
		for cid, wrong := range r.Echoes {
			if wrong != "" {
				t.Errorf("the guest's echo by machine %d: %s", cid, wrong)
			}
		}
		if len(r.Echoes) != 2 {
			t.Errorf("echoes by %d machines", len(r.Echoes))
		}
		for what, how := range map[string]string{"a port without a listener": r.Refused, "another machine": r.Elsewhere} {
			if how == "connected" || how == "" || strings.Contains(how, "timed out") {
				t.Errorf("%s: %q", what, how)
			}
		}
		if r.RefusedAfter > quick {
			t.Errorf("a port without a listener is refused after %s", r.RefusedAfter)
		}
		if err := m.echo(t); err != nil {
			t.Errorf("the host's echo: %v", err)
		}
		if _, err := m.read(t, report.Nobody, nil); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the guest's port without a listener: %v", err)
		}
	})
	t.Run("end", func(t *testing.T) { m.checkEnd(t, conn) })
}

// checkRegisters holds the module's registers against the file's measurements.
func (m *machine) checkRegisters(t *testing.T, r *report.Report) {
	want := map[int]attestation.PCR{0: m.measured.PCR0, 1: m.measured.PCR1, 2: m.measured.PCR2, 3: {}, 8: {}}
	if len(r.Registers) != attestation.PCRCount {
		t.Fatalf("%d registers", len(r.Registers))
	}
	for _, register := range r.Registers {
		if v, ok := want[register.Index]; ok && register.Value != v.String() {
			t.Errorf("PCR%d is %s, the file says %s", register.Index, register.Value, v)
		}
		if register.Locked != (register.Index < 16) {
			t.Errorf("PCR%d: locked %t", register.Index, register.Locked)
		}
	}
	if want := (attestation.PCR{}).Extend([]byte("probe")).String(); r.Extended != want {
		t.Errorf("PCR16 is %s after an extension, want %s", r.Extended, want)
	}
	for _, what := range []string{"extend 0", "extend 8", "lock 15", "extend 16 when locked"} {
		if r.Refusals[what] != "ReadOnlyIndex" {
			t.Errorf("%s: %q", what, r.Refusals[what])
		}
	}
	if len(r.Random[0]) != 256 || bytes.Equal(r.Random[0], r.Random[1]) {
		t.Errorf("random numbers: %d bytes, and the same again: %t", len(r.Random[0]), bytes.Equal(r.Random[0], r.Random[1]))
	}
}

// checkDocument verifies the probe's document as a relying party would.
func (m *machine) checkDocument(t *testing.T, r *report.Report) {
	roots, err := verifier.NewRoots(m.root.PEM())
	if err != nil {
		t.Fatal(err)
	}
	authentic, err := verifier.Authenticate(r.Document, roots, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d := authentic.Document()
	if string(d.Nonce()) != report.Nonce || string(d.UserData()) != report.UserData || string(d.PublicKey()) != report.PublicKey {
		t.Errorf("nonce %q, user data %q, public key %q", d.Nonce(), d.UserData(), d.PublicKey())
	}
	for i, want := range map[int]attestation.PCR{0: m.measured.PCR0, 1: m.measured.PCR1, 2: m.measured.PCR2} {
		if got, ok := d.PCR(i); !ok || got != want {
			t.Errorf("PCR%d is %s in the document, the file says %s", i, got, want)
		}
	}
	_, err = verifier.Authenticate(r.Document, verifier.AWS(), time.Now())
	refusal, ok := errors.AsType[*attestation.Error](err)
	if !ok {
		t.Fatalf("with AWS's root: %v", err)
	}
	t.Logf("with AWS's root: %v", refusal)
}

// read connects to a port of the guest, sends b, ends its half, and reads all
// that comes back.
func (m *machine) read(t *testing.T, port uint32, b []byte) ([]byte, error) {
	t.Helper()
	conn, err := vsock.Unix(m.sockets, vsock.HostCID).Dial(t.Context(), vsock.EnclaveCID, port)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(hang)); err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(b)
		if err == nil {
			err = conn.(interface{ CloseWrite() error }).CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(conn)
	return got, errors.Join(err, <-sent)
}

func (m *machine) echo(t *testing.T) error {
	t.Helper()
	want := report.Bytes(report.Size)
	got, err := m.read(t, report.GuestEcho, want)
	if err == nil && !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, not the same %d", len(got), len(want))
	}
	return err
}

// checkEnd lets the probe restart the machine, which ends it.
func (m *machine) checkEnd(t *testing.T, conn net.Conn) {
	conn.Close()
	select {
	case err := <-m.ended:
		if !errors.Is(err, vm.ErrEnded) {
			t.Errorf("the machine's end: %v", err)
		}
	case <-time.After(hang):
		t.Fatalf("the machine doesn't end\n%s", m.words())
	}
	if _, err := os.Stat(m.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the run directory after the end: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(m.sockets, "vsock-16-*")); err != nil || len(left) > 0 {
		t.Errorf("sockets after the end: %v, %v", left, err)
	}
	console, err := vm.ReadConsole(m.console)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(console, "reboot: Restarting system") {
		t.Errorf("the console doesn't tell of the restart:\n%s", m.words())
	}
	for _, bad := range []string{"WARNING:", "BUG:", "Call Trace", "Kernel panic"} {
		if strings.Contains(console, bad) {
			t.Errorf("the console has %q:\n%s", bad, m.words())
		}
	}
}

// TestStopped boots the probe and ends the machine from outside.
func TestStopped(t *testing.T) {
	m := boot(t, probeImage(t))
	_, conn := m.report(t)
	defer conn.Close()
	pid, err := os.ReadFile(filepath.Join(m.dir, vm.PIDFile))
	if err != nil {
		t.Fatal(err)
	}
	proc := filepath.Join("/proc", strings.TrimSpace(string(pid)))
	if _, err := os.Stat(proc); err != nil {
		t.Fatal(err)
	}
	kill(t, strings.TrimSpace(string(pid)))
	if err := <-m.ended; !errors.Is(err, vm.ErrEnded) {
		t.Errorf("the machine's end: %v", err)
	}
	if _, err := os.Stat(proc); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("QEMU is still there: %v", err)
	}
}
