package vm_test

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/sim/vhost"
	"github.com/cloisterhq/cloister/sim/vhost/vsockdev"
	"github.com/cloisterhq/cloister/sim/vm"
	"github.com/cloisterhq/cloister/test/vm/report"
)

// second is a QEMU that measures by itself. Debian's can't: its machine
// nitro-enclave takes a build with libcbor.
var second = flag.String("vm-nitro-qemu", "", "qemu-system-x86_64 with the machine nitro-enclave, for a second opinion on measurement")

// nitro boots an image file in QEMU's own machine and answers the host's side
// of its vsock.
func nitro(t *testing.T, path string, ports ...uint32) map[uint32]net.Listener {
	t.Helper()
	if *second == "" {
		t.Skip("no -vm-nitro-qemu: nobody here measures an image but us")
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	listeners := map[uint32]net.Listener{}
	for _, port := range ports {
		l, err := vsock.Unix(dir, vsock.HostCID).Listen(port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		listeners[port] = l
	}
	socket := filepath.Join(dir, "vsock.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	device := vsockdev.New(vsockdev.Config{GuestCID: vsock.EnclaveCID, Host: vsock.Unix(dir, vsock.EnclaveCID)})
	served := make(chan error, 1)
	go func() { served <- vhost.Serve(ctx, l, device, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	cmd := exec.CommandContext(ctx, *second,
		"-M", "nitro-enclave,vsock=c,id=i-0123456789abcdef0-enc0123456789abcdef,parent-role=arn:aws:iam::111122223333:role/parent,parent-id=i-0123456789abcdef0",
		"-kernel", path, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "512",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-chardev", "socket,id=c,path="+socket)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listeners
}

// accept waits for the guest.
func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	stop := time.AfterFunc(hang/10, func() { l.Close() })
	defer stop.Stop()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestSecondOpinion: a machine that measures an image by itself has the
// registers that we compute.
func TestSecondOpinion(t *testing.T) {
	image(t)
	if *second == "" {
		t.Skip("no -vm-nitro-qemu: nobody here measures an image but us")
	}
	path := probeImage(t)
	opened, err := vm.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	measured := opened.Measured()
	opened.Close()
	conn := accept(t, nitro(t, path, report.Host)[report.Host])
	var found report.Report
	if err := json.NewDecoder(conn).Decode(&found); err != nil {
		t.Fatal(err)
	}
	want := nsmsim.Image{PCR0: measured.PCR0, PCR1: measured.PCR1, PCR2: measured.PCR2}
	for i, w := range []string{want.PCR0.String(), want.PCR1.String(), want.PCR2.String()} {
		if got := found.Registers[i].Value; got != w {
			t.Errorf("PCR%d is %s in QEMU, and %s for us", i, got, w)
		}
	}
}

// TestSecondMachine: the image under test comes as far there as a machine lets
// it whose module signs nothing: to its parent, after its own checks.
func TestSecondMachine(t *testing.T) {
	path := image(t)
	accept(t, nitro(t, path, vsock.PortHost)[vsock.PortHost])
}
