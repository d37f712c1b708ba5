//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"

	"github.com/oakum-build/oakum/storage/retry"
)

// Reasons of a RegistryError that its caller can do something about.
const (
	ReasonLogin       = "login"       // the registry wants a login, or another one
	ReasonHTTP        = "http"        // it speaks http, and https was wanted
	ReasonCertificate = "certificate" // its certificate is not trusted
)

// RegistryError is a registry that could not be reached, or refused. It matches
// ErrRegistry.
type RegistryError struct {
	Host   string
	Reason string // "" for any other
	Err    error
}

func (e *RegistryError) Error() string { return brief(e.Err.Error()) }

// Unwrap gives ErrRegistry and the cause.
func (e *RegistryError) Unwrap() []error { return []error{ErrRegistry, e.Err} }

// longest bounds what is told of an error, which may be a server's text.
const longest = 2000

func brief(text string) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + " ..."
}

// asked gives what failed in a transfer with a registry the place and the kind of its
// cause: not all of it is the registry's.
func asked(verb string, named reference.Named, err error) error {
	var refused signature.PolicyRequirementError
	var own *localError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case diskFull(err):
		return fmt.Errorf("%s %s: the disk is full: there is no room for it where the store is, or in TMPDIR: %s", verb, named, brief(err.Error()))
	case unmapped(err) != nil:
		return fmt.Errorf("%s %s: %w", verb, named, unmapped(err))
	case errors.As(err, &refused):
		return fmt.Errorf("%s %s: the signature policy does not allow it: %w", verb, named, err)
	case errors.As(err, &own):
		return fmt.Errorf("%s %s: %w", verb, named, err)
	}
	return &RegistryError{Host: reference.Domain(named), Reason: reason(err),
		Err: fmt.Errorf("%s %s: %w: %w", verb, named, ErrRegistry, err)}
}

// unmapped says in oakum's words what containers/storage says of an owner that the user
// namespace does not have, in a text and with advice for podman, whose namespace outlives
// it; nil when err is not of that.
func unmapped(err error) error {
	found := unmappedOwner.FindStringSubmatch(err.Error())
	if found == nil {
		return nil
	}
	return fmt.Errorf("the owner %s of %s is not mapped: more subordinate ids are needed in /etc/subuid and /etc/subgid", found[1], found[2])
}

var unmappedOwner = regexp.MustCompile(`potentially insufficient UIDs or GIDs available in (?:the )?user namespace \(requested (\d+:\d+) for (.+?)\): Check `)

// localError is something of this machine that a transfer needs.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

// diskFull also knows errors that processes of containers/storage give as a text.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), syscall.EDQUOT.Error())
}

var (
	wantsLogin = regexp.MustCompile(`(?i)\bunauthorized\b|\bdenied: |access to the resource is denied|authentication required|unable to retrieve auth token|StatusCode: 40[13]\b|status code 40[13]\b`)
	badCert    = regexp.MustCompile(`x509: |tls: failed to verify`)
)

func reason(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return ReasonHTTP
	case badCert.MatchString(text):
		return ReasonCertificate
	case wantsLogin.MatchString(text):
		return ReasonLogin
	}
	return ""
}

var busy = regexp.MustCompile(`toomanyrequests: |StatusCode: (?:429|408)\b`)

// temporary says whether a transfer with a registry is worth another try.
func temporary(err error) (after time.Duration, ok bool) {
	var own *localError
	if errors.As(err, &own) || diskFull(err) {
		return 0, false
	}
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return 0, retry.TemporaryStatus(status.StatusCode)
	}
	if errors.Is(err, docker.ErrTooManyRequests) || busy.MatchString(err.Error()) {
		return 0, true
	}
	return retry.Temporary(err)
}
