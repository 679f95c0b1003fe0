package receipt

import (
	"fmt"
	"slices"

	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// maxReport bounds an encoded report, in bytes.
	maxReport = 4 << 20
	// maxRejections bounds the rejections that a report lists; the counts
	// count all.
	maxRejections = limits.BatchRows
	// rejectionOverhead is the most that a rejection needs beside its texts:
	// four CBOR heads.
	rejectionOverhead = 16
)

// Report says what became of each record of an envelope. It travels sealed to
// the producer and holds no data value.
type Report struct {
	// Accepted and Rejected count records.
	Accepted int `cbor:"1,keyasint"`
	Rejected int `cbor:"2,keyasint"`
	// Rejections are in the order of the records, then of the fields.
	Rejections []Rejection `cbor:"3,keyasint"`
	// Truncated says that there were more rejections than the list holds.
	Truncated bool `cbor:"4,keyasint"`

	size int
}

// Rejection is one rule that one record broke.
type Rejection struct {
	_ struct{} `cbor:",toarray"`
	// Record counts from 0 in the envelope.
	Record int
	// Field is the column's name, as the producer wrote it.
	Field string
	// Rule is the contract's rule: required, type, minimum, maximum,
	// minLength, maxLength, pattern, enum, or unknown.
	Rule string
}

// Reject lists one broken rule, or notes that the list is full.
func (r *Report) Reject(record int, field, rule string) {
	size := r.size + len(field) + len(rule) + rejectionOverhead
	if r.Truncated || len(r.Rejections) == maxRejections || size > maxReport-1024 {
		r.Truncated = true
		return
	}
	r.size = size
	r.Rejections = append(r.Rejections, Rejection{Record: record, Field: field, Rule: rule})
}

// Encode answers the deterministic encoding, at most 4 MiB.
func (r *Report) Encode() ([]byte, error) {
	c := *r
	c.Rejections = slices.Clone(r.Rejections)
	if c.Rejections == nil {
		c.Rejections = []Rejection{} // null is no list
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	b, err := canonical.Marshal(&c)
	if err != nil {
		return nil, err
	}
	if len(b) > maxReport {
		return nil, fmt.Errorf("receipt: the report is larger than %d bytes", maxReport)
	}
	return b, nil
}

// DecodeReport reads what Encode wrote.
func DecodeReport(b []byte) (*Report, error) {
	if len(b) > maxReport {
		return nil, ErrMalformed
	}
	r := new(Report)
	if canonical.Unmarshal(b, maxRejections, r) != nil || r.Rejections == nil || r.check() != nil {
		return nil, ErrMalformed
	}
	return r, nil
}

func (r *Report) check() error {
	if r.Accepted < 0 || r.Rejected < 0 || r.Accepted > limits.BatchRows || r.Rejected > limits.BatchRows-r.Accepted {
		return fmt.Errorf("%w: counts", ErrMalformed)
	}
	for _, x := range r.Rejections {
		if x.Record < 0 || x.Record >= r.Accepted+r.Rejected || x.Field == "" || x.Rule == "" {
			return fmt.Errorf("%w: rejection", ErrMalformed)
		}
	}
	return nil
}
