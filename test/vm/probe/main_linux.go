// Command probe is the init of a test's image: it looks at the virtual machine
// from within, tells the host, and restarts the machine. It holds nothing that
// needs protection, and it is never part of an image of the product.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	mdvsock "github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/test/vm/report"
)

// patience bounds everything that the probe does before it reports.
const patience = 90 * time.Second

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := &report.Report{PID: os.Getpid(), Refusals: map[string]string{}, Echoes: map[uint32]string{}}
	if err := examine(ctx, r); err != nil {
		r.Wrong = err.Error()
	}
	if err := tell(ctx, r); err != nil {
		fmt.Println("probe:", err)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		fmt.Println("probe: reboot:", err)
	}
}

// tell sends the report and waits until the host has what it wants.
func tell(ctx context.Context, r *report.Report) error {
	conn, err := vsock.Host().Dial(ctx, vsock.HostCID, report.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

func examine(ctx context.Context, r *report.Report) error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := machine(ctx, r); err != nil {
		return err
	}
	device, err := nsm.Open()
	if err != nil {
		return err
	}
	defer device.Close()
	if err := module(ctx, nsm.NewClient(device), r); err != nil {
		return err
	}
	if err := serveEcho(); err != nil {
		return err
	}
	for _, cid := range []uint32{vsock.HostCID, hypervisorCID} {
		if err := echo(ctx, cid); err != nil {
			r.Echoes[cid] = err.Error()
			continue
		}
		r.Echoes[cid] = ""
	}
	began := time.Now()
	r.Refused = refused(ctx, vsock.HostCID)
	r.RefusedAfter = time.Since(began)
	r.Elsewhere = refused(ctx, vsock.EnclaveCID+1)
	return nil
}

// hypervisorCID is VMADDR_CID_HOST of vsock(7).
const hypervisorCID = 2

// machine looks at what the kernel found.
func machine(ctx context.Context, r *report.Report) error {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	r.CommandLine = string(line)
	r.Entropy = name("/sys/class/misc/hw_random/rng_current")
	r.Clock = clock(ctx)
	r.Drivers = map[string]string{}
	devices, err := filepath.Glob("/sys/bus/virtio/devices/*")
	if err != nil {
		return err
	}
	for _, d := range devices {
		driver, err := os.Readlink(filepath.Join(d, "driver"))
		if err != nil {
			driver = "none"
		}
		r.Drivers[name(filepath.Join(d, "device"))] = filepath.Base(driver)
	}
	for _, file := range []string{"/dev/nsm", "/dev/vsock", "/dev/hwrng"} {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			r.Files = append(r.Files, file)
		}
	}
	r.CID, err = mdvsock.ContextID()
	return err
}

// clock answers the clock source once the kernel has made up its mind.
func clock(ctx context.Context) string {
	for {
		source := name("/sys/devices/system/clocksource/clocksource0/current_clocksource")
		if source != "tsc-early" || ctx.Err() != nil {
			return source
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// name reads a file that holds one line.
func name(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

// module asks the security module for all that it does.
func module(ctx context.Context, c *nsm.Client, r *report.Report) error {
	for i := range attestation.PCRCount {
		value, locked, err := c.DescribePCR(ctx, i)
		if err != nil {
			return err
		}
		r.Registers = append(r.Registers, report.Register{Index: i, Value: value.String(), Locked: locked})
	}
	attempt := func(what string, err error) {
		r.Refusals[what] = fmt.Sprint(err)
		if known, ok := errors.AsType[nsm.Error](err); ok {
			r.Refusals[what] = string(known)
		}
	}
	_, err := c.Extend(ctx, 0, []byte("probe"))
	attempt("extend 0", err)
	_, err = c.Extend(ctx, 8, []byte("probe"))
	attempt("extend 8", err)
	attempt("lock 15", c.Lock(ctx, 15))
	value, err := c.Extend(ctx, 16, []byte("probe"))
	if err != nil {
		return err
	}
	r.Extended = value.String()
	if err := c.Lock(ctx, 16); err != nil {
		return err
	}
	_, err = c.Extend(ctx, 16, []byte("probe"))
	attempt("extend 16 when locked", err)
	for i := range r.Random {
		if r.Random[i], err = c.Random(ctx); err != nil {
			return err
		}
	}
	r.Document, err = c.Attest(ctx, nsm.Request{Nonce: []byte(report.Nonce), UserData: []byte(report.UserData), PublicKey: []byte(report.PublicKey)})
	return err
}

// serveEcho sends back what comes on a port of the guest.
func serveEcho() error {
	l, err := vsock.Host().Listen(report.GuestEcho)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // the other end compares
			}()
		}
	}()
	return nil
}

// echo sends bytes to the host, ends its half, and wants all of them back.
func echo(ctx context.Context, cid uint32) error {
	conn, err := vsock.Host().Dial(ctx, cid, report.HostEcho)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	want := report.Bytes(report.Size)
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(want)
		if err == nil {
			err = closeWrite(conn)
		}
		sent <- err
	}()
	got, err := io.ReadAll(conn)
	if err := errors.Join(err, <-sent); err != nil {
		return fmt.Errorf("%d bytes came back: %w", len(got), err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes came back, not the same %d", len(got), len(want))
	}
	return nil
}

func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.New("a connection without CloseWrite")
	}
	return half.CloseWrite()
}

// refused connects to a port without a listener and says how that ended.
func refused(ctx context.Context, cid uint32) string {
	conn, err := vsock.Host().Dial(ctx, cid, report.Nobody)
	if err != nil {
		return err.Error()
	}
	conn.Close()
	return "connected"
}
