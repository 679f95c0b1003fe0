// Package report is what the probe, a small init in a virtual machine, tells
// the tests of what it finds there. It trusts nobody; the tests compare it with
// what they know of the machine.
package report

import "time"

// Ports of the host that the probe connects to, and of the probe.
const (
	// Host takes one Report in JSON. When it closes the connection the probe
	// restarts the machine.
	Host uint32 = 7000
	// HostEcho sends back what it gets; so does GuestEcho in the guest.
	HostEcho  uint32 = 7001
	GuestEcho uint32 = 7002
	// Nobody is a port without a listener, at both ends.
	Nobody uint32 = 7003
)

// Size is how much an echo carries, in bytes.
const Size = 8 << 20

// Report is everything that the probe finds.
type Report struct {
	PID         int
	CommandLine string
	// Drivers has the kernel's driver of each virtio device, by the device's id.
	Drivers map[string]string
	// Entropy and Clock are the kernel's sources of random numbers and of time.
	Entropy, Clock string
	// Files says which device files there are.
	Files []string
	// CID is the machine's own.
	CID uint32
	// Registers are all that the module describes.
	Registers []Register
	// Refusals has the module's answer to what it must refuse, by the attempt.
	Refusals map[string]string
	// Extended is register 16 after an extension by "probe".
	Extended string
	// Random is two answers to GetRandom.
	Random [2][]byte
	// Document is an attestation document over Nonce, UserData and PublicKey.
	Document []byte
	// Echoes has what went wrong with an echo by the host's CID, or "".
	Echoes map[uint32]string
	// Refused is how a connection to a port without a listener ended, and when.
	Refused      string
	RefusedAfter time.Duration
	// Elsewhere is how a connection to another machine than the host ended.
	Elsewhere string
	// Wrong is what kept the probe from finding out more.
	Wrong string
}

// Register is one of the module's.
type Register struct {
	Index  int
	Value  string
	Locked bool
}

// What the probe asks to be put into its document.
const (
	Nonce     = "the probe's nonce, of 32 bytes..."
	UserData  = "the probe's user data"
	PublicKey = "the probe's public key"
)

// Bytes answers n bytes that look like nothing and are always the same.
func Bytes(n int) []byte {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}
