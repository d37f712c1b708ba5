package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile"
)

// Exit codes. A RUN or "oakum run" command that fails gives its own instead.
const (
	exitOK        = 0
	exitUsage     = 2
	exitChecks    = 3
	exitHost      = 4
	exitError     = 125
	exitCancelled = 130
)

// exitCodes explains the codes in the help and in docs/cli.md.
func exitCodes() [][2]string {
	return [][2]string{
		{"0", "success"},
		{"2", "the command line is wrong"},
		{"3", "the build checks found something: with --check, or when they are set to be errors"},
		{"4", "this machine lacks something; the message says what, and how to mend it"},
		{"125", "any other error"},
		{"130", "cancelled by SIGINT or SIGTERM"},
		{"other", "the exit status of the RUN instruction, or of the command of oakum run, that failed; 128+n when signal n ended it"},
	}
}

// usageError is a command line that is wrong.
type usageError struct {
	text string
	hint string // one sentence; may be empty
}

func usagef(format string, args ...any) *usageError {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

func (e *usageError) Error() string { return e.text }

// statusError ends the program with the status of a command that "oakum run" ran.
// Nothing is printed: what there is to say, the command has said.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// quietError is an error of a build whose output has not been shown.
type quietError struct{ error }

func (e quietError) Unwrap() error { return e.error }

// exitCode maps err, after ctx, to the exit code.
func exitCode(ctx context.Context, err error) int {
	var usage *usageError
	var status statusError
	var exit *builder.ExitError
	var fault faultFound
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		return exitCancelled
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &exit) && exit.Code > 0 && exit.Code < 256:
		return exit.Code
	case errors.Is(err, dockerfile.ErrChecks) || errors.As(err, &fault):
		return exitChecks
	case errors.As(err, new(*builder.HostError)):
		return exitHost
	}
	return exitError
}

// report prints err, so that it ends the output, and returns the exit code.
func report(ctx context.Context, err error, std streams) int {
	code := exitCode(ctx, err)
	var status statusError
	switch {
	case err == nil || errors.As(err, &status):
		return code
	case code == exitCancelled:
		fmt.Fprintln(std.err, "error: cancelled")
		return code
	}
	var quiet quietError
	var exit *builder.ExitError
	if errors.As(err, &quiet) && errors.As(err, &exit) {
		writeLastLines(std.raw.err, exit.Output, 20)
	}
	excerpt, text, hint := inParts(err)
	io.WriteString(std.err, excerpt)
	fmt.Fprintf(std.err, "error: %s\n", display.Message(text))
	if hint != "" {
		fmt.Fprintf(std.err, "hint: %s\n", display.Message(hint))
	}
	return code
}

// inParts gives the three parts of a message: the Dockerfile's lines, what is wrong,
// and what may help. The first and the last may be empty.
func inParts(err error) (excerpt, text, hint string) {
	text = strings.TrimSpace(err.Error())
	var wrong *usageError
	if errors.As(err, &wrong) {
		hint = wrong.hint
	}
	var at *dockerfile.Error
	if errors.As(err, &at) {
		excerpt, hint = at.Excerpt, at.Hint
	}
	if hint == "" && limits.IsNoSpace(err) {
		hint = "oakum du says what takes the room; oakum prune removes the layers that no image needs, and oakum image prune the images without a name"
	}
	var registry *builder.RegistryError
	if errors.As(err, &registry) && hint == "" {
		hint = registryHint(registry)
	}
	var host *builder.HostError
	if errors.As(err, &host) && host.Fix != "" {
		text, hint = strings.TrimSuffix(text, "; to mend it: "+host.Fix), "to mend it: "+host.Fix
	}
	return excerpt, text, hint
}

// registryHint says what lets one in to a registry.
func registryHint(e *builder.RegistryError) string {
	switch e.Reason {
	case "login":
		return fmt.Sprintf("if it is there and needs a login: oakum login %s", e.Host)
	case "http":
		return fmt.Sprintf("if %s is to be trusted over plain http: --tls-verify=false, or insecure = true for it in registries.conf", e.Host)
	case "certificate":
		return fmt.Sprintf("the certificate authority of %s can be named: --cert-dir DIR, or in /etc/containers/certs.d/%[1]s or ~/.config/containers/certs.d/%[1]s; --tls-verify=false trusts anybody", e.Host)
	}
	return ""
}

// writeLastLines writes the end of a command's output, at most n lines.
func writeLastLines(w io.Writer, output []byte, n int) {
	if len(bytes.TrimRight(output, "\r\n")) == 0 {
		return
	}
	lines := display.Output(output)
	for _, line := range lines[max(0, len(lines)-n):] {
		fmt.Fprintln(w, line)
	}
}
