package builder

import (
	"errors"
	"fmt"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Errors to branch on with errors.Is.
var (
	// ErrImageNotFound: no image of that name is in the store, nor could one be pulled.
	ErrImageNotFound = storage.ErrNotFound
	// ErrReference: a text is not a valid image reference.
	ErrReference = imageref.ErrInvalid
	// ErrRegistry: a registry could not be reached or refused the request.
	ErrRegistry = registry.ErrRegistry
	// ErrInUse: an image cannot be removed because something depends on it.
	ErrInUse = storage.ErrInUse
	// ErrNotFound: a file that a step reads does not exist.
	ErrNotFound = errdefs.ErrNotFound
	// ErrUserNotFound: a user or group name is not in the stage's passwd or group file.
	ErrUserNotFound = errdefs.ErrUserNotFound
	// ErrFetch: a URL or a git repository could not be fetched, or is not what its
	// checksum says.
	ErrFetch = errdefs.ErrFetch
	// ErrInvalid: an argument is not valid. With a *limits.LimitError it is larger than what
	// is taken.
	ErrInvalid = limits.ErrInvalid
	// ErrUnfit: a step brings or leaves a file that a layer cannot hold, such as one whose name
	// begins with ".wh." (OCI image layer specification, "Whiteouts").
	ErrUnfit = tarfilter.ErrUnfit
	// ErrUncached: a step is not in the cache, and StageOptions.Lookup forbids to do it; or, with ErrImageNotFound,
	// another program than oakum has removed a layer that a stage was on. Who starts again may well succeed.
	ErrUncached = errdefs.ErrUncached
	// ErrClosed: the Builder or Stage is closed, or its worker has died.
	ErrClosed = errors.New("builder is closed")
)

// LayerError says that a step has been done, but that its layer could not be written for
// good, since the disk is full, say. Layers are written while what follows is done: so a later
// step fails with it, or the commit. Its Layer is that of the Step of that step.
type LayerError = storage.LayerError

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

// HostError says what this machine lacks and how to mend it.
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

// RegistryError is a registry that could not be reached or refused the request. It matches
// ErrRegistry. Host names the registry, and Reason says why, when the caller can do something
// about it: "login", it wants a login, or another one; "http", it speaks http, and https was
// wanted; "certificate", its certificate is not trusted. Any other failure has none.
type RegistryError = registry.Error
