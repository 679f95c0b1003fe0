// Command cloister-enclave is the only program in the enclave image: PID 1,
// without flags, configuration or environment. It trusts the NSM and its own
// measurement.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/enclave"
	"github.com/cloisterhq/cloister/internal/vsock"
)

func main() {
	os.Clearenv()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cloister-enclave:", err)
		os.Exit(1)
	}
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
func say(phrase string) { fmt.Println("cloister-enclave:", phrase) }
