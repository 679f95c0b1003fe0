package stack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/enclave"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent"
	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// Run is one of the four processes, or their supervisor, until ctx ends.
func Run(ctx context.Context, l Layout, role string) error {
	f, err := l.loadFacts()
	if err != nil {
		return err
	}
	switch role {
	case supervisor:
		return Supervise(ctx, l)
	case KMS:
		return l.runKMS(ctx, f)
	case Issuer:
		return l.runIssuer(ctx, f)
	case Parent:
		return l.runParent(ctx, f)
	case Enclave:
		return l.runEnclave(ctx, f)
	case VM:
		return l.runMachine(ctx, f)
	default:
		return fmt.Errorf("no role %q: one of kms, issuer, parent, enclave, vm", role)
	}
}

// kmsHandler opens the KMS simulator over the deployment's state.
func (l Layout) kmsHandler() (http.Handler, func(), error) {
	pem, err := os.ReadFile(l.sim("nsm-root.pem"))
	if err != nil {
		return nil, nil, fmt.Errorf("stack: %w", err)
	}
	root, err := nsmsim.LoadRoot(pem)
	if err != nil {
		return nil, nil, err
	}
	roots, err := verifier.NewRoots(root.PEM())
	if err != nil {
		return nil, nil, err
	}
	who, err := l.principals()
	if err != nil {
		return nil, nil, err
	}
	events, err := os.OpenFile(l.Events(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("stack: %w", err)
	}
	server, err := kmssim.New(kmssim.Config{
		Region: region, Account: account, StateFile: l.sim("kms-state.json"), Roots: roots,
		Principals: kmsPrincipals(who), Now: time.Now, Events: events,
	})
	if err != nil {
		events.Close()
		return nil, nil, err
	}
	return server.Handler(), func() { events.Close() }, nil
}

func (l Layout) runKMS(ctx context.Context, f *facts) error {
	handler, done, err := l.kmsHandler()
	if err != nil {
		return err
	}
	defer done()
	return l.serveTLS(ctx, KMS, f.KMS, handler)
}

func (l Layout) runIssuer(ctx context.Context, f *facts) error {
	i, err := l.issuer(f)
	if err != nil {
		return err
	}
	return l.serveTLS(ctx, Issuer, f.Issuer, i.Handler())
}

// serveTLS serves a simulated service on loopback until ctx ends.
func (l Layout) serveTLS(ctx context.Context, role, address string, handler http.Handler) error {
	cert, _, err := l.certificate(role)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("stack: %s: %w", role, err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stack: %s: %w", role, err)
	}
	return nil
}

func (l Layout) runParent(ctx context.Context, f *facts) error {
	served := l.Bundle()
	if f.ServeBundle != "" {
		served = f.ServeBundle
	}
	return parent.Run(ctx, parent.Config{
		Transport: vsock.Unix(l.Sockets(), vsock.HostCID), EnclaveCID: vsock.EnclaveCID, Dir: l.ParentDir(),
		BundleFile: served, CredentialsFile: l.hostCredentials(), GatewayAddr: f.Gateway, AttestedAddr: f.Attested,
		AdminAddr: f.Admin, EgressAllow: []string{f.KMS, f.Issuer}, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
}

func (l Layout) runEnclave(ctx context.Context, f *facts) error {
	pem, err := os.ReadFile(l.sim("nsm-root.pem"))
	if err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	root, err := nsmsim.LoadRoot(pem)
	if err != nil {
		return err
	}
	image, err := Image(f.ImageLabel)
	if err != nil {
		return err
	}
	device, err := nsmsim.New(nsmsim.Config{Root: root, Image: image, Now: time.Now})
	if err != nil {
		return err
	}
	defer device.Close()
	e, err := enclave.New(ctx, enclave.Config{
		Device: device, Transport: vsock.Unix(l.Sockets(), vsock.EnclaveCID),
		Say: func(phrase enclave.Phrase) { fmt.Fprintln(os.Stderr, "enclave:", phrase) },
	})
	if err != nil {
		return err
	}
	return e.Serve(ctx)
}
