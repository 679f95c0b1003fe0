// Package grpcform is how admission looks in gRPC: RESOURCE_EXHAUSTED with the
// hint of google.rpc.RetryInfo, and a gate that admits a request before a byte
// of its message is read. It trusts no caller.
package grpcform

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cloisterhq/cloister/internal/admission"
)

// Status answers what a caller sees of an *admission.Full: RESOURCE_EXHAUSTED,
// a constant phrase that begins with who refuses, and how long to wait
// (google/rpc/error_details.proto, RetryInfo). Other errors it answers as they
// are.
func Status(who string, err error) error {
	full, ok := errors.AsType[*admission.Full](err)
	if !ok {
		return err
	}
	plain := status.New(codes.ResourceExhausted, who+": "+full.Reason+"; try again")
	hinted, err := plain.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(full.Retry)})
	if err != nil {
		return plain.Err()
	}
	return hinted.Err()
}

// Delay answers the hint of an error, and false when it has none: without one
// the same will fail again.
func Delay(err error) (time.Duration, bool) {
	s, _ := status.FromError(err)
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok && info.GetRetryDelay() != nil {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return 0, false
}
