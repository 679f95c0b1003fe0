package state_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/enclave/state"
)

// body is a manifest's body as it stands on the disk.
type body struct {
	Number     uint64            `cbor:"1,keyasint"`
	Previous   [32]byte          `cbor:"2,keyasint"`
	Genesis    [32]byte          `cbor:"3,keyasint"`
	Time       int64             `cbor:"4,keyasint"`
	ServiceKey []byte            `cbor:"5,keyasint"`
	Acceptance *state.Acceptance `cbor:"6,keyasint"`
}

// draft is all that goes into one manifest's object.
type draft struct {
	body       body
	wrapped    []byte
	deployment string
	number     uint64   // in the additional data
	previous   [32]byte // in the additional data
	more       []byte   // after the CBOR
	length     int      // added to the true one
	padding    byte
	steps      int // of padding more than needed
}

// write seals a draft with the key, without any code of the product.
func (d draft) write(t *testing.T) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := mode.Marshal(d.body)
	if err != nil {
		t.Fatal(err)
	}
	plain = append(plain, d.more...)
	padded := binary.BigEndian.AppendUint32(nil, uint32(len(plain)+d.length))
	padded = append(padded, plain...)
	padded = append(padded, bytes.Repeat([]byte{d.padding}, -len(padded)&255+256*d.steps)...)

	data := append([]byte("cloister manifest v1\x00"), 0, 0, 0, byte(len(d.deployment)))
	data = append(data, d.deployment...)
	data = binary.BigEndian.AppendUint64(data, d.number)
	data = append(data, d.previous[:]...)

	salt := bytes.Repeat([]byte{byte(d.body.Number) + 1}, 32)
	key, err := hkdf.Key(sha512.New384, newVault(1).key, salt, "cloister state v1 key\x00", 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	raw := d.clear()
	return gcm.Seal(append(raw, salt...), make([]byte, 12), padded, data)
}

func (d draft) clear() []byte {
	raw := binary.BigEndian.AppendUint32([]byte("CLMAN1\n\x00"), uint32(len(d.wrapped)))
	return append(raw, d.wrapped...)
}

// first drafts a genesis.
func first() draft {
	d := draft{wrapped: newVault(1).wrapped, deployment: "colon-study"}
	d.previous = sha256.Sum256(d.clear())
	d.body = body{Previous: d.previous, Time: begin.UnixMilli(), ServiceKey: bytes.Repeat([]byte{5}, ed25519.SeedSize)}
	return d
}

// next drafts the manifest after another one.
func next(number uint64, genesis, previous []byte) draft {
	a := acceptance(int(number) - 1)
	return draft{
		deployment: "colon-study", number: number, previous: sha256.Sum256(previous),
		body: body{Number: number, Previous: sha256.Sum256(previous), Genesis: sha256.Sum256(genesis), Time: begin.UnixMilli(), Acceptance: &a},
	}
}

// TestForged has somebody with the key write the chain, which is the form on
// the disk written down a second time. Each field that isn't as it must be
// stops the enclave by itself.
func TestForged(t *testing.T) {
	type spoiled struct {
		name   string
		number int
		change func(d *draft)
	}
	cases := []spoiled{{"whole", 0, nil}}
	for number := range 3 {
		cases = append(cases,
			spoiled{"number in the body", number, func(d *draft) { d.body.Number++ }},
			spoiled{"number outside", number, func(d *draft) { d.number++ }},
			spoiled{"previous in the body", number, func(d *draft) { d.body.Previous[0]++ }},
			spoiled{"previous outside", number, func(d *draft) { d.previous[0]++ }},
			spoiled{"deployment", number, func(d *draft) { d.deployment = "other-study" }},
			spoiled{"bytes after the body", number, func(d *draft) { d.more = []byte{0} }},
			spoiled{"length too large", number, func(d *draft) { d.length = 1 << 20 }},
			spoiled{"length too small", number, func(d *draft) { d.length = -1 }},
			spoiled{"length of all", number, func(d *draft) { d.length = 1 }},
			spoiled{"padding not zero", number, func(d *draft) { d.padding = 1 }},
			spoiled{"a step too much", number, func(d *draft) { d.steps = 1 }},
			spoiled{"a huge object", number, func(d *draft) { d.steps = 256 }})
	}
	for number := 1; number < 3; number++ {
		cases = append(cases,
			spoiled{"genesis", number, func(d *draft) { d.body.Genesis[0]++ }},
			spoiled{"time back", number, func(d *draft) { d.body.Time-- }},
			spoiled{"service key", number, func(d *draft) { d.body.ServiceKey = bytes.Repeat([]byte{5}, 32) }},
			spoiled{"wrapped key", number, func(d *draft) { d.wrapped = newVault(1).wrapped }},
			spoiled{"no acceptance", number, func(d *draft) { d.body.Acceptance = nil }},
			spoiled{"no dataset", number, func(d *draft) { d.body.Acceptance.Dataset = "" }},
			spoiled{"negative count", number, func(d *draft) { d.body.Acceptance.Rejected = -1 }})
	}
	cases = append(cases,
		spoiled{"slot taken", 2, func(d *draft) { d.body.Acceptance.Sequence = 0 }},
		spoiled{"no service key", 0, func(d *draft) { d.body.ServiceKey = nil }},
		spoiled{"short service key", 0, func(d *draft) { d.body.ServiceKey = make([]byte, 31) }},
		spoiled{"acceptance in the first", 0, func(d *draft) { a := acceptance(0); d.body.Acceptance = &a }},
		spoiled{"no wrapped key", 0, func(d *draft) { d.wrapped = nil }})
	for _, tt := range cases {
		m := newMemory()
		var previous []byte
		for number := range 3 {
			d := first()
			if number > 0 {
				d = next(uint64(number), m.objects[manifest(0)], previous)
			}
			if tt.change != nil && tt.number == number {
				tt.change(&d)
			}
			previous = d.write(t)
			m.objects[manifest(number)] = previous
		}
		err := opens(t, m)
		if tt.change == nil && err != nil || tt.change != nil && !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("manifest %d, %s: %v", tt.number, tt.name, err)
		}
		if tt.change == nil {
			s := open(t, m)
			shows(t, s, 2)
			if !s.ServicePublicKey().Equal(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{5}, 32)).Public()) {
				t.Error("another service key")
			}
			add(t, s, 2)
		}
	}
}
