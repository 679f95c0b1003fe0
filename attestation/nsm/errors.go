package nsm

import (
	"errors"
	"slices"
)

// Error is a refusal by the module, by its name in the Nitro Secure Module API
// (ErrorCode). The client answers InvalidIndex and InputTooLarge itself where
// the module would. Callers compare with errors.Is.
type Error string

// The module's errors. Its name Success is no error, and an answer that says
// so is refused with ErrResponse.
const (
	// InvalidArgument: an argument isn't valid.
	InvalidArgument Error = "InvalidArgument"
	// InvalidIndex: there is no such register.
	InvalidIndex Error = "InvalidIndex"
	// InvalidResponse: the response doesn't go with the request.
	InvalidResponse Error = "InvalidResponse"
	// ReadOnlyIndex: the register is locked.
	ReadOnlyIndex Error = "ReadOnlyIndex"
	// InvalidOperation: the module can't do that.
	InvalidOperation Error = "InvalidOperation"
	// BufferTooSmall: the response doesn't fit.
	BufferTooSmall Error = "BufferTooSmall"
	// InputTooLarge: the request, or a field of it, is over its limit.
	InputTooLarge Error = "InputTooLarge"
	// InternalError: the module failed.
	InternalError Error = "InternalError"
)

// ErrResponse says that what the device answered isn't a response to the
// request: malformed, truncated, of another kind, or with values that the
// interface doesn't have.
var ErrResponse = errors.New("not a response to this request")

// Error is the module's name for it.
func (e Error) Error() string { return string(e) }

// known says whether the interface has an error of that name.
func (e Error) known() bool {
	return slices.Contains([]Error{
		InvalidArgument, InvalidIndex, InvalidResponse, ReadOnlyIndex,
		InvalidOperation, BufferTooSmall, InputTooLarge, InternalError,
	}, e)
}
