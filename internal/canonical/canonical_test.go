package canonical_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/cloisterhq/cloister/internal/canonical"
)

type inner struct {
	_ struct{} `cbor:",toarray"`
	A int
	B string
}

type outer struct {
	Number uint64   `cbor:"1,keyasint"`
	Hash   [2]byte  `cbor:"2,keyasint"`
	List   []inner  `cbor:"3,keyasint"`
	Maybe  *inner   `cbor:"4,keyasint"`
	Bytes  []byte   `cbor:"5,keyasint"`
	_      struct{} `cbor:"-"`
}

func TestRoundTrip(t *testing.T) {
	b, err := canonical.Marshal(&outer{Number: 7, Hash: [2]byte{1, 2}, List: []inner{{A: -1, B: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(b), "a5010702420102038182206178"+"04f605f6"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var o outer
	if err := canonical.Unmarshal(b, 16, &o); err != nil || o.Number != 7 || o.List[0].B != "x" || o.Maybe != nil {
		t.Errorf("%+v: %v", o, err)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	cases := map[string]string{
		"empty":          "",
		"long head":      "a501180702420102038182206178" + "04f605f6",
		"indefinite map": "bf010702420102038182206178" + "04f605f6ff",
		"order":          "a5024201020107038182206178" + "04f605f6",
		"twice":          "a601070107024201020381822061780 4f605f6",
		"unknown":        "a6010702420102038182206178" + "04f605f60600",
		"missing":        "a4010702420102038182206178" + "04f6",
		"short hash":     "a50107024101038182206178" + "04f605f6",
		"long hash":      "a50107024301020303818220617804f605f6",
		"tag":            "a501c107024201020381822061780 4f605f6",
		"trailing":       "a501070242010203818220617804f605f600",
		"long array":     "a50107024201020391" + "04f605f6",
		"wrong type":     "8101",
	}
	for name, text := range cases {
		raw, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(text), []byte(" "), nil)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := canonical.Unmarshal(raw, 16, new(outer)); !errors.Is(err, canonical.ErrForm) {
			t.Errorf("%s: %v, want ErrForm", name, err)
		}
	}
}

func TestItemsAreBounded(t *testing.T) {
	b, err := canonical.Marshal(&outer{List: make([]inner, 100)})
	if err != nil {
		t.Fatal(err)
	}
	if err := canonical.Unmarshal(b, 99, new(outer)); !errors.Is(err, canonical.ErrForm) {
		t.Errorf("100 items with a limit of 99: %v", err)
	}
	if err := canonical.Unmarshal(b, 100, new(outer)); err != nil {
		t.Errorf("100 items with a limit of 100: %v", err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte("\xa5\x01\x07\x02\x42\x01\x02\x03\x80\x04\xf6\x05\xf6"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var o outer
		if canonical.Unmarshal(raw, 16, &o) != nil {
			return
		}
		if again, err := canonical.Marshal(&o); err != nil || !bytes.Equal(again, raw) {
			t.Fatal("a value has two encodings")
		}
	})
}
