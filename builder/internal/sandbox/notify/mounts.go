//go:build linux && (amd64 || arm64)

package notify

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// What the machine's /proc says of the mounts of a process in another root directory is nothing, for none lies
// below that. Programs look there for the file system of the root, and whether there is a /proc.

// mounts are what is said of them, once it is asked for.
type mounts struct {
	once   sync.Once
	tables tables
	err    error
}

// tables are the files of mounts, by their names.
type tables map[string]*os.File

// makeTables makes the files of mounts of the command: its root, and /proc.
func (s *Server) makeTables() (tables, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	root, err := mountOf(int(s.Root.Fd()), string(data))
	if err != nil {
		return nil, err
	}
	proc, err := mountOf(int(s.proc.Fd()), string(data))
	if err != nil {
		return nil, err
	}
	made := tables{}
	for name, text := range map[string]string{
		"mountinfo": root.info(1, "/") + proc.info(2, "/proc"),
		"mounts":    root.line("/") + proc.line("/proc"),
	} {
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			return nil, errors.Join(os.NewSyscallError("memfd_create", err), made.close())
		}
		f := os.NewFile(uintptr(fd), name)
		made[name] = f
		_, err = f.WriteString(text)
		if err == nil {
			err = f.Chmod(0o444)
		}
		if err == nil {
			_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
		}
		if err != nil {
			return nil, errors.Join(err, made.close())
		}
	}
	return made, nil
}

func (t tables) close() error {
	var errs []error
	for _, f := range t {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// mounted is a line of mountinfo (proc_pid_mountinfo(5)).
type mounted struct{ device, options, kind, source, super string }

// mountOf gives the mount that a file is in.
func mountOf(fd int, table string) (mounted, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return mounted{}, os.NewSyscallError("statx", err)
	}
	for line := range strings.Lines(table) {
		before, after, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		fields, rest := strings.Fields(before), strings.Split(after, " ")
		if len(fields) >= 6 && len(rest) == 3 && fields[0] == fmt.Sprint(st.Mnt_id) {
			return mounted{fields[2], fields[5], rest[0], rest[1], rest[2]}, nil
		}
	}
	// One that this process cannot see by a path.
	return mounted{fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor), "rw", "none", "none", "rw"}, nil
}

func (m mounted) info(id int, at string) string {
	return fmt.Sprintf("%d %d %s / %s %s - %s %s %s\n", id, id-1, m.device, at, m.options, m.kind, m.source, m.super)
}

func (m mounted) line(at string) string {
	return fmt.Sprintf("%s %s %s %s 0 0\n", m.source, at, m.kind, m.options)
}
