//go:build linux && (amd64 || arm64)

package thread

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/tinyelf"
)

// As long as the command's process has not executed anything, its /proc/self/exe is the program of the
// worker, and "#!/proc/self/exe" in a file of an image would execute that, and let the command
// change it (CVE-2019-5736). So it first executes a program of some instructions, the stub, which looks
// for the command and executes it:
//
//	stub FILE... "" ARGUMENT...
//
// tries the files one after the other until one can be executed, with those arguments and its own
// variables. When none can be, it writes the error's number, as four bytes, to descriptor 3, which
// the command does not get.

// reportFD is the stub's.
const reportFD = 3

// stubSize is no less than the length of the stub's code; what follows it is not reached.
const stubSize = 320

// stubCode is where the stub's code is.
func stubCode() uintptr

// stubProgram is the stub as a program.
func stubProgram() []byte { return tinyelf.Program(stubCode(), stubSize) }

// openStub writes the stub to a directory and opens it by a mount of its own, by which nobody can
// write to it. The descriptor is none of those that commands use.
func openStub(dir string) (int, error) {
	name := dir + "/stub"
	// A process that is being started has this descriptor, too, and nothing is executed that is open
	// for writing.
	syscall.ForkLock.RLock()
	err := os.WriteFile(name, stubProgram(), 0o555)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, &os.PathError{Op: "open_tree", Path: name, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: readOnly | noSUID | noDev}); err != nil {
		return -1, &os.PathError{Op: "mount_setattr", Path: name, Err: err}
	}
	high, err := above(fd)
	if err != nil {
		return -1, fmt.Errorf("the stub: %w", err)
	}
	return high, nil
}

// memoryStub opens the stub where nothing can be mounted.
func memoryStub() (int, error) {
	f, err := tinyelf.InMemory("stub", stubProgram())
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return above(int(f.Fd()))
}

// above copies a descriptor to one that is above those that commands have.
func above(fd int) (int, error) {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, reportFD+1)
	return high, os.NewSyscallError("fcntl", err)
}
