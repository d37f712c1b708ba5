package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile"
)

func TestReport(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	failed := &dockerfile.Error{
		Excerpt: "> 2 | RUN false\n", Hint: "try true",
		Err: fmt.Errorf("Dockerfile:2: %w", &builder.ExitError{Args: []string{"false"}, Code: 3, Output: []byte("one\ntwo\n")}),
	}
	const message = "> 2 | RUN false\nerror: Dockerfile:2: command \"false\": exit status 3\n"
	tests := []struct {
		name string
		ctx  context.Context
		err  error
		code int
		text string
	}{
		{"success", t.Context(), nil, 0, ""},
		{"usage", t.Context(), usagef("bad %d", 1), 2, "error: bad 1\n"},
		{"usage with hint", t.Context(), &usageError{"bad", "good"}, 2, "error: bad\nhint: good\n"},
		{"host", t.Context(), fmt.Errorf("x: %w", &builder.HostError{Missing: "no subuids", Fix: "usermod"}), 4, "error: x: no subuids\nhint: to mend it: usermod\n"},
		{"failed step", t.Context(), failed, 3, message + "hint: try true\n"},
		{"failed step, output not shown", t.Context(), quietError{failed}, 3, "one\ntwo\n" + message + "hint: try true\n"},
		{"code out of range", t.Context(), &builder.ExitError{Args: []string{"x"}, Code: 256}, 125, "error: command \"x\": exit status 256\n"},
		{"status of a command", t.Context(), statusError(7), 7, ""},
		{"other", t.Context(), errors.New("no"), 125, "error: no\n"},
		{"text of others", t.Context(), &usageError{"\x1b[2Jno\nhint: yes", "\u202e\nerror: none"}, 2, "error: \\x1b[2Jno\n  hint: yes\nhint: \\u202e\n  error: none\n"},
		{"cancelled", cancelled, failed, 130, "error: cancelled\n"},
		{"done before the signal", cancelled, nil, 0, ""},
	}
	for _, test := range tests {
		var out strings.Builder
		if code := report(test.ctx, test.err, streams{err: &out, out: &out}.harmless()); code != test.code || out.String() != test.text {
			t.Errorf("%s: %d %q, want %d %q", test.name, code, out.String(), test.code, test.text)
		}
	}
}

// What a command does not look at when it writes is found at its end.
func TestOutputThatCannotBeWritten(t *testing.T) {
	var errs strings.Builder
	code := run(t.Context(), []string{"help"}, streams{out: fullWriter{}, err: &errs})
	if want := "error: standard output: full\n"; code != exitError || errs.String() != want {
		t.Errorf("%d %q, want %d %q", code, errs.String(), exitError, want)
	}
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestWriteLastLines(t *testing.T) {
	for _, test := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 2, ""},
		{"\n", 2, ""},
		{"a", 2, "a\n"},
		{"a\nb\nc\n", 2, "b\nc\n"},
		{"a\rb\x1b[1A\n", 2, "a\nb\\x1b[1A\n"},
	} {
		var out strings.Builder
		if writeLastLines(&out, []byte(test.in), test.n); out.String() != test.want {
			t.Errorf("writeLastLines(%q, %d) wrote %q, want %q", test.in, test.n, out.String(), test.want)
		}
	}
}
