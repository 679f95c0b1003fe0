package client

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"io"
	"strings"

	"github.com/cloisterhq/cloister/client/spool"
	"github.com/cloisterhq/cloister/internal/intakekey"
)

// Submission is one file's worth of records.
type Submission struct {
	Dataset string
	// Stream names the submission; `sha256:` of the input when empty. The same
	// stream and sequence number never counts twice.
	Stream string
	Format Format
	// Key says where data keys come from; KeyKMS when empty.
	Key KeySource
	// Keys is the intake key for KeyIntake; nil fetches it from the enclave.
	Keys *intakekey.Set
	// Input is read twice if it can be, and else copied to a temporary file.
	Input io.Reader
	// Progress is called now and then, by one goroutine at a time; nil for none.
	Progress func(Progress)
}

// KeySource says where the data key of a stream comes from.
type KeySource string

// The sources of data keys.
const (
	// KeyKMS asks KMS with the producer's credentials.
	KeyKMS KeySource = "kms"
	// KeyIntake makes one and seals it to the enclave's intake key.
	KeyIntake KeySource = "intake"
)

// Progress says how far a submission is.
type Progress struct {
	// Checked of Size bytes of the input were read and checked. Nothing is
	// sealed before all of them were.
	Checked, Size int64
	// Summary counts what was sent; its Records are the input's. It has no
	// receipts yet.
	Summary Summary
	// Away says that the enclave is away: the pinned bundle is sealed under,
	// and no receipts will come for now.
	Away bool
}

// Submit checks the whole input, seals its records batch by batch, keeps each
// batch in the spool and hands it to the gateway. It does so under the bundle
// of a verified enclave, or under the pinned one while the enclave is away.
//
// What an earlier run has sealed for the same stream is sent as it is, or not
// at all when its receipt is there. After an error the same call goes on where
// this one stopped. What it answers next to an error is true as far as it got.
func (c *Client) Submit(ctx context.Context, s Submission) (Summary, error) {
	if s.Stream != "" && !isStream(s.Stream) {
		return Summary{}, mistakef("a stream's name has 1 to %d characters of ASCII, without spaces, quotes and backslashes", maxStream)
	}
	signer, err := c.signer()
	if err != nil {
		return Summary{}, err
	}
	sp, err := c.spool()
	if err != nil {
		return Summary{}, err
	}
	terms, err := c.terms(ctx)
	if err != nil {
		return Summary{}, err
	}
	d, ok := terms.bundle.Dataset(s.Dataset)
	if !ok {
		return Summary{}, mistakef("deployment %s has no such dataset; see `cloister datasets`", terms.bundle.Deployment)
	}
	if err := c.entitled(terms.bundle, s.Dataset, signer.Public().(ed25519.PublicKey)); err != nil {
		return Summary{}, err
	}
	if s.Keys != nil {
		if err := c.checkKeys(s.Keys, terms.bundle, terms.peer); err != nil {
			return Summary{}, err
		}
	}
	in, err := newInput(ctx, s.Input)
	if err != nil {
		return Summary{}, err
	}
	defer in.done()
	if s.Progress == nil {
		s.Progress = func(Progress) {}
	}
	j := &job{client: c, submission: s, terms: terms, dataset: d, input: in}
	if err := j.check(ctx); err != nil {
		return Summary{}, err
	}
	return j.submit(ctx, sp)
}

// maxStream is the longest name of a stream, in bytes (docs/spec/envelope.md).
const maxStream = 128

// isStream allows what an envelope's header allows.
func isStream(name string) bool {
	return len(name) <= maxStream && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'`\\", r) })
}

// signer loads the producer's key.
func (c *Client) signer() (ed25519.PrivateKey, error) {
	if c.config.Producer.Name == "" || c.config.Producer.KeyFile == "" {
		return nil, mistakef("the context names no producer with name and key_file")
	}
	signer, err := LoadSigningKey(c.config.path(c.config.Producer.KeyFile))
	if err != nil {
		return nil, mistakef("the key of producer %s: %w", c.config.Producer.Name, err)
	}
	return signer, nil
}

func digest(raw []byte) [32]byte { return sha256.Sum256(raw) }

// SpoolDir is the directory of sealed batches and receipts, empty when the
// context and the environment don't tell.
func (c *Client) SpoolDir() string {
	dir, err := c.config.spoolDir()
	if err != nil {
		return ""
	}
	return dir
}

// spool opens the context's spool.
func (c *Client) spool() (*spool.Spool, error) {
	dir, err := c.config.spoolDir()
	if err != nil {
		return nil, err
	}
	sp, err := spool.Open(dir)
	if err != nil {
		return nil, spoolError(dir, err)
	}
	return sp, nil
}
