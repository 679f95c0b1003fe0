package yamltree

import (
	"fmt"
	"strconv"
	"strings"
)

// manyWords is from how many words on a list of them helps nobody.
const manyWords = 12

// Unknown says that a word is unknown and what to write instead: the known
// word that it is a slip of, or else all of them when they are few.
func Unknown(kind, word string, known []string) string {
	text := fmt.Sprintf("unknown %s %s; ", kind, Quote(word))
	if near := nearest(word, known); near != "" {
		return text + "write " + near
	}
	if len(known) > manyWords || len(known) == 0 {
		return text + "remove it"
	}
	return text + "known are " + strings.Join(known, ", ")
}

// Quote shows a piece of the file, bounded and printable.
func Quote(s string) string { return strconv.Quote(shorten(s)) }

func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

// either joins words for a sentence.
func either(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// nearest answers the known word that differs from word by a slip: letters'
// case, two letters swapped, or at most two letters of a long word and one of
// a short one.
func nearest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if strings.EqualFold(k, word) || swapped(k, word) {
			return k
		}
		if d := distance(word, k); d < least && (d == 1 || len(k) > 5) && len(k) > 2 {
			best, least = k, d
		}
	}
	return best
}

// swapped says whether two neighbouring letters of a and b stand the other way
// round and all else is the same.
func swapped(a, b string) bool {
	for i := range min(len(a), len(b)) - 1 {
		if a[i] != b[i] {
			return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		}
	}
	return false
}

// distance is the Levenshtein distance of two words, or a large number for
// words too long to be a slip of each other.
func distance(a, b string) int {
	if len(a) > maxShown || len(b) > maxShown {
		return maxShown
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// isDecimal says whether a number is written so that nobody can misread it.
// YAML has octal, hexadecimal, grouped and other numbers too.
func isDecimal(s string) bool {
	s = strings.TrimLeft(s, "+-")
	s, exponent, scientific := cutAny(s, "eE")
	whole, fraction, point := strings.Cut(s, ".")
	switch {
	case whole != "0" && (!isDigits(whole) || whole[0] == '0'):
		return false
	case point && !isDigits(fraction):
		return false
	case scientific && !isDigits(strings.TrimLeft(exponent, "+-")):
		return false
	}
	return true
}

func cutAny(s, chars string) (before, after string, found bool) {
	i := strings.IndexAny(s, chars)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
