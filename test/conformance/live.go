package conformance

import "time"

// Evidence is a document and what a verifier needs to accept it.
type Evidence struct {
	// Document is the document, binary.
	Document []byte
	// Root is the root in PEM, and Policy the policy file.
	Root, Policy []byte
}

// Live is a good document made at a time for a challenge, for what vectors can't
// hold: nonces and bindings of the moment. Nil values are null in the document.
func Live(now time.Time, nonce, userData []byte) Evidence {
	return Enclave{}.Attest(now, nonce, userData)
}

// Enclave says how an enclave differs from the good one.
type Enclave struct {
	// Label chooses other keys below the root; the good enclave's is empty.
	Label string
	// PCRs replace registers.
	PCRs map[int][]byte
	// Twin puts (r, n-s) in place of the signature (r, s).
	Twin bool
	// Full gives the certificates and the registers that real documents have, and
	// other vectors lack.
	Full bool
	// Age makes the leaf certificate so much older than the document.
	Age time.Duration
}

// Attest makes the enclave's document.
func (e Enclave) Attest(now time.Time, nonce, userData []byte) Evidence {
	p := newPKIAt("main", now.Add(-e.Age).Truncate(time.Second))
	if e.Label != "" {
		other := newPKIAt(e.Label, now.Add(-e.Age).Truncate(time.Second))
		copy(p[regional:], other[regional:])
	}
	if e.Full {
		p.identify()
	}
	d := newDocument(p)
	d.set("timestamp", wideHead(majorUint, uint64(now.UnixMilli())))
	pcrs := goodPCRs()
	for i := range 16 {
		if e.Full && pcrs[i] == nil {
			pcrs[i] = make([]byte, 48)
		}
	}
	for i, value := range e.PCRs {
		pcrs[i] = value
	}
	d.set("pcrs", registers(pcrs))
	for name, value := range map[string][]byte{"nonce": nonce, "user_data": userData} {
		if value != nil {
			d.set(name, cborBytes(value))
		}
	}
	if e.Twin {
		d.signature = func(raw []byte) []byte { return cborBytes(twin(raw)) }
	}
	return Evidence{Document: d.encode(), Root: p.rootPEM(), Policy: newPolicy(p).json()}
}
