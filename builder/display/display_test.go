package display

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, line, message string }{
		{"", "", ""},
		{"plain äöü 日本 👩‍👧", "plain äöü 日本 👩‍👧", "plain äöü 日本 👩‍👧"},
		{"\x1b[2J\x1b]0;t\x07", `\x1b[2J\x1b]0;t\x07`, `\x1b[2J\x1b]0;t\x07`},
		{"a\nerror: b\r\n\tc", `a\nerror: b\r\n\tc`, "a\n  error: b\\r\n  \tc"},
		{"\u009b31m\x7f\u0085", `\u009b31m\u007f\u0085`, `\u009b31m\u007f\u0085`},
		{"a\u202eb\u2066c\u200e\u2028", `a\u202eb\u2066c\u200e\u2028`, `a\u202eb\u2066c\u200e\u2028`},
		{"\x9b\xe9\xf0\x9f", `\x9b\xe9\xf0\x9f`, `\x9b\xe9\xf0\x9f`},
		{"\x00 \ufffd \\n", "\\x00 \ufffd \\n", "\\x00 \ufffd \\n"},
	} {
		if got := Line(test.in); got != test.line {
			t.Errorf("Line(%q) = %q, want %q", test.in, got, test.line)
		}
		if got := Message(test.in); got != test.message {
			t.Errorf("Message(%q) = %q, want %q", test.in, got, test.message)
		}
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   string
		want []string
	}{
		{"", []string{""}},
		{"a\n\nb\n", []string{"a", "", "b"}},
		{"a\tb\r\n", []string{"a\tb"}},
		{"10%\r20%\r\n#9 DONE", []string{"10%", "20%", "#9 DONE"}},
		{"\x1b[1;31mred\x1b[m plain", []string{"\x1b[1;31mred\x1b[m plain\x1b[0m"}},
		{"\x1b[38:5:1mred\nnext", []string{"\x1b[38:5:1mred\x1b[0m", "next"}},
		{"\x1b[2J\x1b[1A\x1b]52;c;x\x07", []string{`\x1b[2J\x1b[1A\x1b]52;c;x\x07`}},
		{"\x1b[31\x1b[32mx", []string{"\\x1b[31\x1b[32mx\x1b[0m"}},
		{"\x1b[?25lm\x1b", []string{`\x1b[?25lm\x1b`}},
		{"\u009b31m \xe9", []string{`\u009b31m \xe9`}},
	} {
		got := Output([]byte(test.in))
		if strings.Join(got, "|") != strings.Join(test.want, "|") {
			t.Errorf("Output(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

// JSON that is made harmless says the same as before.
func TestWriterKeepsJSON(t *testing.T) {
	t.Parallel()
	const text = "\x1b[2J \u009b \x7f \u202e \u2028 \n\t \xff"
	var harmless strings.Builder
	if err := json.NewEncoder(NewWriter(&harmless)).Encode(text); err != nil {
		t.Fatal(err)
	}
	if got := harmless.String(); strings.ContainsAny(got, "\x1b\u009b\x7f\u202e") {
		t.Errorf("%q is not harmless", got)
	}
	var got string
	if err := json.Unmarshal([]byte(harmless.String()), &got); err != nil || got != strings.ToValidUTF8(text, "\ufffd") {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzDisplay(f *testing.F) {
	for _, seed := range []string{"", "a\x1b[31mb\x1b[0m\r\nc", "\x9b\u009b\u202e", "\x1b[\x1b[m"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := Line(text); strings.ContainsFunc(got, controls) {
			t.Errorf("Line(%q) = %q", text, got)
		}
		for _, line := range Output([]byte(text)) {
			for {
				before, sequence, rest := cutColour(line)
				if strings.ContainsFunc(strings.ReplaceAll(before, "\t", ""), controls) {
					t.Fatalf("Output(%q) has %q", text, before)
				}
				if sequence == "" {
					break
				}
				line = rest
			}
		}
	})
}

func controls(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
