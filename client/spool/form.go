package spool

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
)

// A file of sealed/ or receipts/ is a magic of 8 bytes, a CBOR map in the core
// deterministic encoding (RFC 8949, section 4.2.1), and the SHA-256 of all
// before it. The maps' keys are those of batchForm and heldForm.
const (
	batchMagic = "CLSPL1\n\x00"
	heldMagic  = "CLHLD1\n\x00"

	reportKeySize = 32
	// maxRecord bounds record numbers, so that sums of them don't overflow.
	maxRecord = 1 << 48
)

// Batch is a sealed batch without a receipt.
type Batch struct {
	// Sequence is its number in the stream, from 0.
	Sequence uint64
	// First is the number, in the input, of its first record; Rows is how many
	// there are.
	First, Rows int
	// ReportKey opens the enclave's report on the batch.
	ReportKey secret.Bytes
	// Envelope is what travels, at most limits.Envelope bytes.
	Envelope []byte
}

// Held is a batch whose receipt was checked.
type Held struct {
	// Sequence, First, Rows and ReportKey are the batch's.
	Sequence    uint64
	First, Rows int
	ReportKey   secret.Bytes
	// Digest is the SHA-256 of the envelope.
	Digest [32]byte
	// Receipt is the enclave's signed receipt, Report the sealed report that
	// it names.
	Receipt, Report []byte
	// ServiceKey is the enclave's Ed25519 key by which the receipt was checked.
	ServiceKey []byte
}

type batchForm struct {
	Version   uint   `cbor:"1,keyasint"`
	Sequence  uint64 `cbor:"2,keyasint"`
	First     uint64 `cbor:"3,keyasint"`
	Rows      uint64 `cbor:"4,keyasint"`
	ReportKey []byte `cbor:"5,keyasint"`
	Envelope  []byte `cbor:"6,keyasint"`
}

type heldForm struct {
	Version    uint     `cbor:"1,keyasint"`
	Sequence   uint64   `cbor:"2,keyasint"`
	First      uint64   `cbor:"3,keyasint"`
	Rows       uint64   `cbor:"4,keyasint"`
	ReportKey  []byte   `cbor:"5,keyasint"`
	Digest     [32]byte `cbor:"6,keyasint"`
	Receipt    []byte   `cbor:"7,keyasint"`
	Report     []byte   `cbor:"8,keyasint"`
	ServiceKey []byte   `cbor:"9,keyasint"`
}

// Encode answers the form of a file in sealed/.
func (b *Batch) Encode() ([]byte, error) {
	if err := checkCounts(b.Sequence, uint64(b.First), uint64(b.Rows), b.ReportKey.Expose()); err != nil {
		return nil, err
	}
	if len(b.Envelope) == 0 || len(b.Envelope) > limits.Envelope {
		return nil, fmt.Errorf("spool: an envelope has 1 to %d bytes", limits.Envelope)
	}
	return frame(batchMagic, &batchForm{version, b.Sequence, uint64(b.First), uint64(b.Rows), b.ReportKey.Expose(), b.Envelope})
}

// ParseBatch reads what Encode wrote; everything else is ErrDamaged.
func ParseBatch(raw []byte) (*Batch, error) {
	var f batchForm
	if err := unframe(raw, batchMagic, &f); err != nil {
		return nil, err
	}
	if f.Version != version || checkCounts(f.Sequence, f.First, f.Rows, f.ReportKey) != nil || len(f.Envelope) == 0 || len(f.Envelope) > limits.Envelope {
		return nil, fmt.Errorf("%w: not a sealed batch of version %d", ErrDamaged, version)
	}
	return &Batch{f.Sequence, int(f.First), int(f.Rows), secret.New(f.ReportKey), f.Envelope}, nil
}

// Encode answers the form of a file in receipts/.
func (h *Held) Encode() ([]byte, error) {
	if err := checkCounts(h.Sequence, uint64(h.First), uint64(h.Rows), h.ReportKey.Expose()); err != nil {
		return nil, err
	}
	return frame(heldMagic, &heldForm{version, h.Sequence, uint64(h.First), uint64(h.Rows), h.ReportKey.Expose(), h.Digest, h.Receipt, h.Report, h.ServiceKey})
}

// ParseHeld reads what Encode wrote; everything else is ErrDamaged.
func ParseHeld(raw []byte) (*Held, error) {
	var f heldForm
	if err := unframe(raw, heldMagic, &f); err != nil {
		return nil, err
	}
	if f.Version != version || checkCounts(f.Sequence, f.First, f.Rows, f.ReportKey) != nil {
		return nil, fmt.Errorf("%w: not a held receipt of version %d", ErrDamaged, version)
	}
	return &Held{f.Sequence, int(f.First), int(f.Rows), secret.New(f.ReportKey), f.Digest, f.Receipt, f.Report, f.ServiceKey}, nil
}

func checkCounts(sequence, first, rows uint64, key []byte) error {
	if sequence >= MaxBatches || first > maxRecord || rows == 0 || rows > limits.BatchRows || len(key) != reportKeySize {
		return fmt.Errorf("spool: a batch that no stream has")
	}
	return nil
}

// frame puts magic and checksum around a form.
func frame(magic string, form any) ([]byte, error) {
	body, err := canonical.Marshal(form)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	raw := append([]byte(magic), body...)
	sum := sha256.Sum256(raw)
	if raw = append(raw, sum[:]...); len(raw) > maxFile {
		return nil, fmt.Errorf("spool: a file of more than %d bytes", maxFile)
	}
	return raw, nil
}

// unframe checks the checksum before it looks at anything else.
func unframe(raw []byte, magic string, form any) error {
	if len(raw) < len(magic)+sha256.Size || len(raw) > maxFile {
		return fmt.Errorf("%w: size", ErrDamaged)
	}
	end := len(raw) - sha256.Size
	if sum := sha256.Sum256(raw[:end]); !bytes.Equal(sum[:], raw[end:]) {
		return fmt.Errorf("%w: checksum", ErrDamaged)
	}
	if string(raw[:len(magic)]) != magic || canonical.Unmarshal(raw[len(magic):end], 16, form) != nil {
		return fmt.Errorf("%w: another form", ErrDamaged)
	}
	return nil
}
