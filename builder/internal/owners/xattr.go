//go:build linux

package owners

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Xattr is an extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Setxattr gives a file an attribute. One that this process, or the file system, may not have there
// is remembered.
func (o *Owners) Setxattr(dir *os.File, name, attr string, value []byte) error {
	var err error
	if name == "" {
		err = unix.Setxattr(procPath(int(dir.Fd())), attr, value, 0) // it may be open as a mere path
	} else {
		err = unix.Lsetxattr(procPath(int(dir.Fd()))+"/"+name, attr, value, 0)
	}
	switch {
	case err == nil:
		return o.forgetAttr(dir, name, attr)
	case o == nil || !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP):
		return pathError("setxattr "+attr, dir, name, err)
	}
	err = o.set(dir, name, func(f *file, _ *unix.Statx_t) {
		attrs := maps.Clone(f.attrs) // others may be reading it
		if attrs == nil {
			attrs = map[string][]byte{}
		}
		attrs[attr] = slices.Clone(value)
		f.attrs = attrs
	})
	if err != nil {
		return err
	}
	return touch(dir, name)
}

// touch moves the time of a file's change, which tells others that it is another than before.
func touch(dir *os.File, name string) error {
	var st unix.Stat_t
	err := stat(dir, name, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		err = chown(dir, name, -1, -1)
	} else if err == nil {
		err = chmod(dir, name, st.Mode&0o7777)
	}
	if errors.Is(err, unix.EPERM) {
		return nil // a file of another
	}
	return err
}

// Removexattr takes an attribute from a file, which need not have it.
func (o *Owners) Removexattr(dir *os.File, name, attr string) error {
	var err error
	if name == "" {
		err = unix.Removexattr(procPath(int(dir.Fd())), attr)
	} else {
		err = unix.Lremovexattr(procPath(int(dir.Fd()))+"/"+name, attr)
	}
	if err != nil && !errors.Is(err, unix.ENODATA) && (o == nil || !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP)) {
		return pathError("removexattr "+attr, dir, name, err)
	}
	return o.forgetAttr(dir, name, attr)
}

func (o *Owners) forgetAttr(dir *os.File, name, attr string) error {
	if o == nil {
		return nil
	}
	return o.forget(dir, name, func(f *file, _ *unix.Statx_t) { f.unset(attr) })
}

func (f *file) unset(attr string) {
	if _, ok := f.attrs[attr]; ok {
		f.attrs = maps.Clone(f.attrs) // others may be reading it
		delete(f.attrs, attr)
	}
}

// capabilities is the attribute that has those of a program.
const capabilities = "security.capability"

// Xattrs gives the attributes of a file whose names keep takes, in the order of their names. A
// file system without attributes has none.
func (o *Owners) Xattrs(dir *os.File, name string, keep func(attr string) bool) ([]Xattr, error) {
	all, err := xattrs(dir, name, keep)
	if err != nil || o == nil {
		return all, err
	}
	var st unix.Stat_t
	if err := stat(dir, name, &st); err != nil {
		return nil, err
	}
	f, err := o.find(dir, name, st.Ino)
	if f == nil {
		return all, err
	}
	for attr, value := range f.attrs {
		if keep(attr) {
			all = append(all, Xattr{attr, value})
		}
	}
	slices.SortFunc(all, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// xattrs gives those that a file really has.
func xattrs(dir *os.File, name string, keep func(attr string) bool) ([]Xattr, error) {
	names, err := listed(dir, name, listxattrat)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil, nil
	}
	if err != nil {
		return nil, pathError("listxattr", dir, name, err)
	}
	path, get := procPath(int(dir.Fd())), unix.Getxattr // the path is a descriptor's
	if name != "" {
		path, get = path+"/"+name, unix.Lgetxattr
	}
	var all []Xattr
	for attr := range bytes.SplitSeq(bytes.TrimRight(names, "\x00"), []byte{0}) {
		if len(attr) == 0 || !keep(string(attr)) {
			continue
		}
		value := make([]byte, 65536) // the largest that there is
		n, err := get(path, string(attr), value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, pathError("getxattr "+string(attr), dir, name, err)
		}
		all = append(all, Xattr{string(attr), slices.Clone(value[:n])})
	}
	slices.SortFunc(all, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// listed gives the names of a file's attributes, each with a zero byte behind it. A name in a directory is asked for by at;
// where Linux is older than 6.13, or a filter refuses the calls that it does not know, by a path, which takes three times as long.
func listed(dir *os.File, name string, at func(dir int, name string, names []byte) (int, error)) ([]byte, error) {
	fd := int(dir.Fd())
	list := func(names []byte) (int, error) {
		if name == "" {
			return unix.Listxattr(procPath(fd), names)
		}
		size, err := at(fd, name, names)
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
			size, err = unix.Llistxattr(procPath(fd)+"/"+name, names)
		}
		return size, err
	}
	size, err := list(nil)
	if err != nil || size == 0 {
		return nil, err
	}
	names := make([]byte, size+1024)
	size, err = list(names)
	return names[:max(size, 0)], err
}

// listxattrat is listxattrat(2) of a name in a directory, of a link itself.
func listxattrat(dir int, name string, names []byte) (int, error) {
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	size, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(path)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(unsafe.SliceData(names))), uintptr(len(names)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(size), nil
}
