package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// version is that of every file's form.
const version = 1

// idSize is the length of a stream's directory name: half of a SHA-256 in hex.
const idSize = 32

// Info says whose stream it is and of which input. It is stream.json.
type Info struct {
	// Version is 1.
	Version int `json:"version"`
	// Deployment, Dataset, Producer and Stream identify the stream.
	Deployment string `json:"deployment"`
	Dataset    string `json:"dataset"`
	Producer   string `json:"producer"`
	Stream     string `json:"stream"`
	// Input is "sha256:" and the hash of the input in hex, and Format how it
	// was read: the same numbers always mean the same records.
	Input  string `json:"input"`
	Format string `json:"format"`
	// Records is the number of records in the input.
	Records int `json:"records"`
	// Told says that the final totals were shown: from then on the same input
	// is a repetition.
	Told bool `json:"told"`
}

// id names the stream's directory: the first half of the SHA-256 over
// deployment, dataset, producer and stream, each after its length (4 bytes,
// big endian), in hex.
func (i Info) id() string {
	h := sha256.New()
	for _, part := range []string{i.Deployment, i.Dataset, i.Producer, i.Stream} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))) //nolint:gosec // parts are short
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))[:idSize]
}

func isID(name string) bool {
	_, err := hex.DecodeString(name)
	return err == nil && len(name) == idSize
}

// same says whether another run's info is of the same stream and input.
func (i Info) same(other Info) error {
	if i.id() != other.id() {
		return fmt.Errorf("%w: %s is of another stream", ErrDamaged, infoFile)
	}
	if i.Input != other.Input || i.Format != other.Format || i.Records != other.Records {
		return ErrOtherInput
	}
	return nil
}

// write makes stream.json durable.
func (i Info) write(dir string) error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return writeFile(dir, infoFile, append(b, '\n'))
}

// readInfo reads stream.json. An error of the file system stays what it is.
func readInfo(dir string) (Info, error) {
	path := filepath.Join(dir, infoFile)
	b, err := readFile(path, maxInfo)
	if err != nil {
		return Info{}, err
	}
	i, err := parseInfo(b)
	if err == nil && i.id() != filepath.Base(dir) {
		err = fmt.Errorf("%w: of another stream", ErrDamaged)
	}
	if err != nil {
		return Info{}, fmt.Errorf("spool: %s: %w", path, err)
	}
	return i, nil
}

func parseInfo(b []byte) (Info, error) {
	var i Info
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&i); err != nil || len(bytes.TrimSpace(b[dec.InputOffset():])) > 0 {
		return Info{}, fmt.Errorf("%w: not a stream's description", ErrDamaged)
	}
	if i.Version != version || i.Records < 0 || i.Stream == "" {
		return Info{}, fmt.Errorf("%w: not a stream's description of version %d", ErrDamaged, version)
	}
	return i, nil
}
