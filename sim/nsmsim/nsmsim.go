// Package nsmsim is a simulated Nitro Secure Module: its registers, its
// refusals and its signed documents, on the bytes that /dev/nsm carries. It
// trusts its configuration and nothing in a request.
//
// Documents are signed under a root of the deployment's own, with the
// certificate profile of the real ones, so that the verifier that relying
// parties use runs as it is. What they prove is that the holder of the root's
// key, which is a file on this machine, said so.
//
// It differs from a real module in these ways, each on the strict side: a
// request with an unknown, missing or repeated field is InvalidOperation, as
// in QEMU's module; a field of a document over 1024 bytes is InputTooLarge;
// locking a register that is locked is ReadOnlyIndex.
package nsmsim

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/cloisterhq/cloister/attestation/nsm"
)

// Config says what a Device is.
type Config struct {
	// Root signs. Required.
	Root *Root
	// Image is what runs in the enclave. PCR0, PCR1 and PCR2 are required.
	Image Image
	// Now is the module's clock; nil is the machine's.
	Now func() time.Time
	// Instance is the parent's id, i-<hex>, which PCR4 measures. Empty makes a
	// random one.
	Instance string
	// Role is the ARN of the parent's IAM role, which PCR3 measures. Empty is no
	// role, and PCR3 zero.
	Role string
	// Debug is an enclave in debug mode: PCR0, PCR1, PCR2 and PCR8 are zero.
	Debug bool
	// Definite gives documents the payload map of a definite length that real
	// ones had until 2025.
	Definite bool
	// Faults answers what goes wrong with a request, by its name in the module's
	// interface; nil and Healthy are nothing.
	Faults func(request string) Fault
}

// Device is one enclave's module. It is safe for concurrent use and, like the
// driver, does one exchange at a time.
type Device struct {
	config   Config
	moduleID string
	permit   chan struct{} // holds an element while an exchange runs
	signer   *signer       // of whoever has the permit
	bank     registers     // of whoever has the permit
	ending   sync.Once
	ended    chan struct{}
}

// errClosed is what a closed module answers.
var errClosed = fmt.Errorf("nsmsim: %w", fs.ErrClosed)

var _ nsm.Device = (*Device)(nil)

// instanceForm is what verifiers take for an instance id.
var instanceForm = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)

// New starts a module with the registers 0 to 15 locked. It fails when the
// configuration lacks something required, and when the root isn't valid now.
func New(c Config) (*Device, error) {
	if c.Root == nil {
		return nil, errors.New("nsmsim: no root")
	}
	if c.Image.PCR0.IsZero() || c.Image.PCR1.IsZero() || c.Image.PCR2.IsZero() {
		return nil, errors.New("nsmsim: the image isn't measured")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Faults == nil {
		c.Faults = func(string) Fault { return Healthy }
	}
	if c.Instance == "" {
		c.Instance = "i-" + randomHex(17)
	}
	if !instanceForm.MatchString(c.Instance) {
		return nil, errors.New("nsmsim: an instance is i- and 8 to 17 hexadecimal digits")
	}
	d := &Device{
		config: c, moduleID: c.Instance + "-enc" + randomHex(16), bank: boot(c),
		permit: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	var err error
	if d.signer, err = newSigner(c.Root, c.Instance, d.moduleID, c.Now()); err != nil {
		return nil, err
	}
	return d, nil
}

// ModuleID names the enclave and its instance: i-<hex>-enc<hex>.
func (d *Device) ModuleID() string { return d.moduleID }

// Close ends the module. Exchanges that wait and later ones fail with
// fs.ErrClosed, and so does closing it twice.
func (d *Device) Close() error {
	err := errClosed
	d.ending.Do(func() {
		close(d.ended)
		err = nil
	})
	return err
}

// Exchange answers one request as the driver and the module do: EMSGSIZE for a
// request over [nsm.MaxRequest], and for everything else a response, which may
// be a refusal.
func (d *Device) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	select {
	case d.permit <- struct{}{}:
		defer func() { <-d.permit }()
	case <-d.ended:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select { // several were ready
	case <-d.ended:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	default:
	}
	if len(request) > nsm.MaxRequest {
		return nil, fmt.Errorf("nsmsim: %w", syscall.EMSGSIZE)
	}
	return d.answer(ctx, request)
}

// randomHex answers n random hexadecimal digits.
func randomHex(n int) string {
	b := make([]byte, (n+1)/2)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)[:n]
}
