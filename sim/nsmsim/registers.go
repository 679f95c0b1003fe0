package nsmsim

import (
	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
)

// bootLocked is the number of registers that are locked before the enclave
// starts.
const bootLocked = 16

// Registers with a meaning of their own (AWS Nitro Enclaves user guide,
// "Cryptographic attestation").
const (
	rolePCR     = 3
	instancePCR = 4
	signerPCR   = 8
)

// registers is the module's bank.
type registers struct {
	values [attestation.PCRCount]attestation.PCR
	locked [attestation.PCRCount]bool
}

// boot answers the bank as the enclave finds it.
func boot(c Config) registers {
	var r registers
	r.values[0], r.values[1], r.values[2] = c.Image.PCR0, c.Image.PCR1, c.Image.PCR2
	r.values[signerPCR] = c.Image.PCR8
	if c.Role != "" {
		r.values[rolePCR] = attestation.PCR{}.Extend([]byte(c.Role))
	}
	r.values[instancePCR] = attestation.PCR{}.Extend([]byte(c.Instance))
	if c.Debug {
		r = r.debug()
	}
	for i := range bootLocked {
		r.locked[i] = true
	}
	return r
}

// debug answers the bank of the same enclave in debug mode.
func (r registers) debug() registers {
	for _, i := range []int{0, 1, 2, signerPCR} {
		r.values[i] = attestation.PCR{}
	}
	return r
}

// extend answers the register's new value, or InvalidIndex or ReadOnlyIndex.
func (r *registers) extend(index uint16, data []byte) (attestation.PCR, error) {
	if err := r.writable(index); err != nil {
		return attestation.PCR{}, err
	}
	r.values[index] = r.values[index].Extend(data)
	return r.values[index], nil
}

func (r *registers) lock(index uint16) error {
	if err := r.writable(index); err != nil {
		return err
	}
	r.locked[index] = true
	return nil
}

// lockRange locks the registers 0 to n-1, whether or not they are locked.
func (r *registers) lockRange(n uint16) error {
	if n > attestation.PCRCount {
		return nsm.InvalidIndex
	}
	for i := range n {
		r.locked[i] = true
	}
	return nil
}

func (r *registers) describe(index uint16) (value attestation.PCR, locked bool, err error) {
	if index >= attestation.PCRCount {
		return attestation.PCR{}, false, nsm.InvalidIndex
	}
	return r.values[index], r.locked[index], nil
}

func (r *registers) writable(index uint16) error {
	if index >= attestation.PCRCount {
		return nsm.InvalidIndex
	}
	if r.locked[index] {
		return nsm.ReadOnlyIndex
	}
	return nil
}

// lockedIndexes answers the locked registers in ascending order.
func (r *registers) lockedIndexes() []uint16 {
	all := make([]uint16, 0, attestation.PCRCount)
	for i, locked := range r.locked {
		if locked {
			all = append(all, uint16(i))
		}
	}
	return all
}
