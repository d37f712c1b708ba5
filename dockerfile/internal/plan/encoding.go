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
	switch zero := bytes.IndexByte(start, 0); {
	case bytes.HasPrefix(start, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(start, []byte("\x00\x00\xfe\xff")):
		return "in UTF-32"
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")):
		return "in UTF-16"
	case zero < 0:
		return ""
	case bytes.Count(start, []byte{0})*3 >= len(start): // every second byte of ASCII
		return "in UTF-16"
	}
	return "not a text: it has bytes that are zero"
}

// encodingFault is the fault of a text that is not UTF-8, or nil.
func encodingFault(text []byte) *Fault {
	encoding := Encoding(text)
	if encoding == "" {
		return nil
	}
	return &Fault{Err: errors.New("the Dockerfile is " + encoding), Hint: "save it as UTF-8"}
}
