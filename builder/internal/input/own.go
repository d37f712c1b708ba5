//go:build linux

package input

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// own tells the store and the worker's mounts from the other files of a context that
// has them in it: by what they are, for a name, a link or a mount may lead to them by any
// path. Copying them into a layer of that very store would not end.
type own struct {
	inodes  map[inode]string  // with the directory that they belong to
	dirs    map[inode]bool    // of inodes, those that may hold a context
	devices map[uint64]string // of our mounts, with where they are
	warn    func(place string)
}

type inode struct{ dev, ino uint64 }

// own looks where everything is now. Each place that a context has in it is told to the
// caller once.
func (env Env) own(context string) *own {
	o := &own{inodes: map[inode]string{}, dirs: map[inode]bool{}, devices: map[uint64]string{}}
	var st unix.Stat_t
	for _, place := range env.Store.Places() {
		if unix.Stat(place.Dir, &st) == nil {
			o.inodes[inode{st.Dev, st.Ino}], o.dirs[inode{st.Dev, st.Ino}] = place.Dir, true
		}
		for _, path := range place.Content {
			if unix.Stat(path, &st) == nil {
				o.inodes[inode{st.Dev, st.Ino}] = place.Dir
				delete(o.dirs, inode{st.Dev, st.Ino})
			}
		}
	}
	for _, path := range env.Mounts {
		if unix.Stat(path, &st) == nil {
			o.devices[st.Dev] = path
		}
	}
	o.warn = func(place string) {
		env.Call.WarnOnce(fmt.Sprintf("the build context %s has %s in it, which belongs to the image store or to this build and is not copied; list it in .dockerignore, or choose another context or --root", context, place))
	}
	return o
}

// place gives the directory that a file belongs to which is our own, or "".
func (o *own) place(st *unix.Stat_t) string {
	if place, ok := o.inodes[inode{st.Dev, st.Ino}]; ok {
		return place
	}
	return o.devices[st.Dev]
}

// apart is filecopy.Tree.Apart.
func (o *own) apart(st *unix.Stat_t) bool {
	place := o.place(st)
	if place != "" {
		o.warn(place)
	}
	return place != ""
}

// check refuses a context that is inside of what is our own.
func (o *own) check(context *os.File) error {
	dir, err := openAt(context, ".")
	if err != nil {
		return err
	}
	defer func() { dir.Close() }()
	for last := (inode{}); ; {
		var st unix.Stat_t
		if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
			return &os.PathError{Op: "stat", Path: dir.Name(), Err: err}
		}
		here := inode{st.Dev, st.Ino}
		if place := o.place(&st); place != "" && !o.dirs[here] {
			return invalid("%s is in %s, which is part of the image store or of a build and is not copied from", context.Name(), place)
		}
		if here == last {
			return nil // the root
		}
		parent, err := openAt(dir, "..")
		if err != nil {
			return nil // above are directories of others
		}
		dir.Close()
		dir, last = parent, here
	}
}

func openAt(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}
