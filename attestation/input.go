package attestation

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"

	"github.com/cloisterhq/cloister/internal/limits"
)

// MaxInput is the longest input of [Decode], in bytes: the largest document in
// hexadecimal digits and a line's end.
const MaxInput = 2*limits.Document + len("\r\n")

// Decode answers the bytes of one document that may have been written as text.
// The first byte decides, because a document begins with 0x84 or, tagged, with
// 0xd2, and neither of them is a character:
//
//   - 0x84 or 0xd2: the document itself, to its last byte;
//   - the digits 84, d2 or D2: hexadecimal digits of either case;
//   - the characters hE or 0o, which every document in base64 begins with: the
//     standard alphabet with padding (RFC 4648, section 4).
//
// No text can be read in two ways: hexadecimal digits contain neither h nor o,
// and base64 that begins with 84 or d2 encodes other bytes. A text may end in
// one line end. White space, line breaks, the URL alphabet, missing padding,
// PEM and everything else are refused as [Malformed]. Decode says nothing about
// the bytes it answers; [Parse] does.
func Decode(input []byte) ([]byte, error) {
	if len(input) == 0 {
		return nil, malformed("empty")
	}
	if len(input) > MaxInput {
		return nil, malformed("too long")
	}
	if input[0] == arrayOf4 || input[0] == tagSign1 {
		return bytes.Clone(input), nil
	}
	text, line := bytes.CutSuffix(input, []byte("\n"))
	if line {
		text = bytes.TrimSuffix(text, []byte("\r"))
	}
	var raw []byte
	var err error
	switch {
	case bytes.ContainsAny(text, " \t\r\n"):
		return nil, malformed("white space in the text")
	case begins(text, "84", "d2", "D2"):
		raw, err = hex.DecodeString(string(text))
	case begins(text, "hE", "0o"):
		raw, err = base64.StdEncoding.Strict().DecodeString(string(text))
	default:
		return nil, malformed("neither a document nor one in hexadecimal digits or base64")
	}
	if err != nil {
		// The cause would quote the text.
		return nil, malformed("not one document in hexadecimal digits or base64")
	}
	return raw, nil
}

func begins(text []byte, prefixes ...string) bool {
	for _, p := range prefixes {
		if bytes.HasPrefix(text, []byte(p)) {
			return true
		}
	}
	return false
}
