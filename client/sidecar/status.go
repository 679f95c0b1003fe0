package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/client"
)

// maxMessage bounds a status message, in bytes, before it is escaped.
const maxMessage = 1 << 10

// reply answers a call with a status and nothing else: one block of headers
// that ends the stream ("Trailers-Only" of the gRPC over HTTP/2 protocol).
func reply(w http.ResponseWriter, code codes.Code, message string) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(int(code)))
	if message != "" {
		h.Set("Grpc-Message", escape(message))
	}
	w.WriteHeader(http.StatusOK)
}

// refuse says why a call didn't get through.
func refuse(w http.ResponseWriter, err error) {
	code, message := explain(err)
	reply(w, code, message)
}

// explain sorts errors as clients of gRPC do: what another try can't help is
// not Unavailable.
func explain(err error) (codes.Code, string) {
	var verdict *attestation.Error
	var token *client.TokenError
	var dial *dialError
	switch {
	case errors.As(err, &verdict):
		return codes.FailedPrecondition, "attestation refused: " + strings.TrimPrefix(verdict.Error(), "attestation: ")
	case errors.As(err, &token):
		return codes.Unauthenticated, token.Error()
	case errors.Is(err, context.Canceled):
		return codes.Canceled, "cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded, "the enclave didn't answer in time"
	case errors.As(err, &dial):
		return codes.Unavailable, dial.Error()
	default:
		return codes.Unavailable, "the connection to the enclave broke; try again"
	}
}

// escape percent-encodes a message for its header, as gRPC over HTTP/2 wants
// it, and cuts it at its limit.
func escape(message string) string {
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	var b strings.Builder
	for _, c := range []byte(message) {
		if c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// mend makes an answer that breaks off end with a status that says so.
// Without it clients get to see a reset stream and no reason.
func mend(resp *http.Response) error {
	if resp.Body != nil && resp.Body != http.NoBody {
		resp.Body = &mended{ReadCloser: resp.Body, response: resp}
	}
	return nil
}

type mended struct {
	io.ReadCloser
	response *http.Response
}

// Read reads; an error becomes the end with a status in the trailer.
func (m *mended) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	code, message := explain(err)
	m.response.Trailer = http.Header{"Grpc-Status": {strconv.Itoa(int(code))}, "Grpc-Message": {escape(message)}}
	return n, io.EOF
}
