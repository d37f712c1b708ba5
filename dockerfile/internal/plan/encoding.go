package plan

import (
	"bytes"
	"errors"
)

// startLength is how much of a text tells its encoding.
const startLength = 1024

// Encoding says what a text is when it is not one that is read here: UTF-16, which editors
// and shells of Windows write, or no text at all; else "".
func Encoding(text []byte) string {
	start := text[:min(len(text), startLength)]
	switch {
	case bytes.HasPrefix(start, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(start, []byte("\x00\x00\xfe\xff")):
		return "in UTF-32"
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")), isWide(start):
		return "in UTF-16"
	case bytes.IndexByte(start, 0) >= 0:
		return "not a text: it has bytes that are zero"
	}
	return ""
}

// isWide says that a text looks like ASCII in UTF-16 without a mark at its start: of each
// two bytes one is zero, always the same one.
func isWide(text []byte) bool {
	var zeros [2]int
	for i, b := range text {
		if b == 0 {
			zeros[i%2]++
		}
	}
	half := len(text) / 2
	return half > 0 && (zeros[0] == 0 && zeros[1] >= half || zeros[1] == 0 && zeros[0] >= half)
}

// encodingFault is the fault of a text that is not UTF-8, or nil.
func encodingFault(text []byte) *Fault {
	encoding := Encoding(text)
	if encoding == "" {
		return nil
	}
	return &Fault{Err: errors.New("the Dockerfile is " + encoding), Hint: "save it as UTF-8"}
}
