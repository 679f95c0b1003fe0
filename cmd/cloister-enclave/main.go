// Command cloister-enclave is the only program in the enclave image: PID 1,
// without flags, configuration or environment. It trusts the NSM and its own
// measurement. When it ends, the machine restarts.
package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"google.golang.org/grpc/grpclog"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/enclave"
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/internal/vsock"
)

// The exit codes: stopped as PID 1, which the kernel answers with a restart,
// and started as another process.
const (
	exitStopped = 1
	exitNotInit = 2
)

func main() {
	os.Clearenv()
	quiet()
	out, err := boot.Console()
	if err != nil {
		os.Exit(exitStopped)
	}
	c := console{out}
	if os.Getpid() != 1 {
		c.Say(enclave.SayNotInit)
		os.Exit(exitNotInit)
	}
	// What signals mean by default would end PID 1 with a line of its own.
	signal.Ignore(syscall.SIGHUP, syscall.SIGQUIT)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGPWR)
	defer stop()
	err = run(ctx, c)
	c.Say(enclave.SayStopped)
	if err != nil {
		c.Say(enclave.Because(err))
	}
	// Where a restart isn't allowed the kernel makes one of the end of PID 1.
	_ = boot.Restart(out)
	os.Exit(exitStopped)
}

// quiet keeps everything but our phrases off the console until boot.Silence
// does: gRPC's log, and the stacks of a panic, which hold arguments.
func quiet() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	debug.SetTraceback("none")
}

// run is the enclave, from an empty machine to its end. A panic of this
// goroutine has a phrase; others end the process, and with it the machine.
func run(ctx context.Context, c console) (err error) {
	defer func() {
		if recover() != nil {
			err = enclave.ErrFault
		}
	}()
	root := os.DirFS("/")
	if err := ready(ctx, root); err != nil {
		return err
	}
	c.Say(enclave.SayMachine)
	go boot.Reap(ctx)
	device, err := nsm.Open()
	if err != nil {
		return err
	}
	defer device.Close()
	if err := boot.Seed(ctx, nsm.NewClient(device), boot.Mix); err != nil {
		return err
	}
	e, err := enclave.New(ctx, enclave.Config{
		Device: device, Transport: vsock.Host(), Say: c.Say,
		Clocksource: func() (string, error) { return boot.Clocksource(root) },
	})
	if err != nil {
		return err
	}
	return e.Serve(ctx)
}

// ready makes the machine ready and refuses another one than the image's. What
// changes more than this process comes after the refusals.
func ready(ctx context.Context, root fs.FS) error {
	if err := boot.Mount(); err != nil {
		return err
	}
	if err := boot.Silence(); err != nil {
		return err
	}
	if err := boot.Inspect(ctx, root); err != nil {
		return err
	}
	return boot.Harden()
}

// console is where phrases go, and nothing else.
type console struct{ out io.Writer }

// Say prints one of the enclave's fixed phrases.
func (c console) Say(phrase enclave.Phrase) { fmt.Fprintln(c.out, "cloister-enclave:", phrase) }
