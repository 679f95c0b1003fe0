// Package host serves the enclave over vsock: the bundle, an object store,
// short-lived credentials, and the boot heartbeat. It trusts the enclave with
// the objects it is meant to write and no others; the enclave trusts none of
// its answers.
package host

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/metrics"
	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

const (
	// maxHeaders bounds the headers of a request, in bytes.
	maxHeaders = 16 << 10
	// handshakeTimeout bounds the beginning of a connection.
	handshakeTimeout = 10 * time.Second
	// maxPage is the longest listing that is answered at once.
	maxPage = 1000
)

// Store keeps objects. It answers the errors of parent/objects.
type Store interface {
	// PutIfAbsent stores an object durably unless other bytes hold its name.
	PutIfAbsent(ctx context.Context, name string, content []byte) error
	// Get answers an object's bytes.
	Get(ctx context.Context, name string) ([]byte, error)
	// List answers names under prefix after one name, in lexical order.
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
}

// Config says what the enclave is served.
type Config struct {
	// Store keeps the objects. Required.
	Store Store
	// BundleFile is read at every request. Required.
	BundleFile string
	// CredentialsFile is read at every request; see Credentials. Empty serves
	// none.
	CredentialsFile string
	// Metrics count; nil counts for nobody.
	Metrics *Metrics
	// Log takes events without data. Required.
	Log *slog.Logger
}

// inbox begins the names of envelopes, which are the gateway's: an enclave may
// read them and writes none.
const inbox = "inbox/"

// moved answers where the gateway puts envelopes that it takes out of the inbox.
func moved() []string { return []string{"refused/", "quarantine/"} }

// writable answers the prefixes that an enclave may write.
func writable() []string { return []string{"manifest/", "contracts/", "audit/", "segments/", "keys/"} }

// Serve answers the enclave's requests until ctx ends or the listener fails.
func Serve(ctx context.Context, listener net.Listener, c Config) error {
	if c.Metrics == nil {
		c.Metrics = NewMetrics(metrics.NewRegistry())
	}
	connections := admission.New(admission.Config{Permits: limits.HostConnections})
	requests := admission.New(admission.Config{Permits: limits.HostRequests, Retry: limits.Retry})
	c.Metrics.registry.Pool("host_connections", connections)
	c.Metrics.registry.Pool("host_requests", requests)
	gate := grpcform.Gate{Who: "the parent's host service", Pool: func(string) *admission.Pool { return requests }, Timeout: limits.Reading}
	server := grpc.NewServer(append(gate.Options(),
		grpc.MaxRecvMsgSize(limits.Message),
		grpc.MaxSendMsgSize(limits.Message),
		grpc.MaxConcurrentStreams(limits.Streams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		// So that nobody writes to the store once Serve has returned.
		grpc.WaitForHandlers(true),
	)...)
	cloisterv1.RegisterHostServer(server, &service{config: c})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(admission.Listen(listener, connections)); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

type service struct {
	cloisterv1.UnsafeHostServer
	config Config
}

// Bundle answers the bundle's bytes as they are in the file now.
func (s *service) Bundle(context.Context, *cloisterv1.BundleRequest) (*cloisterv1.BundleResponse, error) {
	b, err := readFile(s.config.BundleFile, limits.Bundle)
	if err != nil {
		s.config.Metrics.requests.Inc(bundle, failed)
		s.config.Log.Error("host: the bundle can't be read", slog.String("error", err.Error()))
		return nil, status.Error(codes.Unavailable, "the parent has no bundle")
	}
	s.config.Metrics.requests.Inc(bundle, answered)
	s.config.Log.Info("host: the bundle was handed over", slog.Int("size", len(b)))
	return &cloisterv1.BundleResponse{Bundle: b}, nil
}

// PutObject stores one of the enclave's objects.
func (s *service) PutObject(ctx context.Context, req *cloisterv1.PutObjectRequest) (*cloisterv1.PutObjectResponse, error) {
	if !under(req.GetName(), writable()) {
		return nil, errName
	}
	if err := s.config.Store.PutIfAbsent(ctx, req.GetName(), req.GetContent()); err != nil {
		return nil, s.failure("put", err)
	}
	return &cloisterv1.PutObjectResponse{}, nil
}

// GetObject answers an object. An envelope that was moved out of the inbox is
// still found there: the enclave may have accepted it in an earlier life whose
// answer was lost, and then needs it to replay.
func (s *service) GetObject(ctx context.Context, req *cloisterv1.GetObjectRequest) (*cloisterv1.GetObjectResponse, error) {
	if !under(req.GetName(), append(writable(), inbox)) {
		return nil, errName
	}
	content, err := s.config.Store.Get(ctx, req.GetName())
	if base, ok := strings.CutPrefix(req.GetName(), inbox); ok {
		for _, prefix := range moved() {
			if errors.Is(err, objects.ErrNotFound) {
				content, err = s.config.Store.Get(ctx, prefix+base)
			}
		}
	}
	if err != nil {
		return nil, s.failure("get", err)
	}
	return &cloisterv1.GetObjectResponse{Content: content}, nil
}

// ListObjects answers a page of names.
func (s *service) ListObjects(ctx context.Context, req *cloisterv1.ListObjectsRequest) (*cloisterv1.ListObjectsResponse, error) {
	if !under(req.GetPrefix()+"x", append(writable(), inbox)) {
		return nil, errName
	}
	if req.GetLimit() < 1 || req.GetLimit() > maxPage {
		return nil, status.Error(codes.InvalidArgument, "the limit is 1 to 1000")
	}
	names, err := s.config.Store.List(ctx, req.GetPrefix(), req.GetAfter(), int(req.GetLimit()))
	if err != nil {
		return nil, s.failure("list", err)
	}
	return &cloisterv1.ListObjectsResponse{Names: names}, nil
}

// Credentials answers what the file holds now.
func (s *service) Credentials(context.Context, *cloisterv1.CredentialsRequest) (*cloisterv1.CredentialsResponse, error) {
	creds, err := readCredentials(s.config.CredentialsFile)
	if err != nil {
		s.config.Metrics.requests.Inc(credentials, failed)
		s.config.Log.Error("host: no credentials", slog.String("error", err.Error()))
		return nil, status.Error(codes.Unavailable, "the parent has no credentials")
	}
	s.config.Metrics.requests.Inc(credentials, answered)
	resp := &cloisterv1.CredentialsResponse{AccessKeyId: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey, SessionToken: creds.SessionToken}
	if creds.Expires != nil {
		resp.Expires = creds.Expires.Unix()
	}
	return resp, nil
}

var errName = status.Error(codes.PermissionDenied, "the enclave may not use this object name")

// under says whether a name is directly or deeper under one of the prefixes.
func under(name string, prefixes []string) bool {
	return objects.CheckName(name) == nil && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// failure maps the store's errors to codes and keeps its words here.
func (s *service) failure(op string, err error) error {
	switch {
	case errors.Is(err, objects.ErrExists):
		return status.Error(codes.AlreadyExists, "the name is taken")
	case errors.Is(err, objects.ErrNotFound):
		return status.Error(codes.NotFound, "no such object")
	case errors.Is(err, objects.ErrTooLarge):
		return status.Error(codes.InvalidArgument, "the object is too large")
	default:
		s.config.Log.Error("host: the store failed", slog.String("operation", op), slog.String("error", err.Error()))
		return status.Error(codes.Unavailable, "the parent's store failed")
	}
}
