package sql

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenQuoted // a double-quoted identifier
	tokenNumber
	tokenString
	tokenParameter // ? or $1
	tokenSymbol
)

// token is a piece of the text. text is the word as written, the content of
// quotes, or the symbol.
type token struct {
	kind tokenKind
	at   span
	text string
}

// is says whether the token is the keyword or symbol, which is in capitals.
func (t token) is(word string) bool {
	switch t.kind {
	case tokenWord:
		if len(t.text) != len(word) {
			return false
		}
		for i := range len(word) {
			c := t.text[i]
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			if c != word[i] {
				return false
			}
		}
		return true
	case tokenSymbol:
		return t.text == word
	}
	return false
}

// upper changes ASCII letters alone: identifiers don't depend on a version of
// Unicode.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// lower is the opposite of upper.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, s)
}

// lexer cuts the text into tokens.
type lexer struct {
	reasons
	text string
	at   int
}

// tokens answers all tokens, tokenEnd last. The first thing that isn't a token
// is a violation and ends the list.
func (l *lexer) tokens() []token {
	var all []token
	for l.skipSpace() {
		t, ok := l.next()
		if !ok {
			break
		}
		all = append(all, t)
		if t.kind == tokenEnd {
			return all
		}
	}
	return append(all, token{kind: tokenEnd, at: span{len(l.text), len(l.text)}})
}

// skipSpace passes over white space and comments. It answers false for a
// comment without an end.
func (l *lexer) skipSpace() bool {
	for l.at < len(l.text) {
		rest := l.text[l.at:]
		switch {
		case strings.ContainsRune(" \t\r\n\f\v", rune(rest[0])):
			l.at++
		case strings.HasPrefix(rest, "--"):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			l.at += end
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				l.refuse(codeSyntax, span{l.at, len(l.text)}, "the comment has no end", "close it with */")
				return false
			}
			l.at += end + 4
		default:
			return true
		}
	}
	return true
}

func (l *lexer) next() (token, bool) {
	from := l.at
	if from == len(l.text) {
		return token{kind: tokenEnd, at: span{from, from}}, true
	}
	switch r, _ := utf8.DecodeRuneInString(l.text[from:]); {
	case r == '\'':
		return l.quoted('\'', tokenString)
	case r == '"':
		return l.quoted('"', tokenQuoted)
	case digit(r), r == '.' && from+1 < len(l.text) && digit(rune(l.text[from+1])):
		l.number()
		return l.token(tokenNumber, from), true
	case r == '_' || unicode.IsLetter(r):
		l.while(func(r rune) bool { return r == '_' || digit(r) || unicode.IsLetter(r) })
		return l.token(tokenWord, from), true
	case r == '?':
		l.at++
		return l.token(tokenParameter, from), true
	case r == '$' && from+1 < len(l.text) && digit(rune(l.text[from+1])):
		l.at++
		l.while(digit)
		return l.token(tokenParameter, from), true
	}
	return l.symbol()
}

func (l *lexer) token(kind tokenKind, from int) token {
	return token{kind: kind, at: span{from, l.at}, text: l.text[from:l.at]}
}

func digit(r rune) bool { return '0' <= r && r <= '9' }

func (l *lexer) while(in func(rune) bool) {
	for l.at < len(l.text) {
		r, size := utf8.DecodeRuneInString(l.text[l.at:])
		if !in(r) {
			return
		}
		l.at += size
	}
}

// number reads digits, a fraction and an exponent. Whether the whole is a
// value of some column is for the binder.
func (l *lexer) number() {
	l.while(digit)
	if l.at < len(l.text) && l.text[l.at] == '.' {
		l.at++
		l.while(digit)
	}
	rest := strings.TrimLeft(l.text[l.at:], "eE")
	if len(l.text)-l.at-len(rest) != 1 {
		return
	}
	if signed := strings.TrimLeft(rest, "+-"); len(rest)-len(signed) <= 1 && signed != "" && digit(rune(signed[0])) {
		l.at = len(l.text) - len(signed)
		l.while(digit)
	}
}

// quoted reads up to the closing quote; a doubled quote stands for itself.
func (l *lexer) quoted(quote byte, kind tokenKind) (token, bool) {
	from := l.at
	var content strings.Builder
	for l.at++; l.at < len(l.text); l.at++ {
		if l.text[l.at] != quote {
			content.WriteByte(l.text[l.at])
			continue
		}
		l.at++
		if l.at == len(l.text) || l.text[l.at] != quote {
			return token{kind: kind, at: span{from, l.at}, text: content.String()}, true
		}
		content.WriteByte(quote)
	}
	l.refuse(codeSyntax, span{from, len(l.text)}, "the quotes aren't closed", "close them; a quote inside is written twice")
	return token{}, false
}

func (l *lexer) symbol() (token, bool) {
	from := l.at
	for _, long := range []string{"<>", "!=", "<=", ">=", "||", "::", ":=", "=>", "->", "**", "//", "!~", "<<", ">>"} {
		if strings.HasPrefix(l.text[from:], long) {
			l.at += len(long)
			t := l.token(tokenSymbol, from)
			if long == "!=" {
				t.text = "<>"
			}
			return t, true
		}
	}
	if strings.ContainsRune("()[]{},.;*=<>+-/%^&|~:@!#", rune(l.text[from])) {
		l.at++
		return l.token(tokenSymbol, from), true
	}
	_, size := utf8.DecodeRuneInString(l.text[from:])
	l.refuse(codeSyntax, span{from, from + size}, "this character has no meaning here", "remove it; strings stand in single quotes, names in double quotes")
	return token{}, false
}
