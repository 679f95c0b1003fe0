package arrowform

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/cloisterhq/cloister/internal/answer"
)

// version is the value of keyForm.
const version = "1"

// The keys of a schema's metadata: all of them, each once.
const (
	keyForm       = "cloister.answer"
	keyMode       = "cloister.mode"
	keyProtected  = "cloister.protected_against_differencing"
	keyDataset    = "cloister.dataset"
	keySnapshot   = "cloister.snapshot"
	keyFloor      = "cloister.floor"
	keySuppressed = "cloister.suppressed"
	keyAuditID    = "cloister.audit_id"
	keyGenesis    = "cloister.genesis"
	keyManifest   = "cloister.manifest"
	keyQuery      = "cloister.query"
	keySignature  = "cloister.signature"
)

const (
	// maxKeys is how many keys there are.
	maxKeys = 12
	// maxValue bounds one value, in bytes; maxSignature one before base64.
	maxValue     = 4 << 10
	maxSignature = 1 << 10
)

// writeMetadata writes everything of an answer but columns and rows.
func writeMetadata(a *answer.Answer, signature []byte) arrow.Metadata {
	return arrow.NewMetadata(
		[]string{
			keyForm, keyMode, keyProtected, keyDataset, keySnapshot, keyFloor,
			keySuppressed, keyAuditID, keyGenesis, keyManifest, keyQuery, keySignature,
		},
		[]string{
			version, a.Mode, strconv.FormatBool(a.Protected), a.Dataset, strconv.FormatUint(a.Snapshot, 10), strconv.Itoa(a.Floor),
			strconv.FormatBool(a.Suppressed), a.AuditID, hex.EncodeToString(a.Genesis[:]), strconv.FormatUint(a.Manifest, 10),
			hex.EncodeToString(a.Query[:]), base64.StdEncoding.EncodeToString(signature),
		})
}

// readMetadata reads what writeMetadata writes and nothing else.
func readMetadata(m arrow.Metadata) (*answer.Answer, []byte, error) {
	if m.Len() != maxKeys {
		return nil, nil, ErrForm
	}
	r := reader{values: make(map[string]string, maxKeys)}
	for i, key := range m.Keys() {
		if _, twice := r.values[key]; twice || len(m.Values()[i]) > maxValue {
			return nil, nil, ErrForm
		}
		r.values[key] = m.Values()[i]
	}
	if r.text(keyForm) != version {
		return nil, nil, ErrForm
	}
	a := &answer.Answer{
		Mode: r.text(keyMode), Protected: r.boolean(keyProtected), Dataset: r.text(keyDataset), Snapshot: r.unsigned(keySnapshot),
		Floor: r.integer(keyFloor), Suppressed: r.boolean(keySuppressed), AuditID: r.text(keyAuditID),
		Genesis: r.hash(keyGenesis), Manifest: r.unsigned(keyManifest), Query: r.hash(keyQuery),
	}
	signature := r.bytes(keySignature)
	if r.bad {
		return nil, nil, ErrForm
	}
	return a, signature, nil
}

// reader reads values in their one spelling and remembers whether all were.
type reader struct {
	values map[string]string
	bad    bool
}

func (r *reader) text(key string) string {
	s, ok := r.values[key]
	r.check(ok)
	return s
}

func (r *reader) boolean(key string) bool {
	s := r.text(key)
	r.check(s == "true" || s == "false")
	return s == "true"
}

func (r *reader) unsigned(key string) uint64 {
	s := r.text(key)
	n, err := strconv.ParseUint(s, 10, 64)
	r.check(err == nil && strconv.FormatUint(n, 10) == s)
	return n
}

func (r *reader) integer(key string) int {
	s := r.text(key)
	n, err := strconv.Atoi(s)
	r.check(err == nil && strconv.Itoa(n) == s)
	return n
}

func (r *reader) hash(key string) [32]byte {
	var h [32]byte
	s := r.text(key)
	if len(s) != hex.EncodedLen(len(h)) {
		r.check(false)
		return h
	}
	_, err := hex.Decode(h[:], []byte(s))
	r.check(err == nil && hex.EncodeToString(h[:]) == s)
	return h
}

func (r *reader) bytes(key string) []byte {
	s := r.text(key)
	b, err := base64.StdEncoding.DecodeString(s)
	r.check(err == nil && base64.StdEncoding.EncodeToString(b) == s)
	return b
}

func (r *reader) check(ok bool) { r.bad = r.bad || !ok }
