package contract

import (
	"strconv"
	"strings"
	"time"
)

// parseDate reads a date as ISO 8601 writes it in its extended form, and only
// so: four, two and two digits. package time is more lenient than that.
func parseDate(text string) (Value, error) {
	t, ok := day(text)
	if !ok {
		return Value{}, ErrSyntax
	}
	return Value{Int: t.Unix() / 86400}, nil
}

func day(text string) (time.Time, bool) {
	if len(text) != 10 || text[4] != '-' || text[7] != '-' {
		return time.Time{}, false
	}
	y, okY := number(text[0:4], 1, 9999)
	m, okM := number(text[5:7], 1, 12)
	d, okD := number(text[8:10], 1, 31)
	t := time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)
	// Date turns 30 February into a day of March.
	return t, okY && okM && okD && t.Day() == d
}

// parseTimestamp reads RFC 3339 (section 5.6) with a T or a space, one to nine
// digits of fraction, and Z, an offset, or nothing for UTC. There are no leap
// seconds.
func parseTimestamp(text string) (Value, error) {
	if len(text) < 19 || text[10] != 'T' && text[10] != ' ' || text[13] != ':' || text[16] != ':' {
		return Value{}, ErrSyntax
	}
	t, ok := day(text[:10])
	h, okH := number(text[11:13], 0, 23)
	m, okM := number(text[14:16], 0, 59)
	s, okS := number(text[17:19], 0, 59)
	nanos, rest, okF := fraction(text[19:])
	offset, okZ := zone(rest)
	if !ok || !okH || !okM || !okS || !okF || !okZ {
		return Value{}, ErrSyntax
	}
	seconds := t.Unix() + int64(h*3600+m*60+s-offset)
	micros := seconds*1_000_000 + int64(nanos+500)/1000
	if micros < minMicros || micros > maxMicros {
		return Value{}, ErrRange
	}
	return Value{Int: micros}, nil
}

// fraction reads an optional fraction of a second, as nanoseconds.
func fraction(text string) (nanos int, rest string, ok bool) {
	if !strings.HasPrefix(text, ".") {
		return 0, text, true
	}
	end := 1
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	if end == 1 || end > 10 {
		return 0, "", false
	}
	nanos, ok = number((text[1:end] + "00000000")[:9], 0, 999_999_999)
	return nanos, text[end:], ok
}

// zone reads an offset from UTC, in seconds.
func zone(text string) (int, bool) {
	if text == "" || text == "Z" {
		return 0, true
	}
	if len(text) != 6 || text[0] != '+' && text[0] != '-' || text[3] != ':' {
		return 0, false
	}
	h, okH := number(text[1:3], 0, 23)
	m, okM := number(text[4:6], 0, 59)
	offset := h*3600 + m*60
	if text[0] == '-' {
		offset = -offset
	}
	return offset, okH && okM
}

// number reads digits as a number between low and high.
func number(digits string, low, high int) (int, bool) {
	if !isDigits(digits) {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= low && n <= high
}
