// Package errdefs holds the errors by which the parts of builder tell its caller what kind of
// thing went wrong. Package builder shows them under its own names.
package errdefs

import (
	"errors"

	"github.com/oakum-build/oakum/builder/limits"
)

// Errors to branch on with errors.Is. What they mean is said in package builder.
var (
	ErrNotFound     = errors.New("no such file or directory")
	ErrUserNotFound = errors.New("no such user or group")
	ErrFetch        = errors.New("cannot be fetched")
	ErrInvalid      = limits.ErrInvalid
	ErrUncached     = errors.New("not in the layer cache")
)

// HostError is a refusal by this machine, with its remedy.
type HostError struct{ Missing, Remedy string }

func (e *HostError) Error() string { return e.Missing }

// Fix is the remedy, as of all errors that have one.
func (e *HostError) Fix() string { return e.Remedy }

// ExitError is a command that failed.
type ExitError struct {
	Code   int
	Reason string // why it could not be started; "" when it ran
	// Emulator says why there is none for the architecture of the command's image, if one would
	// have been needed.
	Emulator string
}

func (e *ExitError) Error() string { return e.Reason }
