package attls

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// lengthSize is the size of a message's length, big endian, in bytes.
	lengthSize = 4
	// maxItems bounds the maps of messages.
	maxItems = 16
)

// errMessage says that bytes aren't a message of the exchange.
var errMessage = errors.New("attls: not a message of the exchange")

// request is the client's message.
type request struct {
	Version uint64 `cbor:"1,keyasint"`
	Nonce   []byte `cbor:"2,keyasint"`
}

// response is the server's message. Absent values are null.
type response struct {
	Version    uint64 `cbor:"1,keyasint"`
	Document   []byte `cbor:"2,keyasint"`
	Bundle     []byte `cbor:"3,keyasint"`
	ServiceKey []byte `cbor:"4,keyasint"`
	IntakeKey  []byte `cbor:"5,keyasint"`
	Genesis    []byte `cbor:"6,keyasint"`
}

// encodeRequest writes the client's message, its length included.
func encodeRequest(nonce []byte) ([]byte, error) {
	return frame(&request{Version: Version, Nonce: nonce}, limits.EvidenceRequest)
}

// parseRequest reads the client's message without its length and answers the
// nonce.
func parseRequest(body []byte) ([]byte, error) {
	var r request
	if len(body) > limits.EvidenceRequest || canonical.Unmarshal(body, maxItems, &r) != nil {
		return nil, errMessage
	}
	if r.Version != Version || len(r.Nonce) != NonceSize {
		return nil, errMessage
	}
	return r.Nonce, nil
}

// Encode writes the server's message as it travels, its length included.
func (e Evidence) Encode() ([]byte, error) {
	if !e.wellFormed() {
		return nil, errMessage
	}
	return frame(&response{
		Version: Version, Document: e.Document, Bundle: e.Bundle,
		ServiceKey: e.ServiceKey, IntakeKey: e.IntakeKey, Genesis: e.Genesis,
	}, limits.Evidence)
}

// ReadEvidence reads the server's message, as Peer.Evidence holds it or a file
// keeps it: one message, its length included, and nothing behind it. Nothing
// is verified. Refusals are *attestation.Error of the class Malformed.
func ReadEvidence(raw []byte) (Evidence, error) {
	if len(raw) < lengthSize || len(raw)-lengthSize > limits.Evidence ||
		uint64(binary.BigEndian.Uint32(raw)) != uint64(len(raw)-lengthSize) {
		return Evidence{}, malformed()
	}
	var r response
	if canonical.Unmarshal(raw[lengthSize:], maxItems, &r) != nil || r.Version != Version {
		return Evidence{}, malformed()
	}
	e := Evidence{
		Document: r.Document, Bundle: r.Bundle,
		ServiceKey: ed25519.PublicKey(r.ServiceKey), IntakeKey: r.IntakeKey, Genesis: r.Genesis,
	}
	if !e.wellFormed() {
		return Evidence{}, malformed()
	}
	return e, nil
}

// wellFormed checks the sizes of everything, and that the service key and the
// genesis come together.
func (e Evidence) wellFormed() bool {
	return len(e.Document) > 0 && len(e.Document) <= limits.Document &&
		len(e.Bundle) > 0 && len(e.Bundle) <= limits.Bundle &&
		absentOr(e.ServiceKey, ed25519.PublicKeySize) &&
		absentOr(e.IntakeKey, HashSize) &&
		absentOr(e.Genesis, HashSize) &&
		(e.ServiceKey == nil) == (e.Genesis == nil)
}

func absentOr(value []byte, size int) bool { return value == nil || len(value) == size }

// frame encodes a message and puts its length in front.
func frame(message any, limit int) ([]byte, error) {
	body, err := canonical.Marshal(message)
	if err != nil {
		return nil, err
	}
	if len(body) > limit {
		return nil, errMessage
	}
	raw := binary.BigEndian.AppendUint32(make([]byte, 0, lengthSize+len(body)), uint32(len(body))) //nolint:gosec // limit fits
	return append(raw, body...), nil
}

// readFrame reads one message, its length included, and not a byte more. The
// length is checked first, and memory grows only with what arrives.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var length [lengthSize]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExchange, err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if uint64(n) > uint64(limit) { //nolint:gosec // limits are positive
		return nil, errMessage
	}
	var b bytes.Buffer
	b.Write(length[:])
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%w: %w", ErrExchange, err)
	}
	return b.Bytes(), nil
}

// malformed is the refusal of a message that isn't one.
func malformed() error {
	return attestation.NewError(attestation.Malformed, "the peer's message isn't evidence of this exchange", nil)
}
