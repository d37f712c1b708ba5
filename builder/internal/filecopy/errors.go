package filecopy

import (
	"fmt"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
)

// NotFoundError is a source that is not there.
type NotFoundError struct{ Path, Why string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("%q: %s", e.Path, e.Why) }

// Unwrap gives errdefs.ErrNotFound.
func (e *NotFoundError) Unwrap() error { return errdefs.ErrNotFound }

// InvalidError is a copy that cannot be: a pattern that means nothing, or a file in the
// way of a directory.
type InvalidError struct{ Why string }

func (e *InvalidError) Error() string { return e.Why }

// Unwrap gives errdefs.ErrInvalid.
func (e *InvalidError) Unwrap() error { return errdefs.ErrInvalid }
