package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	prefix  = "audit/"
	purpose = "audit"
	// maxCodes bounds the codes of an entry, maxCode the bytes of each.
	maxCodes = 64
	maxCode  = 64
	// maxName bounds the bytes of issuer, subject and dataset; tokens are
	// smaller.
	maxName = limits.Token
)

// Outcome is what was decided.
type Outcome string

// The outcomes.
const (
	// Answered says that the query may run. It is written before any data is
	// read, so the query may still have failed.
	Answered Outcome = "answered"
	// Refused says that the query didn't run.
	Refused Outcome = "refused"
)

// Entry is one decision, without data values and without a query's text.
type Entry struct {
	// Issuer and Subject name who asked, as the token did.
	Issuer  string `cbor:"1,keyasint"`
	Subject string `cbor:"2,keyasint"`
	// Dataset is the one asked about; empty when the query names none.
	Dataset string  `cbor:"3,keyasint"`
	Outcome Outcome `cbor:"4,keyasint"`
	// Codes are those of a refusal, such as PQ208_JOIN_UNIT_REQUIRED.
	Codes []string `cbor:"5,keyasint,omitempty"`
	// Fingerprint is the SHA-256 of the canonical plan of a query that compiled,
	// else of the text.
	Fingerprint [32]byte `cbor:"6,keyasint"`
}

// errEntry says that an entry can't be one, whoever wrote it.
var errEntry = errors.New("audit: not an entry")

func (e *Entry) check() error {
	if e.Outcome != Answered && e.Outcome != Refused || len(e.Codes) > maxCodes {
		return errEntry
	}
	for _, code := range e.Codes {
		if len(code) > maxCode || !utf8.ValidString(code) {
			return errEntry
		}
	}
	for _, name := range []string{e.Issuer, e.Subject, e.Dataset} {
		if len(name) > maxName || !utf8.ValidString(name) {
			return errEntry
		}
	}
	return nil
}

// Record is an entry as the log holds it.
type Record struct {
	// Number counts entries from 0.
	Number uint64
	// ID is what Append answered.
	ID string
	// Time is when it was written, in milliseconds since the epoch, never before
	// that of the entry before.
	Time  int64
	Entry Entry
}

// stored is the sealed form of an entry.
type stored struct {
	Number uint64 `cbor:"1,keyasint"`
	// Previous is the SHA-256 of the sealed entry before, zero for the first.
	Previous [32]byte `cbor:"2,keyasint"`
	Time     int64    `cbor:"3,keyasint"`
	Entry    Entry    `cbor:"4,keyasint"`
}

// entryName makes lexical order the order of numbers.
func entryName(number uint64) string { return fmt.Sprintf("%s%020d", prefix, number) }

func entryID(hash [32]byte) string { return hex.EncodeToString(hash[:16]) }

func encode(s *stored) ([]byte, error) {
	plain, err := canonical.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return plain, nil
}

// read opens the object that should be the entry with this number. Whether it
// follows the one before is for the caller to compare.
func (l *Log) read(number uint64, sealed []byte) (*stored, error) {
	plain, err := l.config.Sealer.Unseal(purpose, number, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: entry %d", ErrCorrupt, number)
	}
	s := new(stored)
	if canonical.Unmarshal(plain, maxCodes, s) != nil || s.Number != number || s.Entry.check() != nil {
		return nil, fmt.Errorf("%w: entry %d", ErrCorrupt, number)
	}
	return s, nil
}

// advance makes a durable entry the newest. The caller has the turn.
func (l *Log) advance(sealed []byte, time int64) {
	l.next, l.hash, l.time = l.next+1, sha256.Sum256(sealed), time
}
