package cms_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cloisterhq/cloister/enclave/kms/cms"
)

// FuzzOpen holds that any input gives a key of the wanted size or one of the two
// errors, the same one twice, and stays as it is.
func FuzzOpen(f *testing.F) {
	key := testKey(f)
	to := recipient(f, key)
	for _, chunk := range []int{0, 16, 1000} {
		p, _ := seal(f, &key.PublicKey, seed{plain: make([]byte, 32), chunk: chunk})
		f.Add(p.bytes(), uint16(32))
	}
	f.Add(read(f, "definite.der"), uint16(32))
	f.Fuzz(func(t *testing.T, message []byte, size uint16) {
		before := bytes.Clone(message)
		got, err := to.Open(message, int(size))
		again, err2 := to.Open(message, int(size))
		if !bytes.Equal(message, before) {
			t.Fatal("the input changed")
		}
		switch {
		case err == nil:
			if got.Len() != int(size) || err2 != nil || !bytes.Equal(got.Expose(), again.Expose()) {
				t.Fatalf("%d bytes instead of %d, or others the second time: %v", got.Len(), size, err2)
			}
		case !errors.Is(err, cms.ErrMalformed) && !isOpen(err):
			t.Fatalf("an error of another kind: %v", err)
		case err2 == nil || err.Error() != err2.Error():
			t.Fatalf("%v, then %v", err, err2)
		}
	})
}
