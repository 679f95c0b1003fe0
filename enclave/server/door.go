package server

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// authorization is the header that says who calls, in both directions.
const authorization = "authorization"

// Authenticator turns a bearer token into a principal.
type Authenticator interface {
	Verify(ctx context.Context, bearer string) (*identity.Principal, error)
}

// door lets in calls of people whose token is good, and no others: whatever
// stands behind it is called by somebody. Public keys alone stand before it.
type door struct {
	who Authenticator
	// callers are the requests of people, a bounded number of each.
	callers *admission.Pool
}

func newDoor(who Authenticator) *door {
	return &door{who, admission.New(admission.Config{
		Permits: limits.AttestedRequests, PerKey: limits.AttestedRequestsPerPrincipal, Retry: limits.Retry,
	})}
}

// caller is the key of the principal in the context of a call.
type caller struct{}

// callerOf answers who calls. Behind the door it is never nil.
func callerOf(ctx context.Context) *identity.Principal {
	who, _ := ctx.Value(caller{}).(*identity.Principal)
	return who
}

// options put the door before all methods of a server.
func (d *door) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if info.FullMethod == cloisterv1.Keys_Fetch_FullMethodName {
				return next(ctx, req)
			}
			ctx, err := d.enter(ctx)
			if err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			ctx, err := d.enter(stream.Context())
			if err != nil {
				return err
			}
			return next(srv, &entered{stream, ctx})
		}),
	}
}

// entered is a stream of somebody.
type entered struct {
	grpc.ServerStream
	ctx context.Context
}

// Context is that of the call, with who calls.
func (s *entered) Context() context.Context { return s.ctx }

// enter verifies the token of a call.
func (d *door) enter(ctx context.Context) (context.Context, error) {
	token, ok := bearer(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "a bearer token is needed: sign in with the identity provider")
	}
	who, err := d.who.Verify(ctx, token)
	if err != nil {
		return nil, identityStatus(err)
	}
	permit, err := d.callers.Try(who.Issuer()+"\x00"+who.Subject(), 0)
	if err != nil {
		return nil, grpcform.Status(whoQueries, err)
	}
	context.AfterFunc(ctx, permit.Release)
	return context.WithValue(ctx, caller{}, who), nil
}

// bearer reads the token from a call's metadata. Clients that know users and
// passwords alone send it as the password (RFC 7617), whatever the user.
func bearer(ctx context.Context) (string, bool) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(authorization)
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if strings.EqualFold(scheme, "Basic") {
		token = password(token)
	} else if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return token, token != "" && len(token) <= limits.Token
}

// password answers that of Basic credentials, with or without padding. Headers
// are bounded, so these are.
func password(credentials string) string {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(credentials, "="))
	if err != nil {
		return ""
	}
	_, password, _ := strings.Cut(string(b), ":")
	return password
}

// identityStatus maps identity's errors to gRPC codes.
func identityStatus(err error) error {
	switch {
	case errors.Is(err, identity.ErrIssuerUnavailable):
		return status.Error(codes.Unavailable, "the identity provider can't be reached from the enclave; try again")
	case errors.Is(err, identity.ErrNotAllowed):
		return status.Error(codes.PermissionDenied, "the token's roles don't allow this")
	default:
		return status.Error(codes.Unauthenticated, "the token was refused: "+identity.Reason(err))
	}
}
