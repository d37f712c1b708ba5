//go:build linux

package binfmt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// registered says that the kernel has an interpreter for the programs of a machine that
// commands can use: one that was opened when it was registered, or of which nothing else is known.
// The kernel is asked to execute the beginning of such a program, from a descriptor that is closed
// by that. So it never does: it knows no interpreter, or has none that could be told what to open.
func (e *Emulators) registered(m machine) bool {
	fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, m.header()); err != nil {
		return false
	}
	return errors.Is(execute(fd), unix.ENOENT) && e.usable(m)
}

// execute asks the kernel to execute a descriptor, which must fail.
func execute(fd int) error {
	empty, none := []byte{0}, []*byte{nil}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&none[0])), uintptr(unsafe.Pointer(&none[0])), unix.AT_EMPTY_PATH, 0)
	runtime.KeepAlive(empty)
	return errno
}

// usable says that none of the machine's registrations that are to be seen here for a machine
// has an interpreter that would be looked for among the command's own files.
func (e *Emulators) usable(m machine) bool {
	for _, entry := range e.entries() {
		if entry.matches(m.header()) && !strings.Contains(entry.flags, "F") {
			return false
		}
	}
	return true
}

// entries are those registrations. A container does not see them.
func (e *Emulators) entries() []entry {
	if e.host == nil {
		return nil
	}
	fd, err := unix.Openat(int(e.host.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	dir := os.NewFile(uintptr(fd), hostDir)
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var out []entry
	for _, name := range names {
		if name == "register" || name == "status" {
			continue
		}
		if text, err := readAt(dir, name); err == nil {
			out = append(out, parseEntry(text))
		}
	}
	return out
}

func readAt(dir *os.File, name string) (string, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	return string(text), err
}

// entry is a registration as the kernel shows it.
type entry struct {
	enabled     bool
	flags       string
	magic, mask []byte
}

// parseEntry reads what the kernel shows of a registration.
func parseEntry(text string) (e entry) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "enabled":
			e.enabled = true
		case "flags:":
			e.flags = value
		case "magic":
			e.magic, _ = hex.DecodeString(value)
		case "mask":
			e.mask, _ = hex.DecodeString(value)
		}
	}
	return e
}

// matches says that the kernel takes a file that begins so for the registration's.
func (e entry) matches(header []byte) bool {
	if !e.enabled || len(e.magic) == 0 || len(e.magic) > len(header) {
		return false
	}
	masked := bytes.Clone(header[:len(e.magic)])
	for i := range min(len(e.mask), len(masked)) {
		masked[i] &= e.mask[i]
	}
	want := bytes.Clone(e.magic)
	for i := range min(len(e.mask), len(want)) {
		want[i] &= e.mask[i]
	}
	return bytes.Equal(masked, want)
}
