package intakekey_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
)

// counting answers n bytes: from, from+1, and so on.
func counting(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func seed() secret.Bytes          { return secret.New(counting(0x20, intakekey.SeedSize)) }
func dek() secret.Bytes           { return secret.New(counting(0x40, 32)) }
func service() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(counting(0xa0, 32)) }

func servicePublic() ed25519.PublicKey { return ed25519.PublicKey(service()[32:]) }

// private is the fixed key of the tests.
func private(t testing.TB) *intakekey.Private {
	t.Helper()
	k, err := intakekey.ParsePrivate(seed())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func claims(t testing.TB) intakekey.Claims {
	return intakekey.Claims{
		Deployment: "colon-study", Genesis: [32]byte(counting(0x60, 32)), Key: private(t).Public().Bytes(),
		Born: 1_770_000_000_000, NotAfter: 1_777_776_000_123,
	}
}

func sign(t testing.TB, c intakekey.Claims) []byte {
	t.Helper()
	raw, err := intakekey.Sign(c, service())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func set(t testing.TB) *intakekey.Set {
	t.Helper()
	s, err := intakekey.Verify(sign(t, claims(t)), servicePublic())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fileOf(t testing.TB, s *intakekey.Set) []byte {
	t.Helper()
	b, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
