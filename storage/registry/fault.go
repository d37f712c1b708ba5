package registry

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"

	"github.com/oakum-build/oakum/storage/internal/policy"
	"github.com/oakum-build/oakum/storage/retry"
)

// ErrRegistry says that a registry could not be reached, or refused.
var ErrRegistry = errors.New("registry request failed")

// ErrNotFound says that there is no such image.
var ErrNotFound = errors.New("image not found")

// Reasons of an Error that its caller can do something about.
const (
	ReasonLogin       = "login"       // the registry wants a login, or another one
	ReasonHTTP        = "http"        // it speaks http, and https was wanted
	ReasonCertificate = "certificate" // its certificate is not trusted
)

// Error is a registry that could not be reached, or refused. It matches ErrRegistry.
type Error struct {
	Host   string
	Reason string // "" for any other
	Err    error
}

func (e *Error) Error() string { return brief(e.Err.Error()) }

// Unwrap gives ErrRegistry and the cause.
func (e *Error) Unwrap() []error { return []error{ErrRegistry, e.Err} }

// longest bounds what is told of an error, which may be a server's text.
const longest = 2000

func brief(text string) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + " ..."
}

// asked gives what failed in a transfer with a registry the place and the kind of its
// cause: not all of it is the registry's, and an image that it has not is no fault.
func asked(verb string, named reference.Named, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	doing := verb + " " + named.String()
	if own := Explain(doing, err); own != nil {
		return own
	}
	if errors.As(err, new(*localError)) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	why := reason(err) // of a mirror, perhaps, that has the image
	if why == "" && missing().MatchString(err.Error()) {
		return fmt.Errorf("%s: %w: %s", doing, ErrNotFound, brief(err.Error()))
	}
	return &Error{Host: reference.Domain(named), Reason: why, Err: fmt.Errorf("%s: %w: %w", doing, ErrRegistry, err)}
}

// missing is what containers/image says when a registry answers that it has no such image (OCI
// distribution specification, "Pulling manifests": 404). A blob that is missing is a fault.
var missing = lazy(`reading manifest \S+ in \S+: (?:manifest unknown|name unknown|StatusCode: 404)`)

// Explain gives the error for what failed in a transfer because of this machine, whether a
// registry took part in it or not: a full disk, an owner that is not mapped, the policy for
// signatures. It is nil for anything else. doing begins it.
func Explain(doing string, err error) error {
	switch {
	case diskFull(err):
		return fmt.Errorf("%s: the disk is full: there is no room for it where the store is, or in TMPDIR: %s", doing, brief(err.Error()))
	case unmapped(err) != nil:
		return fmt.Errorf("%s: %w", doing, unmapped(err))
	case errors.As(err, new(policy.RefusedError)):
		return fmt.Errorf("%s: the signature policy does not allow it: %w", doing, err)
	}
	return nil
}

// unmapped says in oakum's words what containers/storage says of an owner that the user
// namespace does not have, in a text and with advice for podman, whose namespace outlives
// it; nil when err is not of that.
func unmapped(err error) error {
	found := unmappedOwner().FindStringSubmatch(err.Error())
	if found == nil {
		return nil
	}
	return fmt.Errorf("the owner %s of %s is not mapped: more subordinate ids are needed in /etc/subuid and /etc/subgid", found[1], found[2])
}

var unmappedOwner = lazy(`potentially insufficient UIDs or GIDs available in (?:the )?user namespace \(requested (\d+:\d+) for (.+?)\): Check `)

// Local marks an error as one of this machine, which no other try of the transfer mends.
func Local(err error) error { return &localError{err} }

// localError is something of this machine that a transfer needs.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

// diskFull also knows errors that processes of containers/storage give as a text.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), syscall.EDQUOT.Error())
}

var (
	wantsLogin = lazy(`(?i)\bunauthorized\b|\bdenied: |access to the resource is denied|authentication required|unable to retrieve auth token|StatusCode: 40[13]\b|status code 40[13]\b`)
	badCert    = lazy(`x509: |tls: failed to verify`)
)

func reason(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return ReasonHTTP
	case badCert().MatchString(text):
		return ReasonCertificate
	case wantsLogin().MatchString(text):
		return ReasonLogin
	}
	return ""
}

var busy = lazy(`toomanyrequests: |StatusCode: (?:429|408)\b`)

// forgotten is what is said of an upload that the registry no longer knows, because it was started
// again, for instance: another one may be begun (OCI distribution specification, code BLOB_UPLOAD_UNKNOWN).
var forgotten = lazy(`uploading layer (?:chunked|to \S+): (?:StatusCode: 404\b|blob upload unknown)`)

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
	if errors.Is(err, docker.ErrTooManyRequests) || busy().MatchString(err.Error()) || forgotten().MatchString(err.Error()) {
		return 0, true
	}
	return retry.Temporary(err)
}

// lazy compiles a pattern when it is first needed. Programs that link the package are started
// often, as the worker and for commands, and seldom need any.
func lazy(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}
