// Package cmdline is the kernel command line of the enclave image: what the
// image builder writes into an image, and what the enclave demands of
// /proc/cmdline. Nothing separates the command line from the ramdisk in what
// PCR0, 1 and 2 measure, so an image with another command line can have the
// same registers; the enclave's comparison is what tells them apart.
package cmdline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Line is the whole command line of an image. The console shows fixed phrases,
// a kernel that panics restarts the machine through a triple fault after a
// second, and the entropy pool credits neither the processor's generator nor
// the boot loader's seed: the Nitro Secure Module seeds it. The kernel's own
// watch over the processor's counter is off, since where there is nothing
// better it compares with a count of timer interrupts; the enclave compares
// with signed time (docs/adr/0004-clock-sources.md).
const Line = "console=ttyS0 reboot=t panic=1 tsc=nowatchdog random.trust_cpu=off random.trust_bootloader=off"

const (
	// Max is the longest content of /proc/cmdline that is looked at, in bytes:
	// COMMAND_LINE_SIZE of x86-64 and aarch64, and a newline.
	Max = 2048 + 1
	// devices is the largest number of devices that may be appended.
	devices = 32
)

// Kind says in which way a command line isn't the image's.
type Kind int

// The kinds of refusal.
const (
	// TooLong is a content of more than Max bytes.
	TooLong Kind = iota + 1
	// Another is one that doesn't begin with Line.
	Another
	// Appended is one with something else behind Line than devices.
	Appended
	// TooMany is one with more than 32 devices.
	TooMany
)

// String answers what the kind means.
func (k Kind) String() string {
	switch k {
	case TooLong:
		return "too long"
	case Another:
		return "not the image's"
	case Appended:
		return "something was appended"
	case TooMany:
		return "too many devices"
	default:
		return "unknown"
	}
}

// Error says that a command line isn't the image's. It holds nothing of the
// command line, which is the host's text.
type Error struct {
	// Kind is in which way.
	Kind Kind
	// Word is the number of the word behind Line that isn't a device, from 1;
	// 0 when it isn't about a word.
	Word int
}

// Error says in which way, and where.
func (e *Error) Error() string {
	if e.Word == 0 {
		return "command line: " + e.Kind.String()
	}
	return fmt.Sprintf("command line: %s: word %d", e.Kind, e.Word)
}

// Check demands that proc, the content of /proc/cmdline, is Line, with or
// without its newline, and behind it, after spaces, at most 32 words
// "virtio_mmio.device=<size>@<address>:<irq>[:<id>]" (Linux,
// Documentation/admin-guide/kernel-parameters.txt), which is how virtual
// machines without PCI tell the kernel of their devices. Anything else is an
// *Error.
func Check(proc []byte) error {
	if len(proc) > Max {
		return &Error{Kind: TooLong}
	}
	rest, ok := strings.CutPrefix(strings.TrimSuffix(string(proc), "\n"), Line)
	if !ok {
		return &Error{Kind: Another}
	}
	if rest == "" {
		return nil
	}
	if rest[0] != ' ' {
		return &Error{Kind: Another} // Line's last word goes on
	}
	// Machines differ in how many spaces they put, and spaces say nothing.
	words := slices.DeleteFunc(strings.Split(rest, " "), func(word string) bool { return word == "" })
	if len(words) > devices {
		return &Error{Kind: TooMany}
	}
	for i, word := range words {
		if !isDevice(word) {
			return &Error{Kind: Appended, Word: i + 1}
		}
	}
	return nil
}

// isDevice reports whether a word tells of a device.
func isDevice(word string) bool {
	value, ok := strings.CutPrefix(word, "virtio_mmio.device=")
	if !ok {
		return false
	}
	size, place, ok := strings.Cut(value, "@")
	if !ok || !isSize(size) {
		return false
	}
	parts := strings.Split(place, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return false
	}
	address, ok := strings.CutPrefix(parts[0], "0x")
	if !ok || !isNumber(address, 16, 64) {
		return false
	}
	for _, number := range parts[1:] {
		if !isNumber(number, 10, 31) {
			return false
		}
	}
	return true
}

// isSize reports whether a text is a number of bytes: decimal or hexadecimal,
// with a K or M behind it or not.
func isSize(text string) bool {
	if rest, ok := strings.CutSuffix(text, "K"); ok {
		text = rest
	} else if rest, ok := strings.CutSuffix(text, "M"); ok {
		text = rest
	}
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		return isNumber(digits, 16, 31)
	}
	return isNumber(text, 10, 31)
}

// isNumber reports whether a text is digits of a base, in lower case and
// without a sign, that fit into so many bits.
func isNumber(text string, base, bits int) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (base != 16 || c < 'a' || c > 'f') {
			return false
		}
	}
	_, err := strconv.ParseUint(text, base, bits)
	return err == nil
}
