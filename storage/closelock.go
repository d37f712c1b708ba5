//go:build linux

package storage

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// closeLock gives a lock of flock back and closes its file. Closing alone does not give it back at once: a process
// that is just being started has a copy of every descriptor until it executes its program.
func closeLock(f *os.File) error {
	return errors.Join(wrap("flock", f.Name(), unix.Flock(int(f.Fd()), unix.LOCK_UN)), f.Close())
}
