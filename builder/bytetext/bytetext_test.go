package bytetext

import (
	"testing"
	"unicode/utf8"
)

func TestEncode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "plain": "plain", "é€𝄞\ufffd": "é€𝄞\ufffd", "\x00\n\x7f": "\x00\n\x7f",
		"caf\xe9":         "caf\U0010FEE9",
		"\x80é\xff/":      "\U0010FE80é\U0010FEFF/",
		"\xc3":            "\U0010FEC3",
		"\xed\xa0\x80":    "\U0010FEED\U0010FEA0\U0010FE80", // half of a surrogate pair
		"\U0010FEE9":      "\U0010FEF4\U0010FE8F\U0010FEBB\U0010FEA9",
		"\U0010FE7F":      "\U0010FE7F",
		"\U0010FF00\xe9x": "\U0010FF00\U0010FEE9x",
	} {
		got := Encode(text)
		if got != want || Decode(got) != text {
			t.Errorf("%q: got %q, and back %q", text, got, Decode(got))
		}
	}
}

func FuzzEncode(f *testing.F) {
	for _, seed := range []string{"", "caf\xe9", "\U0010FEE9\xf4\x8f\xbb", "\xf4", "é\x80"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := Encode(a), Encode(b)
		if !utf8.ValidString(x) || Decode(x) != a || Decode(x+y) != a+b {
			t.Errorf("%q, %q: %q, %q", a, b, x, y)
		}
		if utf8.ValidString(a) && !Has(a) && x != a {
			t.Errorf("%q became %q", a, x)
		}
	})
}
