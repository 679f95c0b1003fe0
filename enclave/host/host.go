// Package host is the enclave's side of what the parent serves: bundle,
// objects, credentials and egress. It trusts none of it. The bundle is
// measured before it is read, objects are sealed and chained by their readers,
// credentials prove only the parent, and egress carries TLS that ends here.
package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/vsock"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// callTimeout bounds one call to the parent. A parent that stalls delays the
// enclave, but can't hold a request for ever.
const callTimeout = 20 * time.Second

// maxCredential is the longest of the parent's credentials, in bytes.
const maxCredential = 8 << 10

// ErrUnavailable says that the parent didn't answer a call.
var ErrUnavailable = errors.New("host: the parent doesn't answer")

// Dialer opens connections to the parent's vsock ports.
type Dialer interface {
	Dial(ctx context.Context, cid, port uint32) (net.Conn, error)
}

// Host calls the parent's services on vsock port 8001.
type Host struct {
	conn   *grpc.ClientConn
	client cloisterv1.HostClient
}

// New prepares the calls; the connection is made by the first of them and
// made again after the parent restarts.
func New(dialer Dialer) (*Host, error) {
	conn, err := grpc.NewClient("passthrough:///parent",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return dialer.Dial(ctx, vsock.HostCID, vsock.PortHost)
		}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(
			grpc.WaitForReady(true),
			grpc.MaxCallRecvMsgSize(limits.Message),
			grpc.MaxCallSendMsgSize(limits.Message),
		),
	)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	return &Host{conn: conn, client: cloisterv1.NewHostClient(conn)}, nil
}

// Close ends the connection.
func (h *Host) Close() error { return h.conn.Close() }

// Bundle fetches the bundle's bytes, at most limits.Bundle of them. Nothing
// about them is checked here: boot measures them first.
func (h *Host) Bundle(ctx context.Context) ([]byte, error) {
	resp, _, err := call(ctx, h.client.Bundle, &cloisterv1.BundleRequest{})
	if err != nil {
		return nil, err
	}
	if len(resp.GetBundle()) == 0 || len(resp.GetBundle()) > limits.Bundle {
		return nil, errors.New("host: the parent's bundle is empty or too large")
	}
	return resp.GetBundle(), nil
}

// PutIfAbsent stores an object durably. It answers state.ErrExists when other
// bytes hold the name.
func (h *Host) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	_, code, err := call(ctx, h.client.PutObject, &cloisterv1.PutObjectRequest{Name: name, Content: content})
	if code == codes.AlreadyExists {
		return state.ErrExists
	}
	return err
}

// Get answers an object's bytes, at most limits.Object of them, or
// state.ErrNotFound.
func (h *Host) Get(ctx context.Context, name string) ([]byte, error) {
	resp, code, err := call(ctx, h.client.GetObject, &cloisterv1.GetObjectRequest{Name: name})
	if code == codes.NotFound {
		return nil, state.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if len(resp.GetContent()) > limits.Object {
		return nil, errors.New("host: the parent's object is too large")
	}
	return resp.GetContent(), nil
}

// List answers at most limit names under prefix that come after one name, in
// lexical order. That they are all there is the parent's word.
func (h *Host) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if limit < 1 || limit > math.MaxInt32 {
		return nil, errors.New("host: a list has at least one name")
	}
	resp, _, err := call(ctx, h.client.ListObjects, &cloisterv1.ListObjectsRequest{Prefix: prefix, After: after, Limit: int32(limit)})
	if err != nil {
		return nil, err
	}
	if len(resp.GetNames()) > limit {
		return nil, errList
	}
	for _, name := range resp.GetNames() {
		if name <= after || len(name) > limits.ObjectName || !strings.HasPrefix(name, prefix) {
			return nil, errList
		}
		after = name
	}
	return resp.GetNames(), nil
}

// errList says that the parent's list isn't what was asked for.
var errList = errors.New("host: the parent's list isn't the one that was asked for")

// Credentials answers the parent's short-lived AWS credentials.
func (h *Host) Credentials(ctx context.Context) (aws.Credentials, error) {
	resp, _, err := call(ctx, h.client.Credentials, &cloisterv1.CredentialsRequest{})
	if err != nil {
		return aws.Credentials{}, err
	}
	if max(len(resp.GetAccessKeyId()), len(resp.GetSecretAccessKey()), len(resp.GetSessionToken())) > maxCredential {
		return aws.Credentials{}, errors.New("host: the parent's credentials are too large")
	}
	creds := aws.Credentials{
		AccessKeyID:     resp.GetAccessKeyId(),
		SecretAccessKey: resp.GetSecretAccessKey(),
		SessionToken:    resp.GetSessionToken(),
		Source:          "parent",
	}
	if resp.GetExpires() != 0 {
		creds.CanExpire, creds.Expires = true, time.Unix(resp.GetExpires(), 0)
	}
	return creds, nil
}

// call runs one call within callTimeout and turns its error into one of ours,
// with the code for callers to whom it says something. The parent's own words
// are dropped: they would be the only host text inside the enclave's errors.
// Only the caller's own context ends a call as ended; a parent that says so
// doesn't answer.
func call[Q, A any](ctx context.Context, f func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) (A, codes.Code, error) {
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := f(bounded, request)
	code := status.Code(err)
	switch {
	case err == nil:
		return answer, code, nil
	case ctx.Err() != nil:
		return answer, codes.Canceled, fmt.Errorf("host: %w", ctx.Err())
	default:
		return answer, code, fmt.Errorf("%w (%s)", ErrUnavailable, code)
	}
}
