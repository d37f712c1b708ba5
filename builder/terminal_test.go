//go:build linux

package builder

import (
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// said gives one answer after the other: a text, or EIO for none.
type said []string

func (s *said) Read(p []byte) (int, error) {
	if len(*s) == 0 {
		return 0, io.EOF
	}
	text := (*s)[0]
	*s = (*s)[1:]
	if text == "" {
		return 0, unix.EIO
	}
	return copy(p, text), nil
}

// What a terminal showed last is there although its end was told before: on Linux a master gives it after EIO, once in
// some ten thousand times.
func TestShown(t *testing.T) {
	for answers, want := range map[string]string{
		"a|b||":     "ab",
		"a||b||":    "ab",
		"a||b||c||": "abc",
		"||":        "",
		"a|||b":     "a",
		"a|":        "a",
	} {
		s := said(strings.Split(answers, "|"))
		got, err := io.ReadAll(&shown{from: &s})
		if string(got) != want || err != nil && err != unix.EIO {
			t.Errorf("%q gives %q, %v; want %q", answers, got, err, want)
		}
	}
}
