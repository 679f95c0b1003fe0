package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/receipt"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// ErrUsage marks an error of the caller's own making.
var ErrUsage = errors.New("usage")

// batchBytes is about how much content one envelope gets at most, in bytes.
const batchBytes = 4 << 20

// Submission is one file's worth of records.
type Submission struct {
	Dataset string
	// Stream names the submission; `sha256:` of the input when empty. The same
	// stream and sequence number never counts twice.
	Stream string
	Format Format
	Input  io.Reader
	// Progress is called after each batch; nil for none.
	Progress func(Summary)
}

// Rejection is one record that the enclave didn't take: its number in the
// input, from 0, the field and the rule. Never a value.
type Rejection struct {
	Record int    `json:"record"`
	Field  string `json:"field"`
	Rule   string `json:"rule"`
}

// Summary counts records.
type Summary struct {
	Stream     string
	Sent       int
	Accepted   int
	Rejected   int
	Pending    int
	Repeated   int
	Rejections []Rejection
	Receipts   []Receipted
	// Bytes is how much sealed data was carried.
	Bytes int64
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

// RefusedError says that the enclave refused an envelope as a whole.
type RefusedError struct{ Reason string }

// Error says why, in the enclave's constant phrase.
func (e *RefusedError) Error() string { return "the enclave refused the batch: " + e.Reason }

// Submit verifies the enclave, seals the input's records batch by batch and
// hands them to the gateway. What it answers next to an error is true as far
// as it got.
func (c *Client) Submit(ctx context.Context, s Submission) (Summary, error) {
	peer, err := c.unlocked(ctx)
	if err != nil {
		return Summary{}, err
	}
	if s.Stream == "" {
		input, stream, done, err := named(s.Input)
		if err != nil {
			return Summary{}, err
		}
		defer done()
		s.Input, s.Stream = input, stream
	}
	sum := Summary{Stream: s.Stream}
	d, ok := peer.Bundle.Dataset(s.Dataset)
	if !ok {
		return sum, fmt.Errorf("%w: deployment %s has no such dataset; see `cloister datasets`", ErrUsage, peer.Bundle.Deployment)
	}
	reader, err := newRecordReader(s.Input, s.Format, &d.Contract)
	if err != nil {
		return sum, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	sealer, err := c.NewSealer(ctx, peer.Bundle, s.Dataset, s.Stream)
	if err != nil {
		return sum, err
	}
	defer sealer.Close()
	gateway, err := c.Gateway()
	if err != nil {
		return sum, err
	}
	defer gateway.Close()
	for sequence := uint64(0); ; sequence++ {
		batch, last, err := nextBatch(reader)
		if err != nil {
			return sum, fmt.Errorf("%w: %w", ErrUsage, err)
		}
		if len(batch) > 0 {
			sealed, err := sealer.Seal(sequence, batch)
			if err != nil {
				return sum, err
			}
			if err := gateway.carry(ctx, sealed, sequence, peer, &sum); err != nil {
				return sum, err
			}
		}
		if s.Progress != nil {
			s.Progress(sum)
		}
		if last {
			return sum, nil
		}
	}
}

// nextBatch reads records until a batch is full or the input ends.
func nextBatch(r recordReader) (batch []columns.Record, last bool, err error) {
	size := 0
	for len(batch) < limits.BatchRows && size < batchBytes {
		record, err := r.next()
		if errors.Is(err, io.EOF) {
			return batch, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		batch = append(batch, record)
		size += columns.Size(record)
	}
	return batch, false, nil
}

// named finds the stream name of an input: the SHA-256 of its bytes. An input
// that can't be read twice is copied to a temporary file first.
func named(r io.Reader) (io.Reader, string, func(), error) {
	done := func() {}
	seeker, ok := r.(io.ReadSeeker)
	if ok {
		_, err := seeker.Seek(0, io.SeekStart)
		ok = err == nil
	}
	h := sha256.New()
	if !ok {
		f, err := os.CreateTemp("", "cloister-submit-*")
		if err != nil {
			return nil, "", done, err
		}
		_ = os.Remove(f.Name())
		done = func() { f.Close() }
		if _, err := io.Copy(f, r); err != nil {
			return nil, "", done, err
		}
		seeker = f
		if _, err := seeker.Seek(0, io.SeekStart); err != nil {
			return nil, "", done, err
		}
	}
	if _, err := io.Copy(h, seeker); err != nil {
		return nil, "", done, err
	}
	if _, err := seeker.Seek(0, io.SeekStart); err != nil {
		return nil, "", done, err
	}
	return seeker, "sha256:" + hex.EncodeToString(h.Sum(nil)), done, nil
}

// Gateway is a connection to the parent's front door. It sees sealed bytes.
type Gateway struct {
	conn   *grpc.ClientConn
	client cloisterv1.GatewayClient
	wait   time.Duration
}

// Gateway connects to the context's gateway.
func (c *Client) Gateway() (*Gateway, error) {
	conn, err := grpc.NewClient("passthrough:///"+c.config.Gateway,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(limits.Message), grpc.MaxCallRecvMsgSize(limits.Message)))
	if err != nil {
		return nil, fmt.Errorf("%w: gateway: %w", ErrUnreachable, err)
	}
	return &Gateway{conn: conn, client: cloisterv1.NewGatewayClient(conn), wait: c.Wait}, nil
}

// Close ends the connection.
func (g *Gateway) Close() error { return g.conn.Close() }

// Submit hands over one envelope as it is and waits a while for its receipt.
func (g *Gateway) Submit(ctx context.Context, raw []byte) (*cloisterv1.SubmitResponse, error) {
	deadline := time.Now().Add(g.wait)
	var resp *cloisterv1.SubmitResponse
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		var err error
		if resp == nil {
			resp, err = g.client.Submit(ctx, &cloisterv1.SubmitRequest{Envelope: raw})
		} else if again, lookup := g.client.Receipt(ctx, &cloisterv1.ReceiptRequest{Digest: resp.GetDigest()}); lookup == nil {
			resp = again
		}
		if err == nil && resp.GetState() != cloisterv1.SubmitResponse_STATE_PENDING {
			return resp, nil
		}
		if code := status.Code(err); err != nil && code != codes.Unavailable && code != codes.ResourceExhausted {
			return nil, fmt.Errorf("gateway: %s", status.Convert(err).Message())
		}
		if time.Now().Add(pause).After(deadline) {
			if err != nil {
				return nil, fmt.Errorf("%w: gateway: %s", ErrUnreachable, status.Convert(err).Message())
			}
			return resp, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// carry submits one sealed batch and counts what became of it.
func (g *Gateway) carry(ctx context.Context, s *Sealed, sequence uint64, peer *attls.Peer, sum *Summary) error {
	resp, err := g.Submit(ctx, s.Envelope)
	if err != nil {
		return err
	}
	base := sum.Sent
	sum.Sent += s.Rows
	sum.Bytes += int64(len(s.Envelope))
	switch resp.GetState() {
	case cloisterv1.SubmitResponse_STATE_PENDING:
		sum.Pending += s.Rows
		return nil
	case cloisterv1.SubmitResponse_STATE_RECEIPTED:
		return sum.count(s, sequence, base, resp, peer)
	case cloisterv1.SubmitResponse_STATE_REFUSED:
		return &RefusedError{Reason: resp.GetRefusal()}
	default:
		return errors.New("the gateway answered something else than pending, receipt or refusal")
	}
}

// count checks the receipt and the sealed report of a batch, then adds them.
func (sum *Summary) count(s *Sealed, sequence uint64, base int, resp *cloisterv1.SubmitResponse, peer *attls.Peer) error {
	r, err := receipt.Verify(resp.GetReceipt(), peer.ServiceKey)
	if err != nil {
		return fmt.Errorf("the receipt isn't the enclave's: %w", err)
	}
	if !bytes.Equal(r.Genesis[:], peer.Genesis) || r.Deployment != peer.Bundle.Deployment {
		return errors.New("the receipt is from another state than the enclave's")
	}
	if r.Envelope != s.Digest || r.Sequence != sequence || r.Stream != sum.Stream || r.Report != sha256.Sum256(resp.GetReport()) {
		return errors.New("the receipt is for another batch")
	}
	plain, err := envelope.OpenReport(s.reportKey, s.Digest, resp.GetReport())
	if err != nil {
		return fmt.Errorf("the report on rejected records: %w", err)
	}
	report, err := receipt.DecodeReport(plain)
	if err != nil {
		return fmt.Errorf("the report on rejected records: %w", err)
	}
	if report.Accepted+report.Rejected != s.Rows {
		return errors.New("the report counts other records than were sent")
	}
	if r.Repeat {
		sum.Repeated += s.Rows
	} else {
		sum.Accepted += report.Accepted
	}
	sum.Rejected += report.Rejected
	for _, x := range report.Rejections {
		sum.Rejections = append(sum.Rejections, Rejection{Record: base + x.Record, Field: x.Field, Rule: x.Rule})
	}
	sum.Receipts = append(sum.Receipts, Receipted{
		Sequence: r.Sequence, Envelope: hex.EncodeToString(r.Envelope[:]), Manifest: r.Manifest, Repeat: r.Repeat, Receipt: resp.GetReceipt(),
	})
	return nil
}

func digest(raw []byte) [32]byte { return sha256.Sum256(raw) }
