// Command cloister-enclave is the only program in the enclave image: PID 1,
// without flags, configuration or environment. It trusts the NSM and its own
// measurement.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"google.golang.org/grpc/grpclog"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/enclave"
	"github.com/cloisterhq/cloister/internal/vsock"
)

func main() {
	os.Clearenv()
	quiet()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		say(enclave.SayStopped)
		say(enclave.Because(err))
		os.Exit(1)
	}
}

// quiet keeps everything but our phrases off the console: gRPC's log, and the
// stacks of a panic, which hold arguments.
func quiet() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	debug.SetTraceback("none")
}

func run(ctx context.Context) error {
	device, err := nsm.Open()
	if err != nil {
		return err
	}
	defer device.Close()
	e, err := enclave.New(ctx, enclave.Config{Device: device, Transport: vsock.Host(), Say: say})
	if err != nil {
		return err
	}
	return e.Serve(ctx)
}

// say prints one of the enclave's fixed phrases on the console.
func say(phrase enclave.Phrase) { fmt.Println("cloister-enclave:", phrase) }
