package conformance

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
)

// inputs is row 38: documents written as text, and texts that aren't one.
func (s *set) inputs() {
	d := newDocument(s.pki)
	d.drop("public_key")
	good := d.encode()
	b64, digits := base64.StdEncoding.EncodeToString(good), hex.EncodeToString(good)
	add := func(name, about, content string, accept bool) {
		v := Vector{Row: 38, Name: "input-" + name, About: about, Class: malformed, EntryPoints: policyOnly()}
		if accept {
			v.Accept, v.Class = true, ""
		}
		s.add(v, []byte(content))
	}
	add("base64", "base64", b64, true)
	add("base64-line", "base64 and a line end", b64+"\n", true)
	add("base64-crlf", "base64 and CR LF", b64+"\r\n", true)
	add("hex", "hexadecimal digits", digits, true)
	add("hex-capitals", "hexadecimal digits in capitals, and a line end", strings.ToUpper(digits)+"\n", true)
	add("base64-wrapped", "base64 in lines of 76 characters", wrapped(b64, 76), false)
	add("base64-space", "base64 with a space inside", b64[:1000]+" "+b64[1000:], false)
	add("base64-two-lines", "base64 and two line ends", b64+"\n\n", false)
	add("base64-indented", "base64 behind a space", " "+b64, false)
	add("base64-unpadded", "base64 without its padding", strings.TrimRight(tailed(good), "="), false)
	add("base64-loose-bits", "base64 whose last character has bits that stand for nothing", loose(tailed(good)), false)
	add("base64url", "base64 with the alphabet for URLs", urlForm(b64), false)
	add("base64-twice", "the same document twice, in base64", b64+b64, false)
	add("base64-cut", "base64 without its last four characters", b64[:len(b64)-4], false)
	add("hex-odd", "an odd number of hexadecimal digits", digits[:len(digits)-1], false)
	add("hex-space", "hexadecimal digits in groups", digits[:2]+" "+digits[2:], false)
	add("hex-0x", "hexadecimal digits behind 0x", "0x"+digits, false)
	add("hex-of-hex", "hexadecimal digits of hexadecimal digits", hex.EncodeToString([]byte(digits[:2000])), false)
	add("base64-of-hex", "base64 of hexadecimal digits", base64.StdEncoding.EncodeToString([]byte(digits[:2000])), false)
	add("binary-line", "the document itself and a line end", string(good)+"\n", false)
	add("binary-twice", "the same document twice", string(slices.Concat(good, good)), false)
	add("pem", "PEM", string(pem.EncodeToMemory(&pem.Block{Type: "ATTESTATION DOCUMENT", Bytes: good})), false)
	add("json", "a JSON string", `"`+b64+`"`, false)
	add("bom", "a byte order mark before base64", "\ufeff"+b64, false)
	add("line-only", "nothing but a line end", "\n", false)
}

func wrapped(text string, width int) string {
	var b strings.Builder
	for chunk := range slices.Chunk([]byte(text), width) {
		b.Write(chunk)
		b.WriteByte('\n')
	}
	return b.String()
}

// tailed is base64 that ends in padding, whatever the document's length.
func tailed(good []byte) string {
	if len(good)%3 == 0 {
		good = join([]byte{0xd2}, good) // the tag makes it longer
	}
	return base64.StdEncoding.EncodeToString(good)
}

// loose sets a bit of the last character that decoders ignore unless strict.
func loose(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	end := strings.IndexByte(text, '=') - 1
	last := strings.IndexByte(alphabet, text[end])
	return text[:end] + string(alphabet[last|1]) + text[end+1:]
}

func urlForm(text string) string {
	other := strings.NewReplacer("+", "-", "/", "_").Replace(text)
	if other == text {
		panic("conformance: a text without + and /")
	}
	return other
}

// accepted are good documents of every form that occurs, row 10's among them.
func (s *set) accepted() {
	accept := func(name, about string, entries []string, change func(*document)) {
		d := newDocument(s.pki)
		change(d)
		s.add(Vector{Row: 0, Name: name, About: about, Accept: true, EntryPoints: entries}, d.encode())
	}
	accept("good", "a document in the form of real ones since mid-2025", nil, func(*document) {})
	accept("definite-map", "the payload's map of definite length, as until spring 2025", nil, func(d *document) { d.open, d.shut = []byte{0xa9}, nil })
	accept("tagged", "with the tag 18", nil, func(d *document) { d.front = []byte{0xd2} })
	accept("other-order", "the fields in another order", nil, func(d *document) { slices.Reverse(d.fields) })
	accept("optional-absent", "user_data and nonce absent, not null", nil, func(d *document) { d.drop("user_data"); d.drop("nonce") })
	accept("no-optional", "no optional field at all", policyOnly(), func(d *document) {
		d.drop("public_key")
		d.drop("user_data")
		d.drop("nonce")
		d.open, d.shut = []byte{0xa6}, nil
	})
	accept("empty-optional", "optional fields of no bytes", policyOnly(), func(d *document) {
		d.set("public_key", cborBytes(nil))
		d.set("user_data", cborBytes(nil))
		d.set("nonce", cborBytes(nil))
	})
	accept("full-optional", "optional fields of 1024 bytes", policyOnly(), func(d *document) {
		for _, name := range []string{"public_key", "user_data", "nonce"} {
			d.set(name, cborBytes([]byte(strings.Repeat(name[:1], 1024))))
		}
	})
	accept("few-registers", "registers 0, 1, 2, 4 and 16 alone", nil, func(d *document) {
		pcrs := goodPCRs()
		delete(pcrs, 3)
		delete(pcrs, 8)
		d.set("pcrs", registers(pcrs))
	})
	accept("all-registers", "all 32 registers, the parent's role in PCR3", nil, func(d *document) {
		pcrs := goodPCRs()
		for i := range 32 {
			if pcrs[i] == nil {
				pcrs[i] = make([]byte, 48)
			}
		}
		pcrs[3] = pcr("arn:aws:iam::123456789012:role/Webserver")
		d.set("pcrs", registers(pcrs))
	})
	accept("registers-unordered", "the registers in descending order", nil, func(d *document) {
		items := pairs(goodPCRs())
		slices.Reverse(items)
		for i := 0; i < len(items); i += 2 {
			items[i], items[i+1] = items[i+1], items[i]
		}
		d.set("pcrs", cborMap(items...))
	})
	s.acceptedTwin()
}

// acceptedTwin is row 10, and what else needs a chain or a signature of its own.
func (s *set) acceptedTwin() {
	d := newDocument(s.pki)
	d.signature = func(raw []byte) []byte { return cborBytes(twin(raw)) }
	s.add(Vector{Row: 10, Name: "twin-signature", About: "the signature (r, n-s), which is as good as (r, s)", Accept: true}, d.encode())
	p := newPKI("main")
	p.identify()
	v := Vector{Row: 0, Name: "full-chain", About: "a chain with key identifiers and addresses of CRLs", Accept: true, Root: "root-full.pem", Policy: "policy-full.json"}
	s.files[v.Root], s.files[v.Policy] = p.rootPEM(), newPolicy(p).json()
	s.add(v, newDocument(p).encode())
}

// twin is the second signature of the same message by the same key: (r, n-s).
func twin(raw []byte) []byte {
	s := new(big.Int).Sub(elliptic.P384().Params().N, new(big.Int).SetBytes(raw[48:]))
	return join(raw[:48], s.FillBytes(make([]byte, 48)))
}
