package builder

import (
	"errors"
	"fmt"
	"strings"

	"github.com/oakum-build/oakum/builder/foreign"
)

// Errors to branch on with errors.Is.
var (
	// ErrImageNotFound: no image of that name is in the store, nor could one be pulled.
	ErrImageNotFound = errors.New("image not found")
	// ErrReference: a text is not a valid image reference.
	ErrReference = errors.New("invalid image reference")
	// ErrRegistry: a registry could not be reached or refused the request.
	ErrRegistry = errors.New("registry request failed")
	// ErrInUse: an image cannot be removed because something depends on it.
	ErrInUse = errors.New("image is in use")
	// ErrNotFound: a file that a step reads does not exist.
	ErrNotFound = errors.New("no such file or directory")
	// ErrUserNotFound: a user or group name is not in the stage's passwd or group file.
	ErrUserNotFound = errors.New("no such user or group in the stage")
	// ErrFetch: a URL or a git repository could not be fetched, or is not what its
	// checksum says.
	ErrFetch = errors.New("cannot be fetched")
	// ErrInvalid: an argument is not valid. With a *foreign.LimitError it is larger than what
	// is taken.
	ErrInvalid = foreign.ErrInvalid
	// ErrUnfit: a step brings or leaves a file that a layer cannot hold, such as one whose name
	// begins with ".wh." (OCI image layer specification, "Whiteouts").
	ErrUnfit = errors.New("a layer cannot hold a file")
	// ErrUncached: a step is not in the cache, and StageOptions.Lookup forbids to do it.
	ErrUncached = errors.New("not in the layer cache")
	// ErrHost: this machine does not allow what was asked. The error is a *HostError.
	ErrHost = errors.New("not possible on this host")
	// ErrClosed: the Builder or Stage is closed, or its worker has died.
	ErrClosed = errors.New("builder is closed")
)

// LayerError says that a step has been done, but that its layer could not be written for
// good, since the disk is full, say. Layers are written while what follows is done: so a later
// step fails with it, or the commit.
type LayerError struct {
	Layer string // as in the Step of that step
	Err   error
}

func (e *LayerError) Error() string { return e.Err.Error() }
func (e *LayerError) Unwrap() error { return e.Err }

// ExitError is a command that ran and failed, or that could not be started.
type ExitError struct {
	Args   []string
	Code   int    // exit status; 128+n when killed by signal n
	Reason string // why it could not be started (Code is then 126 or 127); "" when it ran
	Output []byte // the last lines it wrote, at most 8 KiB
}

func (e *ExitError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("command %q: %s", strings.Join(e.Args, " "), e.Reason)
	}
	return fmt.Sprintf("command %q: exit status %d", strings.Join(e.Args, " "), e.Code)
}

// HostError says what this machine lacks and how to mend it. It matches ErrHost.
type HostError struct {
	Missing string // what is missing, one sentence
	Fix     string // a command or setting that mends it; may be empty
}

func (e *HostError) Error() string {
	if e.Fix == "" {
		return e.Missing
	}
	return e.Missing + "; to mend it: " + e.Fix
}

// Is makes errors.Is(err, ErrHost) true.
func (e *HostError) Is(target error) bool { return target == ErrHost }

// RegistryReason is why a registry failed, as far as its caller can do something about it.
type RegistryReason string

// The reasons. Any other failure has none.
const (
	RegistryLogin       RegistryReason = "login"       // it wants a login, or another one
	RegistryHTTP        RegistryReason = "http"        // it speaks http, and https was wanted
	RegistryCertificate RegistryReason = "certificate" // its certificate is not trusted
)

// RegistryError is a registry that could not be reached or refused the request. It
// matches ErrRegistry.
type RegistryError struct {
	Host   string
	Reason RegistryReason
	text   string
}

func (e *RegistryError) Error() string { return e.text }

// Is makes errors.Is(err, ErrRegistry) true.
func (e *RegistryError) Is(target error) bool { return target == ErrRegistry }
