package server

import (
	"crypto/rand"
	"encoding/hex"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/limits"
)

// maxStatement is the longest written statement, in bytes: its text, and as
// much again for each byte of its values, as quotes are doubled, with what
// stands around them.
const maxStatement = 3*limits.Query + 16<<10

// idMark begins the part of a written statement that names one execution. No
// literal begins with it.
const idMark = "#"

// statement is a query with the values of its placeholders. Written out it is
// a prepared statement's handle and what a ticket holds, so that the server
// keeps nothing between calls. It proves nothing: whoever presents one could
// have sent its text.
type statement struct {
	text  string
	bound []sql.Parameter
	// id names one execution, for cancelling it; empty for none.
	id string
}

// write answers the text, then each value as an SQL literal after a zero byte,
// then the id. The bytes before the id are those of answer.QueryDigest.
func (s statement) write() []byte {
	parts := append([]string{s.text}, sql.Literals(s.bound)...)
	if s.id != "" {
		parts = append(parts, idMark+s.id)
	}
	return []byte(strings.Join(parts, "\x00"))
}

// readStatement reads what write wrote.
func readStatement(written []byte) (statement, error) {
	if len(written) > maxStatement {
		return statement{}, errLong
	}
	parts := strings.Split(string(written), "\x00")
	s := statement{text: parts[0]}
	if len(s.text) > limits.Query {
		return statement{}, errLong
	}
	parts = parts[1:]
	if last := len(parts) - 1; last >= 0 && strings.HasPrefix(parts[last], idMark) {
		s.id, parts = parts[last][len(idMark):], parts[:last]
	}
	for _, literal := range parts {
		p, ok := sql.ParseParameter(literal)
		if !ok {
			return statement{}, status.Error(codes.InvalidArgument, "the statement's handle isn't one of this server")
		}
		s.bound = append(s.bound, p)
	}
	return s, nil
}

var errLong = status.Error(codes.InvalidArgument, "the query text is longer than 64 KiB")

// named answers the statement as one execution, unlike all others.
func (s statement) named() statement {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	s.id = hex.EncodeToString(b[:])
	return s
}
