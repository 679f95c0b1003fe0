package cmdline_test

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/cmdline"
)

// device is a word as QEMU's microvm appends it.
const device = " virtio_mmio.device=512@0xfeb00e00:12"

func TestCheck(t *testing.T) {
	const (
		tooLong  = cmdline.TooLong
		another  = cmdline.Another
		appended = cmdline.Appended
		tooMany  = cmdline.TooMany
	)
	tests := []struct {
		name string
		proc string
		want cmdline.Kind
		word int
	}{
		{"the line", cmdline.Line, 0, 0},
		{"with its newline", cmdline.Line + "\n", 0, 0},
		{"a device", cmdline.Line + device + "\n", 0, 0},
		{"devices", cmdline.Line + device + " virtio_mmio.device=512@0xfeb00c00:11\n", 0, 0},
		{"a size in K", cmdline.Line + " virtio_mmio.device=4K@0xd0000000:5", 0, 0},
		{"a size in M", cmdline.Line + " virtio_mmio.device=1M@0xd0000000:5", 0, 0},
		{"a hexadecimal size", cmdline.Line + " virtio_mmio.device=0x200@0xd0000000:5", 0, 0},
		{"an id", cmdline.Line + " virtio_mmio.device=4K@0xd0000000:5:3", 0, 0},
		{"two spaces, as QEMU's nitro-enclave puts them", cmdline.Line + " " + device + "\n", 0, 0},
		{"a space behind", cmdline.Line + " \n", 0, 0},
		{"the most devices", cmdline.Line + strings.Repeat(device, 32), 0, 0},

		{"nothing", "", another, 0},
		{"a newline", "\n", another, 0},
		{"a part of the line", cmdline.Line[:len(cmdline.Line)-1], another, 0},
		{"the line goes on", cmdline.Line + "x", another, 0},
		{"another value of the last word", cmdline.Line + "=on", another, 0},
		{"something before", "quiet " + cmdline.Line, another, 0},
		{"a space before", " " + cmdline.Line, another, 0},
		{"AWS's line", "reboot=k panic=30 pci=off nomodules console=ttyS0 random.trust_cpu=on", another, 0},
		{"capitals", strings.ToUpper(cmdline.Line), another, 0},
		{"a tab", cmdline.Line + "\t" + device, another, 0},
		{"two newlines", cmdline.Line + "\n\n", another, 0},
		{"a NUL", cmdline.Line + "\x00", another, 0},
		{"more than the most", strings.Repeat("x", cmdline.Max+1), tooLong, 0},
		{"more than the most, right at first", cmdline.Line + strings.Repeat(" ", cmdline.Max), tooLong, 0},

		{"a tab behind a space", cmdline.Line + " \t" + device, appended, 1},
		{"a word behind two spaces", cmdline.Line + "  quiet", appended, 1},
		{"a word", cmdline.Line + " quiet", appended, 1},
		{"trust", cmdline.Line + " random.trust_cpu=on", appended, 1},
		{"another init", cmdline.Line + device + " rdinit=/bin/sh", appended, 2},
		{"arguments of init", cmdline.Line + " -- --simulate", appended, 1},
		{"a word behind a device", cmdline.Line + device + " x", appended, 2},
		{"a line behind", cmdline.Line + device + "\nquiet\n", appended, 1},
		{"another parameter of the driver", cmdline.Line + " virtio_mmio.devices=512@0xfeb00e00:12", appended, 1},
		{"no value", cmdline.Line + " virtio_mmio.device=", appended, 1},
		{"quoted", cmdline.Line + ` virtio_mmio.device="512@0xfeb00e00:12"`, appended, 1},
		{"no size", cmdline.Line + " virtio_mmio.device=@0xfeb00e00:12", appended, 1},
		{"only a unit", cmdline.Line + " virtio_mmio.device=K@0xfeb00e00:12", appended, 1},
		{"another unit", cmdline.Line + " virtio_mmio.device=4G@0xfeb00e00:12", appended, 1},
		{"a size below nothing", cmdline.Line + " virtio_mmio.device=-4@0xfeb00e00:12", appended, 1},
		{"a size that is too large", cmdline.Line + " virtio_mmio.device=2147483648@0xfeb00e00:12", appended, 1},
		{"no address", cmdline.Line + " virtio_mmio.device=512@:12", appended, 1},
		{"a decimal address", cmdline.Line + " virtio_mmio.device=512@4272950784:12", appended, 1},
		{"an address in capitals", cmdline.Line + " virtio_mmio.device=512@0xFEB00E00:12", appended, 1},
		{"an address of 65 bits", cmdline.Line + " virtio_mmio.device=512@0x1ffffffffffffffff:12", appended, 1},
		{"underscores", cmdline.Line + " virtio_mmio.device=512@0xfeb0_0e00:12", appended, 1},
		{"no interrupt", cmdline.Line + " virtio_mmio.device=512@0xfeb00e00", appended, 1},
		{"an empty interrupt", cmdline.Line + " virtio_mmio.device=512@0xfeb00e00:", appended, 1},
		{"a signed interrupt", cmdline.Line + " virtio_mmio.device=512@0xfeb00e00:+1", appended, 1},
		{"an empty id", cmdline.Line + " virtio_mmio.device=512@0xfeb00e00:12:", appended, 1},
		{"one part more", cmdline.Line + " virtio_mmio.device=512@0xfeb00e00:12:1:2", appended, 1},
		{"two places", cmdline.Line + " virtio_mmio.device=512@0xfeb00e00@0xfeb00e00:12", appended, 1},
		{"one device more than the most", cmdline.Line + strings.Repeat(device, 33), tooMany, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := cmdline.Check([]byte(tt.proc))
			if tt.want == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refusal, ok := errors.AsType[*cmdline.Error](err)
			if !ok || refusal.Kind != tt.want || refusal.Word != tt.word {
				t.Errorf("%v, want %v at word %d", err, tt.want, tt.word)
			}
		})
	}
}

// TestErrorsHoldNoText: a command line is the host's text, and none of it gets
// into an error.
func TestErrorsHoldNoText(t *testing.T) {
	const canary = "canary-7c1d"
	seen := map[string]bool{}
	for _, proc := range []string{canary, cmdline.Line + canary, cmdline.Line + " " + canary, cmdline.Line + strings.Repeat(" "+canary, 33), strings.Repeat(canary, 1000)} {
		err := cmdline.Check([]byte(proc))
		if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "unknown") {
			t.Errorf("%v", err)
			continue
		}
		seen[err.Error()] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d texts for 4 kinds", len(seen))
	}
	if cmdline.Kind(0).String() != "unknown" {
		t.Error("the zero kind has a name")
	}
}

// TestEveryChangeIsRefused changes single bytes of a command line.
func TestEveryChangeIsRefused(t *testing.T) {
	for i := range cmdline.Line {
		for _, bit := range []byte{1, 0x20, 0x80} {
			changed := []byte(cmdline.Line + device)
			changed[i] ^= bit
			if cmdline.Check(changed) == nil {
				t.Errorf("accepted: %q", changed)
			}
		}
		if cmdline.Check([]byte(cmdline.Line[:i]+cmdline.Line[i+1:])) == nil {
			t.Errorf("accepted without byte %d", i)
		}
	}
}

// TestLineIsReadable: the image reader wants printable ASCII without a NUL, and
// the kernel's limit leaves room for devices.
func TestLineIsReadable(t *testing.T) {
	for i, c := range []byte(cmdline.Line) {
		if c < ' ' || c > '~' {
			t.Errorf("byte %d is %#x", i, c)
		}
	}
	if len(cmdline.Line)+32*len(device) > cmdline.Max {
		t.Error("32 devices have no room")
	}
	for _, word := range []string{"panic=1", "random.trust_cpu=off", "random.trust_bootloader=off"} {
		if !strings.Contains(cmdline.Line, word) {
			t.Errorf("the line lacks %s", word)
		}
	}
}

var word = regexp.MustCompile(`^virtio_mmio\.device=(?:0x([0-9a-f]+)|([0-9]+))[KM]?@0x([0-9a-f]+):([0-9]+)(?::([0-9]+))?$`)

// model is the rule once more, with a regular expression.
func model(proc string) bool {
	proc = strings.TrimSuffix(proc, "\n")
	if !strings.HasPrefix(proc, cmdline.Line) {
		return false
	}
	rest := proc[len(cmdline.Line):]
	words := strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' })
	if rest != "" && rest[0] != ' ' || len(words) > 32 {
		return false
	}
	fits := func(digits string, base, bits int) bool {
		if digits == "" {
			return true // the other form of size, or no id
		}
		_, err := strconv.ParseUint(digits, base, bits)
		return err == nil
	}
	for _, w := range words {
		m := word.FindStringSubmatch(w)
		if m == nil || !fits(m[1], 16, 31) || !fits(m[2], 10, 31) || !fits(m[3], 16, 64) || !fits(m[4], 10, 31) || !fits(m[5], 10, 31) {
			return false
		}
	}
	return true
}

// TestAgainstTheModel takes random pieces of command lines.
func TestAgainstTheModel(t *testing.T) {
	pieces := []string{" ", ":", "@", "0x", "K", "M", "0", "9", "f", "12", "512", "virtio_mmio.device=", device, device + ":1", "\n", "quiet", "4K@0xd0000000:5"}
	random := rand.New(rand.NewPCG(4, 2))
	accepted := 0
	for range 20000 {
		proc := cmdline.Line
		if random.IntN(2) == 0 {
			proc += " virtio_mmio.device="
		}
		for range random.IntN(7) {
			proc += pieces[random.IntN(len(pieces))]
		}
		err := cmdline.Check([]byte(proc))
		if (err == nil) != model(proc) {
			t.Fatalf("%q: %v", proc, err)
		}
		if err == nil {
			accepted++
		}
	}
	if accepted < 100 {
		t.Errorf("only %d were accepted", accepted)
	}
}

func FuzzCheck(f *testing.F) {
	for _, proc := range []string{"", cmdline.Line, cmdline.Line + "\n", cmdline.Line + device + device + ":7\n", cmdline.Line + " rdinit=/bin/sh"} {
		f.Add([]byte(proc))
	}
	f.Fuzz(func(t *testing.T, proc []byte) {
		err := cmdline.Check(proc)
		if len(proc) > cmdline.Max {
			if refusal, ok := errors.AsType[*cmdline.Error](err); !ok || refusal.Kind != cmdline.TooLong {
				t.Fatalf("%d bytes: %v", len(proc), err)
			}
			return
		}
		if (err == nil) != model(string(proc)) {
			t.Fatalf("%q: %v", proc, err)
		}
		if _, ok := errors.AsType[*cmdline.Error](err); err != nil && !ok {
			t.Fatalf("%v is no *Error", err)
		}
	})
}
