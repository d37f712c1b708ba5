//go:build linux

package binfmt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/procfs"
	"github.com/oakum-build/oakum/builder/internal/userns"
)

// newTable makes a table: of the user namespace of this process if that is its own, else of
// another, in which commands are to be executed.
func (e *Emulators) newTable() (err error) {
	if e.own {
		e.table, err = makeTable()
	} else {
		e.table, e.users, err = makeNamespace()
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
		return &errdefs.HostError{
			Missing: fmt.Sprintf("the machine has no emulator registered (binfmt_misc), and does not let user namespaces register one: %v", err),
			Remedy:  "use Linux 6.7 or later with binfmt_misc, or have root register it, on Debian with: apt-get install qemu-user-static binfmt-support",
		}
	}
	return err
}

// makeTable makes the table of the user namespace of this process, as a file system that is
// mounted nowhere.
func makeTable() (*os.File, error) {
	fs, err := unix.Fsopen("binfmt_misc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen binfmt_misc", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, os.NewSyscallError("mounting binfmt_misc", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsmount binfmt_misc", err)
	}
	return os.NewFile(uintptr(fd), "binfmt_misc"), nil
}

// makeNamespace makes a user namespace with the ids of this process, and its table. A process
// with threads cannot enter one: this program is executed in it, and ends when both are open here.
func makeNamespace() (table, users *os.File, err error) {
	uids, gids, err := passwd.OwnIDs()
	if err != nil {
		return nil, nil, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "holder"), os.NewFile(uintptr(fds[1]), "worker")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{userns.EnvHolder}
	cmd.ExtraFiles = []*os.File{theirs, theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		UidMappings: identity(uids), GidMappings: identity(gids), GidMappingsEnableSetgroups: true,
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		ours.Close()
		return nil, nil, fmt.Errorf("making a user namespace for emulators: %w", err)
	}
	table, users, err = fetch(ours, cmd.Process.Pid)
	ours.Close()
	return table, users, errors.Join(err, cmd.Wait())
}

// fetch opens what a holder has.
func fetch(holder *os.File, pid int) (table, users *os.File, err error) {
	var text [64]byte
	n, err := holder.Read(text[:])
	if err != nil {
		return nil, nil, fmt.Errorf("the process in a user namespace for emulators: %w", err)
	}
	var fd, number int
	if _, err := fmt.Sscanf(string(text[:n]), "%d %d", &fd, &number); err != nil {
		return nil, nil, fmt.Errorf("the process in a user namespace for emulators said %q", text[:n])
	}
	if number != 0 {
		return nil, nil, os.NewSyscallError("mounting binfmt_misc", syscall.Errno(number))
	}
	if pid, err = procfs.Number(pid); err != nil {
		return nil, nil, err
	}
	if table, err = openPath(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), unix.O_PATH|unix.O_DIRECTORY); err != nil {
		return nil, nil, err
	}
	if users, err = openPath(fmt.Sprintf("/proc/%d/ns/user", pid), unix.O_RDONLY); err != nil {
		table.Close()
		return nil, nil, err
	}
	return table, users, nil
}

func openPath(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func identity(ids passwd.IDMap) []syscall.SysProcIDMap {
	var maps []syscall.SysProcIDMap
	for _, r := range ids {
		maps = append(maps, syscall.SysProcIDMap{ContainerID: int(r.First), HostID: int(r.First), Size: int(r.Count)})
	}
	return maps
}

// Hold is the life of the process in another user namespace: it makes the namespace's table, tells
// its descriptor or the error's number, and ends when the worker closes the socket.
func Hold(worker *os.File) {
	table, err := makeTable()
	var number syscall.Errno
	if err != nil && !errors.As(err, &number) {
		number = unix.EIO
	}
	fd := -1
	if err == nil {
		fd = int(table.Fd())
	}
	if _, err := fmt.Fprintf(worker, "%d %d", fd, int(number)); err == nil {
		_, _ = worker.Read(make([]byte, 1))
	}
	runtime.KeepAlive(table)
}
