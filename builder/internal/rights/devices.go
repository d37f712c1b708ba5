//go:build linux

package rights

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage/openat2"
)

// OpenDevice opens the node of a device with O_PATH, to be mounted from. No link is followed, and
// nothing else than a device's node is opened: what makes no sense matches limits.ErrInvalid, and a
// device that the machine has not is a *sandbox.HostError. Nothing can exchange what is opened.
func OpenDevice(name string) (*os.File, error) {
	fd, err := openat2.Open(unix.AT_FDCWD, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%w: device %s: there is a link in it: name the device's node itself", limits.ErrInvalid, name)
	case err != nil:
		return nil, &sandbox.HostError{Missing: fmt.Sprintf("device %s: %v", name, err), Remedy: "name a device that this machine has, or leave it out"}
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFLNK || kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		f.Close()
		return nil, fmt.Errorf("%w: device %s: it is a %s, and no device's node", limits.ErrInvalid, name, kindName(kind))
	}
	return f, nil
}

func kindName(kind uint32) string {
	switch kind {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "link"
	}
	return "pipe or socket"
}

// Devices are those of the machine that every command gets.
var Devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
