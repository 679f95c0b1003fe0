package kmssim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

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
	// Slow answers after Config.Delay.
	Slow
	// Drop does the call and closes the connection without an answer.
	Drop
	// StaleBlob answers GenerateDataKey with the blob of the last one on the key.
	StaleBlob
	// Primitive is no fault: CiphertextForRecipient comes in the rarer form,
	// with primitive content, which KMS uses too.
	Primitive
)

// forgedByte fills the keys of a Forged answer.
const forgedByte = 0x46

// faultNames are the faults as ParseFaults reads them.
func faultNames() map[string]Fault {
	return map[string]Fault{
		"healthy": Healthy, "throttle": Throttle, "unavailable": Unavailable, "forged": Forged, "wrong-key-id": WrongKeyID, "plaintext-leak": PlaintextLeak,
		"wrong-recipient": WrongRecipient, "swapped-blob": SwappedBlob, "truncated": Truncated, "slow": Slow, "drop": Drop, "stale-blob": StaleBlob, "primitive": Primitive,
	}
}

// FaultNames answers what ParseFaults knows, in order.
func FaultNames() []string { return slices.Sorted(maps.Keys(faultNames())) }

// ParseFaults reads a plan of faults, such as "Decrypt=throttle/3,*=slow": every
// third Decrypt is throttled, all other operations are slow. Without a number
// each call has the fault; the first entry for an operation counts. What it
// answers is for Config.Faults.
func ParseFaults(plan string) (func(operation string) Fault, error) {
	type entry struct {
		operation string
		fault     Fault
		every     int
	}
	var entries []entry
	for part := range strings.SplitSeq(plan, ",") {
		operation, rest, ok := strings.Cut(strings.TrimSpace(part), "=")
		name, number, counted := strings.Cut(rest, "/")
		fault, known := faultNames()[name]
		e := entry{operation, fault, 1}
		if _, served := operations()[operation]; !ok || !known || !served && operation != "*" {
			return nil, fmt.Errorf("kmssim: fault %q: want OPERATION=FAULT or OPERATION=FAULT/N; the faults are %s", part, strings.Join(FaultNames(), ", "))
		}
		if counted {
			var err error
			if e.every, err = strconv.Atoi(number); err != nil || e.every < 1 {
				return nil, fmt.Errorf("kmssim: fault %q: the number says every how many calls", part)
			}
		}
		entries = append(entries, e)
	}
	var mu sync.Mutex
	calls := make([]int, len(entries))
	return func(operation string) Fault {
		mu.Lock()
		defer mu.Unlock()
		for i, e := range entries {
			if e.operation != operation && e.operation != "*" {
				continue
			}
			calls[i]++
			if calls[i]%e.every == 0 {
				return e.fault
			}
			return Healthy
		}
		return Healthy
	}, nil
}
