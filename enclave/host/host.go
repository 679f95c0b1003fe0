// Package host is the enclave's side of what the parent serves: bundle,
// objects, credentials and egress. It trusts none of it. The bundle is
// measured before it is read, objects are sealed and chained by their readers,
// credentials prove only the parent, and egress carries TLS that ends here.
package host

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := h.client.Bundle(ctx, &cloisterv1.BundleRequest{})
	if err != nil {
		return nil, failure(err)
	}
	if len(resp.GetBundle()) == 0 || len(resp.GetBundle()) > limits.Bundle {
		return nil, errors.New("host: the parent's bundle is empty or too large")
	}
	return resp.GetBundle(), nil
}

// PutIfAbsent stores an object durably. It answers state.ErrExists when other
// bytes hold the name.
func (h *Host) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := h.client.PutObject(ctx, &cloisterv1.PutObjectRequest{Name: name, Content: content})
	if status.Code(err) == codes.AlreadyExists {
		return state.ErrExists
	}
	return failure(err)
}

// Get answers an object's bytes, or state.ErrNotFound.
func (h *Host) Get(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := h.client.GetObject(ctx, &cloisterv1.GetObjectRequest{Name: name})
	if status.Code(err) == codes.NotFound {
		return nil, state.ErrNotFound
	}
	if err != nil {
		return nil, failure(err)
	}
	return resp.GetContent(), nil
}

// List answers at most limit names under prefix that come after one name, in
// lexical order.
func (h *Host) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := h.client.ListObjects(ctx, &cloisterv1.ListObjectsRequest{Prefix: prefix, After: after, Limit: int32(limit)})
	if err != nil {
		return nil, failure(err)
	}
	return resp.GetNames(), nil
}

// Credentials answers the parent's short-lived AWS credentials.
func (h *Host) Credentials(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := h.client.Credentials(ctx, &cloisterv1.CredentialsRequest{})
	if err != nil {
		return aws.Credentials{}, failure(err)
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

// failure turns a call's error into one of ours. The parent's own words are
// dropped: they would be the only host text inside the enclave's errors.
func failure(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.Canceled:
		return context.Canceled
	default:
		return fmt.Errorf("%w (%s)", ErrUnavailable, status.Code(err))
	}
}
