//go:build linux

package extract

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Names of the OCI image specification, "Whiteouts", and of what AUFS kept for itself.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	metaPrefix     = ".wh..wh."
)

// whiteout does what an entry of a layer says when it is a whiteout, and tells whether it was one.
func (x *extraction) whiteout(h *tar.Header, dir, base string) (bool, error) {
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, metaPrefix) {
			return true, nil
		}
		if strings.HasPrefix(part, whiteoutPrefix) {
			return true, &tarfilter.EntryError{Name: h.Name, Why: fmt.Sprintf("lies in %q, whose name marks a file as removed", part)}
		}
	}
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !ok:
		return false, nil
	case base != opaqueName && strings.HasPrefix(base, metaPrefix):
		return true, nil
	case hidden == "" || hidden == "." || hidden == "..":
		return true, &tarfilter.EntryError{Name: h.Name, Why: "marks nothing that could be removed"}
	}
	at, err := x.parent(h.Name, dir)
	if err != nil {
		return true, err
	}
	if base != opaqueName {
		err = x.hide(at, hidden)
	} else {
		err = x.hideAll(at)
	}
	x.forget()
	return true, err
}

// hideAll hides what a directory has from the layers below.
func (x *extraction) hideAll(at *place) error {
	names, err := names(at.dir)
	if err != nil {
		return &os.PathError{Op: "read", Path: at.path, Err: err}
	}
	for _, name := range names {
		if err := x.hide(at, name); err != nil {
			return err
		}
	}
	return nil
}

// hide removes a file, or what is in a directory and the directory itself, as far as it is of the layers
// below.
func (x *extraction) hide(at *place, name string) error {
	here := at.join(name)
	fd, err := openDir(at.dir, name)
	switch {
	case err == nil:
		sub := &place{os.NewFile(uintptr(fd), here), here}
		err := x.hideAll(sub)
		sub.dir.Close()
		if err != nil || x.isMade(here) {
			return err
		}
		if err := x.Owners.Unlink(at.dir, name, unix.AT_REMOVEDIR); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
		return nil
	case errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP):
		return &os.PathError{Op: "open", Path: here, Err: err}
	case x.isMade(here):
		return nil
	}
	return x.Owners.Unlink(at.dir, name, 0)
}

// remove removes a file, or a directory with all that is in it.
func (x *extraction) remove(dir *os.File, name string) error {
	err := x.Owners.Unlink(dir, name, 0)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	fd, err := openDir(dir, name)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	sub := os.NewFile(uintptr(fd), name)
	defer sub.Close()
	names, err := names(sub)
	if err != nil {
		return &os.PathError{Op: "read", Path: name, Err: err}
	}
	for _, name := range names {
		if err := x.remove(sub, name); err != nil {
			return err
		}
	}
	return x.Owners.Unlink(dir, name, unix.AT_REMOVEDIR)
}

// names lists a directory that is open as a mere path.
func names(dir *os.File) ([]string, error) {
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), dir.Name())
	defer f.Close()
	return f.Readdirnames(-1)
}
