package grpcform_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
)

func TestStatus(t *testing.T) {
	full := &admission.Full{Reason: admission.ReasonWeight, Retry: 1500 * time.Millisecond}
	for _, err := range []error{full, fmt.Errorf("somewhere: %w", full)} {
		got := grpcform.Status("the part", err)
		if s := status.Convert(got); s.Code() != codes.ResourceExhausted || s.Message() != "the part: too much at once; try again" {
			t.Errorf("%v: %v", err, got)
		}
		if d, ok := grpcform.Delay(got); !ok || d != full.Retry {
			t.Errorf("%v: hint %v, %v", err, d, ok)
		}
	}
	other := errors.New("another")
	if got := grpcform.Status("the part", other); !errors.Is(got, other) {
		t.Errorf("another error became %v", got)
	}
	for _, err := range []error{nil, other, status.Error(codes.ResourceExhausted, "for good")} {
		if d, ok := grpcform.Delay(err); ok {
			t.Errorf("%v has the hint %v", err, d)
		}
	}
}

// health holds every check until it is told to answer.
type health struct {
	healthv1.UnimplementedHealthServer
	inside chan struct{}
	answer chan struct{}
}

func (h *health) Check(ctx context.Context, _ *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	h.inside <- struct{}{}
	select {
	case <-h.answer:
	case <-ctx.Done():
	}
	return &healthv1.HealthCheckResponse{}, nil
}

// TestGate: a real server turns away what its pool has no room for, with a hint,
// and has room again when a request has ended, however it did.
func TestGate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pool := admission.New(admission.Config{Permits: 2, Retry: time.Second})
	h := &health{inside: make(chan struct{}), answer: make(chan struct{})}
	server := grpc.NewServer(grpcform.Gate{Who: "the test", Pool: func(string) *admission.Pool { return pool }, Timeout: time.Minute}.Options()...)
	healthv1.RegisterHealthServer(server, h)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := healthv1.NewHealthClient(conn)
	check := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := client.Check(ctx, &healthv1.HealthCheckRequest{})
			done <- err
		}()
		return done
	}
	gone, leave := context.WithCancel(t.Context())
	first, second := check(t.Context()), check(gone)
	<-h.inside
	<-h.inside
	_, err = client.Check(t.Context(), &healthv1.HealthCheckRequest{})
	if d, ok := grpcform.Delay(err); status.Code(err) != codes.ResourceExhausted || !ok || d != time.Second {
		t.Errorf("one more: %v", err)
	}
	leave()
	if err := <-second; status.Code(err) != codes.Canceled {
		t.Errorf("the one who left: %v", err)
	}
	empty(t, pool, 1)
	third := check(t.Context())
	<-h.inside
	close(h.answer)
	for _, done := range []chan error{first, third} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	empty(t, pool, 0)
}

// TestReading: who opens a request and says nothing loses its places, and who
// has said it loses the second one.
func TestReading(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all, reading := admission.New(admission.Config{Permits: 9}), admission.New(admission.Config{Permits: 2})
	h := &health{inside: make(chan struct{}), answer: make(chan struct{})}
	server := grpc.NewServer(grpcform.Gate{
		Who: "the test", Pool: func(string) *admission.Pool { return all }, Timeout: 300 * time.Millisecond,
		Reading: func(method string) *admission.Pool {
			if method == healthv1.Health_List_FullMethodName {
				return nil
			}
			return reading
		},
	}.Options()...)
	healthv1.RegisterHealthServer(server, h)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	open := func(method string) grpc.ClientStream {
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	silent := []grpc.ClientStream{open(healthv1.Health_Check_FullMethodName), open(healthv1.Health_Watch_FullMethodName)}
	empty(t, reading, 2)
	if err := open(healthv1.Health_Check_FullMethodName).RecvMsg(&healthv1.HealthCheckResponse{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a third: %v", err)
	}
	if _, err := healthv1.NewHealthClient(conn).List(ctx, &healthv1.HealthListRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a method that needs no second place: %v", err)
	}
	for i, s := range silent {
		if err := s.RecvMsg(&healthv1.HealthCheckResponse{}); err == nil || ctx.Err() != nil {
			t.Errorf("silent request %d: %v", i, err)
		}
	}
	empty(t, reading, 0)
	empty(t, all, 0)
	done := make(chan error, 1)
	go func() {
		_, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
		done <- err
	}()
	<-h.inside
	empty(t, reading, 0)
	empty(t, all, 1)
	time.Sleep(500 * time.Millisecond) // longer than reading may take
	close(h.answer)
	if err := <-done; err != nil {
		t.Errorf("a request that was read in time: %v", err)
	}
	empty(t, all, 0)
}

// empty waits until so many are inside.
func empty(t *testing.T, pool *admission.Pool, inside int) {
	t.Helper()
	for range 1000 {
		if pool.Load().Inside == inside {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("load %+v, want %d inside", pool.Load(), inside)
}
