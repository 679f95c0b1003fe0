package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent/gateway"
	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// spool is how fast envelopes of one size become durable, in MB/s by turn.
type spool struct {
	size, producers int
	gateway, loop   []float64
}

// intake is an enclave that takes every envelope at once.
type intake struct {
	cloisterv1.UnsafeIntakeServer
}

// Accept answers a receipt of a real one's size.
func (intake) Accept(context.Context, *cloisterv1.AcceptRequest) (*cloisterv1.AcceptResponse, error) {
	return &cloisterv1.AcceptResponse{Receipt: make([]byte, 432), Report: make([]byte, 300)}, nil
}

// Health answers that it is ready.
func (intake) Health(context.Context, *cloisterv1.HealthRequest) (*cloisterv1.HealthResponse, error) {
	return &cloisterv1.HealthResponse{Phase: "ready"}, nil
}

// Counters answers nothing.
func (intake) Counters(context.Context, *cloisterv1.CountersRequest) (*cloisterv1.CountersResponse, error) {
	return &cloisterv1.CountersResponse{}, nil
}

// measureSpool hands envelopes to a gateway, and the same bytes to a loop that
// writes each to a file and syncs it, in turns.
func measureSpool(ctx context.Context, dir string, s sizes) (all []*spool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	enclave, err := vsock.Unix(dir, vsock.EnclaveCID).Listen(vsock.PortIngest)
	if err != nil {
		cancel()
		return nil, err
	}
	behind := grpc.NewServer(grpc.MaxRecvMsgSize(limits.Message))
	cloisterv1.RegisterIntakeServer(behind, intake{})
	go func() { _ = behind.Serve(enclave) }()
	defer behind.Stop()
	client, served, err := openGateway(ctx, dir)
	defer func() {
		cancel()
		err = errors.Join(err, <-served)
	}()
	if err != nil {
		return nil, err
	}
	bare := filepath.Join(dir, "bare")
	if err := os.Mkdir(bare, 0o700); err != nil {
		return nil, err
	}
	random := rand.NewChaCha8([32]byte{1})
	for _, p := range []*spool{{size: 64 << 10, producers: 1}, {size: 64 << 10, producers: flows}, {size: 1 << 20, producers: flows}} {
		each := max(1, int(s.envelopes)/p.size/p.producers)
		for range s.repeats {
			rate, err := p.turn(each, random, func(i int, envelope []byte) error { return submit(ctx, client, envelope) })
			if err != nil {
				return nil, err
			}
			p.gateway = append(p.gateway, rate)
			if rate, err = p.turn(each, random, func(i int, envelope []byte) error { return writeSynced(bare, i, envelope) }); err != nil {
				return nil, err
			}
			p.loop = append(p.loop, rate)
		}
		all = append(all, p)
	}
	return all, nil
}

// openGateway answers a client of a gateway, and where its end is told.
func openGateway(ctx context.Context, dir string) (cloisterv1.GatewayClient, <-chan error, error) {
	served := make(chan error, 1)
	fail := func(err error) (cloisterv1.GatewayClient, <-chan error, error) {
		served <- nil
		return nil, served, err
	}
	store, err := objects.Open(filepath.Join(dir, "objects"))
	if err != nil {
		return fail(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fail(err)
	}
	log, err := openLog()
	if err != nil {
		return fail(err)
	}
	config := gateway.Config{
		Store: store, Log: log,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return vsock.Unix(dir, vsock.HostCID).Dial(ctx, vsock.EnclaveCID, vsock.PortIngest)
		},
	}
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		l.Close()
		return fail(err)
	}
	go func() {
		err := gateway.Serve(ctx, l, config)
		served <- errors.Join(err, conn.Close(), store.Close())
	}()
	return cloisterv1.NewGatewayClient(conn), served, nil
}

// turn answers the MB/s at which producers put envelopes away, each no two
// alike.
func (p *spool) turn(each int, random *rand.ChaCha8, put func(i int, envelope []byte) error) (float64, error) {
	envelopes := make([][]byte, p.producers)
	for i := range envelopes {
		envelopes[i] = make([]byte, p.size)
		if _, err := random.Read(envelopes[i]); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	err := together(p.producers, func(i int) error {
		for k := range each {
			binary.BigEndian.PutUint64(envelopes[i], uint64(k))
			if err := put(i*each+k, envelopes[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return float64(p.producers*each*p.size) / time.Since(start).Seconds() / 1e6, err
}

func submit(ctx context.Context, client cloisterv1.GatewayClient, envelope []byte) error {
	resp, err := client.Submit(ctx, &cloisterv1.SubmitRequest{Envelope: envelope})
	if err == nil && resp.GetState() != cloisterv1.SubmitResponse_STATE_RECEIPTED {
		err = fmt.Errorf("an envelope is %v", resp.GetState())
	}
	return err
}

// writeSynced writes a file and syncs it, over the one of the turn before.
func writeSynced(dir string, i int, envelope []byte) error {
	name := filepath.Join(dir, fmt.Sprint(i))
	_ = os.Remove(name) // there is none in the first turn
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(envelope)
	return errors.Join(err, f.Sync(), f.Close())
}
