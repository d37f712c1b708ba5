// Package bytetext takes texts of any bytes through what knows only UTF-8, such as JSON,
// scanners of runes and regular expressions, which otherwise make U+FFFD of each byte that
// is none.
//
// Paths, arguments and environment variables of Linux are bytes. Encode writes each byte
// that is not UTF-8 as a character of its own, from a part of Unicode that is for private
// use, and Decode gives the bytes back. A text that has characters of that part already
// comes back as it was, too. All other texts, so nearly all, are their own encoding.
package bytetext

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// base, with a byte added to it, is that byte's character: U+10FE80 to U+10FEFF.
const base = 0x10FE00

// The characters from U+10FE80 to U+10FEFF begin with one of these in UTF-8.
const (
	lowLead  = "\xf4\x8f\xba"
	highLead = "\xf4\x8f\xbb"
)

// Has says that a text has characters that Encode makes.
func Has(s string) bool { return strings.Contains(s, lowLead) || strings.Contains(s, highLead) }

// HasBytes is Has.
func HasBytes(b []byte) bool {
	return bytes.Contains(b, []byte(lowLead)) || bytes.Contains(b, []byte(highLead))
}

// Encode makes UTF-8 of a text of any bytes.
func Encode(s string) string {
	if utf8.ValidString(s) && !Has(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || ours(r) {
			for _, c := range []byte(s[i : i+size]) {
				b.WriteRune(base + rune(c))
			}
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// Decode gives the text of which Encode made s. What Encode does not make stays as it is.
func Decode(s string) string {
	if !Has(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if ours(r) {
			b.WriteByte(byte(r - base))
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

func ours(r rune) bool { return r >= base+0x80 && r <= base+0xff }
