package kmssim

// Fault is something that goes wrong with a call: what a forged, broken or
// overloaded KMS would answer. Clients must survive all of them.
type Fault int

const (
	// Healthy is no fault.
	Healthy Fault = iota
	// Throttle answers ThrottlingException.
	Throttle
	// Unavailable answers status 500, KMSInternalException.
	Unavailable
	// Forged encrypts a key of the forger's choice to the attested key: it is
	// well formed, since CiphertextForRecipient carries no signature.
	Forged
	// WrongKeyID names another key in the answer.
	WrongKeyID
	// PlaintextLeak puts Plaintext beside CiphertextForRecipient.
	PlaintextLeak
	// WrongRecipient names another recipient key in CiphertextForRecipient.
	WrongRecipient
	// SwappedBlob answers GenerateDataKey with a blob that wraps another key.
	SwappedBlob
	// Truncated cuts the body short and says that it is complete.
	Truncated
	// Primitive is no fault: CiphertextForRecipient comes in the rarer form,
	// with primitive content, which KMS uses too.
	Primitive
)

// forgedByte fills the keys of a Forged answer.
const forgedByte = 0x46
