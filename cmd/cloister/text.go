package main

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/answer"
)

// texts formats a row of an answer, NULL as the given text.
func texts(a *client.Answer, row []answer.Cell, null string) []string {
	out := make([]string, len(row))
	for i, cell := range row {
		if cell.Null {
			out[i] = null
			continue
		}
		out[i] = a.Columns[i].Format(cell)
	}
	return out
}

// printable quotes a text with characters that could drive a terminal, look
// like others or break a table; every other text stays as it is.
func printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, unprintable) {
		return s
	}
	return strconv.Quote(s)
}

// printables is printable for each of several texts.
func printables(all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = printable(s)
	}
	return out
}

// message makes a text of several lines safe for a terminal: others, such as
// the gateway, may have had a part in it. Tabs may stay.
func message(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		parts := strings.Split(line, "\t")
		lines[i] = strings.Join(printables(parts), "\t")
	}
	return strings.Join(lines, "\n")
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }
