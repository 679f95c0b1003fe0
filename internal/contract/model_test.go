package contract_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/contract"
)

// source gives the same numbers in every run.
func source() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// skewed answers numbers of every length, the largest and smallest included.
func skewed(r *rand.Rand) int64 {
	switch r.IntN(20) {
	case 0:
		return math.MaxInt64
	case 1:
		return math.MinInt64
	}
	v := int64(r.Uint64() >> (1 + r.IntN(63)))
	if r.IntN(2) == 0 {
		return -v
	}
	return v
}

func tenTo(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// stored is the model of Parse: the exact value of a numeral, times 10^scale,
// rounded half away from zero; exact says that nothing was rounded.
func stored(t testing.TB, numeral string, scale int) (v *big.Int, exact bool) {
	t.Helper()
	r, ok := new(big.Rat).SetString(numeral)
	if !ok {
		t.Fatalf("the model can't read %q", numeral)
	}
	r.Mul(r, new(big.Rat).SetInt(tenTo(scale)))
	half := big.NewRat(int64(r.Sign()), 2)
	shifted := new(big.Rat).Add(r, half)
	return new(big.Int).Quo(shifted.Num(), shifted.Denom()), r.IsInt()
}

// numeral writes a random decimal in one of the many ways there are.
func numeral(r *rand.Rand) string {
	digits := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = '0' + byte(r.IntN(10))
		}
		return string(b)
	}
	text := []string{"", "-", "+"}[r.IntN(3)] + digits(1+r.IntN(22))
	if r.IntN(2) == 0 {
		text += "." + digits(1+r.IntN(12))
	}
	if r.IntN(3) == 0 {
		text += fmt.Sprintf("e%d", r.IntN(41)-20)
	}
	return text
}

func TestParseAgainstRationals(t *testing.T) {
	r := source()
	for range 50_000 {
		text, scale := numeral(r), r.IntN(contract.MaxScale+1)
		want, exact := stored(t, text, scale)
		got, err := field(contract.Number, scale).Parse(text)
		if want.IsInt64() != (err == nil) || err != nil && !errors.Is(err, contract.ErrRange) || err == nil && got.Int != want.Int64() {
			t.Fatalf("%q, scale %d: %d, %v; the model says %s", text, scale, got.Int, err, want)
		}
		if _, err := field(contract.Number, scale).ParseExact(text); (err == nil) != (exact && want.IsInt64()) {
			t.Fatalf("%q, scale %d: exactly: %v; the model says %v", text, scale, err, exact)
		}
		_, err = field(contract.Integer, 0).Parse(text)
		if whole, is := stored(t, text, 0); (err == nil) != (is && whole.IsInt64()) {
			t.Fatalf("%q as an integer: %v", text, err)
		}
	}
}

func TestFormatAgainstRationals(t *testing.T) {
	r := source()
	for range 20_000 {
		v, scale := skewed(r), r.IntN(contract.MaxScale+1)
		f := field(contract.Number, scale)
		text := f.Format(contract.Value{Int: v})
		got, ok := new(big.Rat).SetString(text)
		want := new(big.Rat).SetFrac(big.NewInt(v), tenTo(scale))
		if !ok || got.Cmp(want) != 0 {
			t.Fatalf("%d, scale %d is written %q", v, scale, text)
		}
		if _, fraction, _ := strings.Cut(text, "."); len(fraction) != scale {
			t.Fatalf("%d, scale %d is written %q", v, scale, text)
		}
	}
}

// TestParseReadsWhatFormatWrites holds it for every type, exactly.
func TestParseReadsWhatFormatWrites(t *testing.T) {
	r := source()
	for range 20_000 {
		v, scale := skewed(r), r.IntN(contract.MaxScale+1)
		for typ, value := range map[contract.Type]int64{
			contract.Integer: v, contract.Number: v, contract.Boolean: v & 1,
			contract.Date: r.Int64N(719162+2932896+1) - 719162, contract.Timestamp: r.Int64N(253402300800_000_000+62135596800_000_000) - 62135596800_000_000,
		} {
			f := field(typ, 0)
			if typ == contract.Number {
				f.Scale = scale
			}
			want := contract.Value{Int: value}
			text := f.Format(want)
			if got, err := f.Parse(text); err != nil || got != want {
				t.Fatalf("%s: %d is written %q and read as %d, %v", typ, value, text, got.Int, err)
			}
			if got, err := f.ParseExact(text); err != nil || got != want {
				t.Fatalf("%s: %d is written %q and read exactly as %d, %v", typ, value, text, got.Int, err)
			}
		}
	}
}

// TestInstantsAgainstTime compares dates and timestamps with package time.
func TestInstantsAgainstTime(t *testing.T) {
	r := source()
	for range 20_000 {
		zone := time.FixedZone("", (r.IntN(2*1439+1)-1439)*60)
		at := time.Unix(r.Int64N(253402300800+62135596800-200_000)-62135596800+100_000, r.Int64N(1e9)).In(zone)
		text := at.Format(time.RFC3339Nano)
		got, err := field(contract.Timestamp, 0).Parse(text)
		if want := at.Round(time.Microsecond).UnixMicro(); err != nil || got.Int != want {
			t.Fatalf("%s: %d, %v; want %d", text, got.Int, err, want)
		}
		day := at.Format(time.DateOnly)
		midnight, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := field(contract.Date, 0).Parse(day); err != nil || got.Int*86400 != midnight.Unix() {
			t.Fatalf("%s: %d, %v", day, got.Int, err)
		}
	}
}

// FuzzParse checks every text against the models: what parses is written and
// read back to the same value, and a number has the value that it shows.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"0", "-12.50", "1e-3", "9223372036854775807", "true", "2026-02-28", "2026-02-28T12:00:00.5+01:00", "text"} {
		for typ := contract.String; typ <= contract.Timestamp; typ++ {
			f.Add(uint8(typ), uint8(2), text)
		}
	}
	f.Fuzz(func(t *testing.T, typ, scale uint8, text string) {
		column := field(contract.Type(typ), 0)
		if column.Type == contract.Number {
			column.Scale = int(scale) % (contract.MaxScale + 1)
		}
		v, err := column.Parse(text)
		if err != nil {
			if !errors.Is(err, contract.ErrSyntax) && !errors.Is(err, contract.ErrRange) || v != (contract.Value{}) {
				t.Fatalf("%+v, %v", v, err)
			}
			return
		}
		if rule := column.Validate(v); rule != "" {
			t.Fatalf("a value that parses breaks %s", rule)
		}
		if again, err := column.Parse(column.Format(v)); err != nil || again != v {
			t.Fatalf("%+v is written and read as %+v, %v", v, again, err)
		}
		exact, err := column.ParseExact(text)
		if err == nil && exact != v {
			t.Fatalf("%+v exactly, %+v otherwise", exact, v)
		}
		// The model writes every digit out; a large exponent would be many.
		if i := strings.IndexAny(text, "eE"); column.Type == contract.Number && (i < 0 || len(text)-i < 5) {
			if want, same := stored(t, text, column.Scale); want.Cmp(big.NewInt(v.Int)) != 0 || same != (err == nil) {
				t.Fatalf("%q, scale %d: %d; the model says %s, exactly: %v", text, column.Scale, v.Int, want, same)
			}
		}
	})
}
