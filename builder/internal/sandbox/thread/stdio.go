//go:build linux && (amd64 || arm64)

package thread

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// stdio are descriptors for the command's standard files: none of the first three, which the command's
// process overwrites one after the other.
func (c *container) stdio() (files [3]int, err error) {
	if c.Stdio.Terminal != nil {
		end, err := c.terminal()
		return [3]int{end, end, end}, err
	}
	for i, f := range []*os.File{c.Stdio.In, c.Stdio.Out, c.Stdio.Err} {
		fd, err := above(int(f.Fd()))
		if err != nil {
			return files, err
		}
		files[i] = c.keep(fd)
		if err := c.give(fd); err != nil {
			return files, err
		}
	}
	return files, nil
}

// makeReport makes the stub's pipe, whose other end is none of the command's descriptors, either.
func (c *container) makeReport() error {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe", err)
	}
	defer unix.Close(ends[1])
	high, err := above(ends[1])
	if err != nil {
		return errors.Join(err, unix.Close(ends[0]))
	}
	c.report = [2]int{c.keep(ends[0]), c.keep(high)}
	return nil
}

// give gives a standard file to the command's user, who may have to open it again by its name in
// /dev or /proc.
func (c *container) give(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	null := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
	if null || int(st.Uid) == c.Process.User.UID {
		return nil
	}
	err := unix.Fchown(fd, c.Process.User.UID, -1)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.EINVAL) {
		return nil // its owner is nobody in this user namespace, or it cannot have another one
	}
	return os.NewSyscallError("fchown", err)
}

// terminal makes a terminal, sends its one end, and gives the other one.
func (c *container) terminal() (int, error) {
	t := c.Stdio.Terminal
	dir, name := c.pts, "ptmx"
	if c.chroot != nil {
		dir, name = unix.AT_FDCWD, "/dev/ptmx" // of this process
	}
	master, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("making a terminal: %w", err)
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, fmt.Errorf("making a terminal: %w", os.NewSyscallError("ioctl", err))
	}
	if t.Rows != 0 && t.Columns != 0 {
		if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &unix.Winsize{Row: t.Rows, Col: t.Columns}); err != nil {
			return -1, fmt.Errorf("the terminal's size: %w", os.NewSyscallError("ioctl", err))
		}
	}
	// The other end is opened by its first one, and not by a name.
	end, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, fmt.Errorf("opening the terminal: %w", os.NewSyscallError("ioctl", errno))
	}
	c.keep(int(end))
	if err := c.give(int(end)); err != nil {
		return -1, err
	}
	if c.chroot == nil {
		if err := c.console(int(end)); err != nil {
			return -1, err
		}
	}
	if err := unix.Sendmsg(int(t.Socket.Fd()), []byte("/dev/ptmx"), unix.UnixRights(master), nil, 0); err != nil {
		return -1, fmt.Errorf("sending the terminal: %w", os.NewSyscallError("sendmsg", err))
	}
	return int(end), nil
}

// console makes the terminal that of the machine, too, as the command sees it.
func (c *container) console(end int) error {
	mount, err := c.clone(end, "", 0, 0)
	if err != nil {
		return err
	}
	point, err := c.pointInDev("console", true)
	if err != nil {
		return err
	}
	return attach(mount, point, "/dev/console")
}
