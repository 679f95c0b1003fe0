package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"

	"github.com/cloisterhq/cloister/client/spool"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/receipt"
)

// Rejection is one rule that one record broke: the record's number in the
// input, from 0, the field and the rule. Never a value.
type Rejection struct {
	Record int    `json:"record"`
	Field  string `json:"field"`
	Rule   string `json:"rule"`
}

// Summary counts the records of one stream. Sent is the sum of Accepted,
// Rejected, Pending and Repeated.
type Summary struct {
	Dataset string
	Stream  string
	// Sent counts records that the gateway has stored.
	Sent int
	// Accepted counts records that the enclave has taken, in this run or in an
	// earlier one that didn't come to tell.
	Accepted int
	// Rejected counts records that broke a rule.
	Rejected int
	// Pending counts records without a receipt.
	Pending int
	// Repeated counts records that were accepted and told of before.
	Repeated int
	// Records is the number of records of the input. When it is more than Sent,
	// the submission isn't complete.
	Records int
	// Receipts are in the order of their numbers.
	Receipts []Receipted
	// Bytes is how much sealed data was carried by this run.
	Bytes int64
	// Truncated says that the enclave's reports don't list all rejections.
	Truncated bool

	spool *spool.Spool
	held  *spool.Stream
}

// Receipted is a batch with the enclave's receipt on it.
type Receipted struct {
	Sequence uint64 `json:"sequence"`
	Envelope string `json:"envelope"`
	Manifest uint64 `json:"manifest"`
	Repeat   bool   `json:"repeat,omitempty"`
	// Receipt is the signed receipt, as docs/spec/receipt.md describes it.
	Receipt []byte `json:"receipt"`
}

// Complete says that every record of the input was sent and has a receipt.
func (s *Summary) Complete() bool { return s.Sent == s.Records && s.Pending == 0 }

// Rejections reads the rejections of all batches that have receipts, in the
// order of the records, from the spool's copy of the enclave's reports.
func (s *Summary) Rejections() iter.Seq2[Rejection, error] {
	return func(yield func(Rejection, error) bool) {
		if s.held == nil {
			return
		}
		for n := range s.held.Len() {
			if !s.held.Has(n) {
				continue
			}
			h, err := s.held.Held(n)
			var report *receipt.Report
			if err == nil {
				report, err = openReport(h)
			}
			if err != nil {
				yield(Rejection{}, spoolError(s.spool.Dir(), err))
				return
			}
			for _, x := range report.Rejections {
				if !yield(Rejection{Record: h.First + x.Record, Field: x.Field, Rule: x.Rule}, nil) {
					return
				}
			}
		}
	}
}

// Told notes that the user has seen the totals. When they are complete, the
// same input is a repetition from then on; until then each run tells them anew,
// so that a run which ended too early loses nothing.
func (s *Summary) Told(ctx context.Context) error {
	if s.held == nil || !s.Complete() || s.held.Info().Told {
		return nil
	}
	st, err := s.spool.Begin(ctx, s.held.Info(), 0)
	if errors.Is(err, spool.ErrBusy) {
		return nil // that run will tell
	}
	if err != nil {
		return spoolError(s.spool.Dir(), err)
	}
	defer st.Close()
	return spoolError(s.spool.Dir(), st.Tell())
}

// outcome is what became of one batch.
type outcome struct {
	rows    int
	report  *receipt.Report // counts only; nil while the batch is pending
	repeat  bool
	receipt Receipted
}

// add counts one batch of a stream whose totals were told of before, or not.
func (s *Summary) add(o outcome, told bool) {
	s.Sent += o.rows
	switch {
	case o.report == nil:
		s.Pending += o.rows
		return
	case o.repeat || told:
		s.Repeated += o.report.Accepted
	default:
		s.Accepted += o.report.Accepted
	}
	s.Rejected += o.report.Rejected
	s.Truncated = s.Truncated || o.report.Truncated
	s.Receipts = append(s.Receipts, o.receipt)
}

// openReport opens the report of a batch that has a receipt.
func openReport(h *spool.Held) (*receipt.Report, error) {
	plain, err := envelope.OpenReport(h.ReportKey, h.Digest, h.Report)
	if err != nil {
		return nil, fmt.Errorf("the report on rejected records: %w", err)
	}
	report, err := receipt.DecodeReport(plain)
	if err != nil {
		return nil, fmt.Errorf("the report on rejected records: %w", err)
	}
	if report.Accepted+report.Rejected != h.Rows {
		return nil, errors.New("the report counts other records than were sent")
	}
	return report, nil
}

// receipted is a checked receipt for people.
func receipted(r *receipt.Receipt, raw []byte) Receipted {
	return Receipted{Sequence: r.Sequence, Envelope: hex.EncodeToString(r.Envelope[:]), Manifest: r.Manifest, Repeat: r.Repeat, Receipt: raw}
}
