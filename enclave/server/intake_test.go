package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/clock"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/vsock"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// acceptor answers as the test says.
type acceptor func(ctx context.Context, envelope []byte) (*ingest.Accepted, error)

// Accept takes one envelope.
func (a acceptor) Accept(ctx context.Context, envelope []byte) (*ingest.Accepted, error) {
	return a(ctx, envelope)
}

// intake serves the record path on a unix socket.
func intake(t *testing.T) (cloisterv1.IntakeClient, *server.Paths) {
	t.Helper()
	conn, paths := dialIntake(t)
	return cloisterv1.NewIntakeClient(conn), paths
}

func dialIntake(t *testing.T) (*grpc.ClientConn, *server.Paths) {
	t.Helper()
	dir, paths := t.TempDir(), server.NewPaths()
	l, err := vsock.Unix(dir, vsock.EnclaveCID).Listen(vsock.PortIngest)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.ServeIntake(ctx, l, paths) }()
	conn, err := grpc.NewClient("passthrough:///enclave", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return vsock.Unix(dir, vsock.HostCID).Dial(ctx, vsock.EnclaveCID, vsock.PortIngest)
		}), grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20), grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	return conn, paths
}

func TestAccept(t *testing.T) {
	client, paths := intake(t)
	var got []byte
	paths.Open(acceptor(func(_ context.Context, envelope []byte) (*ingest.Accepted, error) {
		got = envelope
		return &ingest.Accepted{Receipt: []byte("receipt"), Report: []byte("report")}, nil
	}), nil)
	for _, size := range []int{0, 1, limits.Envelope} {
		sent := bytes.Repeat([]byte{7}, size)
		resp, err := client.Accept(t.Context(), &cloisterv1.AcceptRequest{Envelope: sent})
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(got, sent) || string(resp.GetReceipt()) != "receipt" || string(resp.GetReport()) != "report" {
			t.Errorf("%d bytes: something else went through", size)
		}
	}
}

func TestAcceptRefuses(t *testing.T) {
	client, paths := intake(t)
	var answer error
	paths.Open(acceptor(func(context.Context, []byte) (*ingest.Accepted, error) { return nil, answer }), nil)
	for name, c := range map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"a refusal":         {&ingest.Refusal{Reason: "the producer may not"}, codes.FailedPrecondition, "the producer may not"},
		"a wrapped refusal": {fmt.Errorf("ingest: %w", &ingest.Refusal{Reason: "no"}), codes.FailedPrecondition, "no"},
		"cancelled":         {context.Canceled, codes.Canceled, "cancelled"},
		"out of time":       {context.DeadlineExceeded, codes.DeadlineExceeded, "out of time"},
		"whatever else":     {errors.New(data), codes.Unavailable, "can't take envelopes now"},
	} {
		answer = c.err
		_, err := client.Accept(t.Context(), &cloisterv1.AcceptRequest{Envelope: []byte{1}})
		if s := status.Convert(err); s.Code() != c.code || !strings.Contains(s.Message(), c.text) || strings.Contains(s.Message(), data) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEnvelopeTooLarge: one byte over is refused in words, far more isn't even
// taken in.
func TestEnvelopeTooLarge(t *testing.T) {
	client, paths := intake(t)
	paths.Open(acceptor(func(context.Context, []byte) (*ingest.Accepted, error) {
		t.Error("a large envelope got through")
		return nil, errors.New("too large")
	}), nil)
	for size, want := range map[int]codes.Code{limits.Envelope + 1: codes.InvalidArgument, limits.Message + 1: codes.ResourceExhausted, 48 << 20: codes.ResourceExhausted} {
		if _, err := client.Accept(t.Context(), &cloisterv1.AcceptRequest{Envelope: make([]byte, size)}); status.Code(err) != want {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestHealth(t *testing.T) {
	client, paths := intake(t)
	good := acceptor(func(context.Context, []byte) (*ingest.Accepted, error) { return &ingest.Accepted{}, nil })
	for _, step := range []struct {
		do            func()
		phase, reason string
		code          codes.Code
	}{
		{func() {}, "waiting for keys", "", codes.Unavailable},
		{func() { paths.Set(server.Refused, "the key policy") }, "refused by KMS", "the key policy", codes.Unavailable},
		{func() { paths.Set(server.Replaying, "") }, "replaying", "", codes.Unavailable},
		{func() { paths.Open(good, nil) }, "ready", "", codes.OK},
		{func() { paths.Shut("it doesn't fit") }, "failed", "it doesn't fit", codes.Unavailable},
	} {
		step.do()
		h, err := client.Health(t.Context(), &cloisterv1.HealthRequest{})
		if err != nil || h.GetPhase() != step.phase || h.GetReason() != step.reason {
			t.Errorf("%s: %v, %v", step.phase, h, err)
		}
		if _, err := client.Accept(t.Context(), &cloisterv1.AcceptRequest{}); status.Code(err) != step.code {
			t.Errorf("%s: an envelope: %v", step.phase, err)
		}
	}
}

// told is a clock that says how it does.
type told clock.Status

func (k told) Status() clock.Status { return clock.Status(k) }

// TestHealthClock: the parent is told how the clock does once there is one, in
// whole milliseconds and seconds.
func TestHealthClock(t *testing.T) {
	client, paths := intake(t)
	for _, step := range []struct {
		clock  server.Timekeeper
		source string
		offset *int64
		age    int64
	}{
		{told{}, "", nil, 0},
		{told{Source: "tsc", Age: 59*time.Second + 999*time.Millisecond}, "tsc", nil, 59},
		{told{Source: "tsc", Compared: true}, "tsc", new(int64(0)), 0},
		{told{Source: "kvm-clock", Compared: true, Offset: -1500 * time.Microsecond, Age: time.Hour}, "kvm-clock", new(int64(-1)), 3600},
	} {
		if h, err := client.Health(t.Context(), &cloisterv1.HealthRequest{}); err != nil || step.clock == (told{}) && h.GetClock() != nil {
			t.Errorf("before there is a clock: %v, %v", h, err)
		}
		paths.Time(step.clock)
		h, err := client.Health(t.Context(), &cloisterv1.HealthRequest{})
		if err != nil {
			t.Fatal(err)
		}
		k := h.GetClock()
		if k == nil || k.GetSource() != step.source || k.GetAgeS() != step.age || !reflect.DeepEqual(k.OffsetMs, step.offset) {
			t.Errorf("%+v: %v", step.clock, k)
		}
	}
}

// TestListenerFails: a server whose listener is gone says so.
func TestListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := server.ServeIntake(t.Context(), l, server.NewPaths()); err == nil {
		t.Error("serving nothing is no error")
	}
}
