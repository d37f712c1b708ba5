//go:build linux

// Package binfmt lets commands be programs of other architectures, by QEMU's user emulators and
// the kernel's table of interpreters, binfmt_misc.
//
// Since Linux 6.7 each user namespace can have a table of its own, which counts for its processes
// and those in namespaces below it. It is that of a file system which need not be mounted anywhere
// for that. So an ordinary user needs nothing of the machine but an emulator, and nothing that is
// registered here is left behind, or known to anybody else.
package binfmt

import (
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
)

// hostDir is where the machine's registrations are shown.
const hostDir = "/proc/sys/fs/binfmt_misc"

// Emulators knows which architectures' programs the kernel executes for commands of this process.
// Its methods may be called by many goroutines.
type Emulators struct {
	own  bool
	host *os.File // hostDir, as it is before another /proc is mounted over it; or nil

	mu    sync.Mutex
	needs map[string]need // by the architecture
	table *os.File        // the root of a file system
	users *os.File        // the user namespace that it is of; nil is that of this process
}

// need is what Need has given.
type need struct {
	users *os.File
	err   error
}

// Open finds where the machine's registrations are shown; so it is to be called before /proc is
// mounted anew. own says that the user namespace of this process ends with it. Only such a one
// is given a table, for that hides the one above from all processes in the namespace, for ever.
func Open(own bool) *Emulators {
	e := &Emulators{own: own, needs: map[string]need{}}
	if fd, err := unix.Open(hostDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		e.host = os.NewFile(uintptr(fd), hostDir)
	}
	return e
}

// Need sees to it that programs of an architecture, named as in images, can be executed. What
// the machine has registered is used as it is; otherwise an emulator is looked for in PATH. Where
// neither is there it is a *errdefs.HostError. users is the user namespace, with the ids of this
// process, that such programs are to be executed in; nil is any. Programs of this machine's own
// architecture, and of one that nothing is known of, are no matter of this package.
func (e *Emulators) Need(arch string) (users *os.File, err error) {
	m, known := machines[arch]
	if !known || native(arch) {
		return nil, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	n, done := e.needs[arch]
	if !done {
		n.users, n.err = e.enable(m)
		e.needs[arch] = n
	}
	return n.users, n.err
}

// Available gives the architectures whose programs Need lets be executed, beside the machine's own.
func (e *Emulators) Available() []string {
	var all []string
	for _, arch := range slices.Sorted(maps.Keys(machines)) {
		if native(arch) {
			continue
		}
		if _, err := e.Need(arch); err == nil {
			all = append(all, arch)
		}
	}
	return all
}

// native says that this processor executes the programs of an architecture.
func native(arch string) bool {
	switch runtime.GOARCH + " " + arch {
	case arch + " " + arch, "amd64 386", "ppc64le ppc64", "mips64 mips", "mips64le mipsle":
		return true
	case "arm64 arm":
		return compat()
	}
	return false
}

// compat says that a 64-bit processor has the 32-bit instructions too: without them, the kernel
// refuses threads that want to see it as a 32-bit machine.
func compat() bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const ask, linux32 = 0xffffffff, 8
	old, _, errno := unix.Syscall(unix.SYS_PERSONALITY, ask, 0, 0)
	if errno != 0 {
		return false
	}
	if _, _, errno = unix.Syscall(unix.SYS_PERSONALITY, linux32, 0, 0); errno != 0 {
		return false
	}
	_, _, errno = unix.Syscall(unix.SYS_PERSONALITY, old, 0, 0)
	return errno == 0
}

func (e *Emulators) enable(m machine) (*os.File, error) {
	if e.registered(m) {
		return nil, nil
	}
	path, err := find(m)
	if err == nil && e.table == nil {
		err = e.newTable()
	}
	if err == nil {
		err = e.register(m, path)
	}
	return e.users, err
}

// find is the path of the static emulator for a machine.
func find(m machine) (string, error) {
	dirs := append(filepath.SplitList(os.Getenv("PATH")), "/usr/bin", "/usr/local/bin")
	for _, name := range []string{"qemu-" + m.qemu + "-static", "qemu-" + m.qemu} {
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			if !filepath.IsAbs(dir) || !isStatic(path) {
				continue
			}
			return path, nil
		}
	}
	return "", &errdefs.HostError{
		Missing: "there is no qemu-" + m.qemu + "-static in PATH, and the machine has no emulator registered (binfmt_misc)",
		Remedy:  "install it, on Debian with: apt-get install qemu-user-static",
	}
}

// isStatic says that a file is a program that needs no others: what they are would be looked
// for among the command's files.
func isStatic(path string) bool {
	if _, err := exec.LookPath(path); err != nil {
		return false
	}
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

// register tells the kernel of an emulator. Commands can come by the file that it then has open,
// since it is what their processes execute; so it is opened in a mount that nobody can write to.
func (e *Emulators) register(m machine, path string) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	defer unix.Close(tree)
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID}); err != nil {
		return &os.PathError{Op: "mount_setattr", Path: path, Err: err}
	}
	fd, err := unix.Openat(int(e.table.Fd()), "register", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "binfmt_misc/register", Err: err}
	}
	defer unix.Close(fd)
	line := m.registration(fmt.Sprintf("/proc/self/fd/%d", tree))
	if _, err := unix.Write(fd, []byte(line)); err != nil {
		return fmt.Errorf("registering %s in binfmt_misc: %w", path, err)
	}
	return nil
}

// Close forgets what was registered, once no command runs any more.
func (e *Emulators) Close() {
	for _, f := range []*os.File{e.host, e.table, e.users} {
		f.Close() // nil is no harm
	}
}
