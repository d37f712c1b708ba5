//go:build !linux

package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/oakum-build/oakum/builder/isolation"
)

const (
	// unreadRequest asks how much in a pipe has not been read: FIONREAD of macOS and the BSDs.
	unreadRequest = 0x4004667f
	// closeOnExec is nothing that these systems know.
	closeOnExec = 0
)

// stepAside does nothing where no worker runs.
func stepAside(isolation.Limits) {}

// widen does nothing where pipes have one size.
func widen(*os.File) {}

// placeIn is for Linux, where no name of a tar leads out of a directory.
func placeIn(context.Context, string, bool, func(func(io.Reader) error) error) error {
	return fmt.Errorf("files are written to a directory on Linux alone: %w", errors.ErrUnsupported)
}
