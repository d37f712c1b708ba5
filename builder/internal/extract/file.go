//go:build linux

package extract

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// file makes the file of a header in an open directory, in place of what is there.
func (x *extraction) file(at *place, base string, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return x.directory(at, base, h)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return x.regular(at, base, h, content)
	case tar.TypeLink:
		return x.link(at, base, h)
	case tar.TypeSymlink:
		return x.special(at, base, h, func(dir int) error { return unix.Symlinkat(h.Linkname, dir, base) })
	case tar.TypeFifo:
		return x.special(at, base, h, func(int) error { return x.Owners.Mknod(at.dir, base, unix.S_IFIFO|0o600, 0) })
	case tar.TypeChar, tar.TypeBlock:
		kind := uint32(unix.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			kind = unix.S_IFBLK
		}
		dev := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
		return x.special(at, base, h, func(int) error { return x.Owners.Mknod(at.dir, base, kind|0o600, dev) })
	}
	return &tarfilter.EntryError{Name: h.Name, Why: fmt.Sprintf("is of the type %q, which is not known", h.Typeflag)}
}

// anew calls make, and once more without what was in the way.
func (x *extraction) anew(at *place, base string, make func() error) error {
	err := make()
	if errors.Is(err, unix.EEXIST) {
		if err = x.remove(at.dir, base); err == nil {
			err = make()
		}
		x.name = at.path // a link that led here may have led through what is gone
	}
	var named *os.PathError
	if err != nil && !errors.As(err, &named) {
		err = &os.PathError{Op: "create", Path: at.join(base), Err: err}
	}
	return err
}

func (x *extraction) directory(at *place, base string, h *tar.Header) error {
	err := unix.Mkdirat(int(at.dir.Fd()), base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		fd, openErr := openDir(at.dir, base)
		if openErr == nil {
			unix.Close(fd)
			err = nil // it is merged with that
		}
	}
	if err != nil {
		err = x.anew(at, base, func() error { return unix.Mkdirat(int(at.dir.Fd()), base, 0o700) })
	}
	if err != nil {
		return err
	}
	x.dirs = append(x.dirs, directory{at.join(base), h})
	return nil
}

// finishAll finishes the directories, what is in one before itself, and each as its last entry says.
func (x *extraction) finishAll() error {
	done := map[string]bool{}
	for _, d := range slices.Backward(x.dirs) {
		if done[d.path] {
			continue
		}
		done[d.path] = true
		if err := x.finish(d); err != nil {
			return err
		}
	}
	return nil
}

// finish gives a directory what its entry says, if it is still there.
func (x *extraction) finish(d directory) error {
	dir, err := x.open(d.path)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // something else has taken its place, or that of a directory above it
	}
	if err != nil {
		return err
	}
	defer dir.dir.Close()
	if x.alone {
		// Those of a layer below do not show through, and neither do they in an overlay.
		if err := x.dropXattrs(dir.dir); err != nil {
			return err
		}
	}
	if err := x.attributes(dir.dir, "", d.header); err != nil {
		return err
	}
	return touch(dir.dir, ".", d.header)
}

func (x *extraction) dropXattrs(dir *os.File) error {
	attrs, err := x.Owners.Xattrs(dir, "", func(attr string) bool { return tarfilter.Keeps(attr) })
	if err != nil {
		return err
	}
	for _, attr := range attrs {
		if err := x.Owners.Removexattr(dir, "", attr.Name); err != nil {
			return err
		}
	}
	return nil
}

func (x *extraction) regular(at *place, base string, h *tar.Header, content io.Reader) error {
	var fd int
	err := x.anew(at, base, func() (err error) {
		fd, err = unix.Openat(int(at.dir.Fd()), base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), at.join(base))
	err = x.fill(out, h, content)
	return errors.Join(err, out.Close())
}

// fill gives a new file its content and all else.
func (x *extraction) fill(out *os.File, h *tar.Header, content io.Reader) error {
	for {
		n, err := content.Read(x.block)
		if n > 0 {
			if _, err := out.Write(x.block[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := x.attributes(out, "", h); err != nil {
		return err
	}
	times := times(h)
	if err := unix.UtimesNanoAt(int(out.Fd()), "", times, unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "utimensat", Path: out.Name(), Err: err}
	}
	return nil
}

// special makes a file that has no content.
func (x *extraction) special(at *place, base string, h *tar.Header, make func(dir int) error) error {
	if err := x.anew(at, base, func() error { return make(int(at.dir.Fd())) }); err != nil {
		return err
	}
	if err := x.attributes(at.dir, base, h); err != nil {
		return err
	}
	return touch(at.dir, base, h)
}

// link makes a hard link. A file of a layer below cannot be linked to: in the layer alone it is not there.
func (x *extraction) link(at *place, base string, h *tar.Header) error {
	name, err := within(h.Name, h.Linkname)
	if err != nil {
		return err
	}
	dir, target := path.Split(name)
	from, err := x.target(h, strings.TrimSuffix(dir, "/"))
	if err != nil {
		return err
	}
	defer from.dir.Close()
	none := &tarfilter.EntryError{Name: h.Name, Why: fmt.Sprintf("is a hard link to %q, which is no file before it in the archive", h.Linkname)}
	if target == "" || x.alone && !x.isMade(from.join(target)) {
		return none
	}
	if from.join(target) == at.join(base) {
		return none // it would have to go before it is linked to
	}
	err = x.anew(at, base, func() error {
		return unix.Linkat(int(from.dir.Fd()), target, int(at.dir.Fd()), base, 0)
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) {
		return none
	}
	if err != nil {
		return err
	}
	if err := x.attributes(at.dir, base, h); err != nil {
		return err
	}
	if _, err := readlink(at.dir, base); err == nil {
		return nil // a link keeps its times
	}
	return touch(at.dir, base, h)
}

// target opens the directory of what a hard link leads to, which is none of at's.
func (x *extraction) target(h *tar.Header, dir string) (*place, error) {
	at, err := x.open(dir)
	if err != nil {
		at, err = x.walk(h.Name, dir)
	}
	return at, err
}

// attributes gives a file its owner, mode and extended attributes, in this order: a change of owner
// clears set-id bits and capabilities.
func (x *extraction) attributes(dir *os.File, name string, h *tar.Header) error {
	uid, gid := h.Uid, h.Gid
	if x.Owner != nil {
		uid, gid = x.Owner.UID, x.Owner.GID
	} else if !isID(uid) || !isID(gid) {
		return &tarfilter.EntryError{Name: h.Name, Why: fmt.Sprintf("belongs to %d:%d, which nobody can be", uid, gid)}
	}
	if err := x.Owners.Chown(dir, name, uid, gid); err != nil {
		return fmt.Errorf("giving %s to %d:%d: %w", h.Name, uid, gid, err)
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := x.Owners.Chmod(dir, name, uint32(h.Mode)&0o7777); err != nil {
			return err
		}
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		err := x.Owners.Setxattr(dir, name, attr, []byte(value))
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return nil
}

// isID says whether a number can be the id of a user or group. The largest of 32 bits is none.
func isID(id int) bool { return id >= 0 && id < 1<<32-1 }

// touch sets the times of a file by its name in a directory; a link is not followed.
func touch(dir *os.File, name string, h *tar.Header) error {
	if err := unix.UtimesNanoAt(int(dir.Fd()), name, times(h), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: h.Name, Err: err}
	}
	return nil
}

// times are those of access and of change; a file was not read before it was written.
func times(h *tar.Header) []unix.Timespec {
	access := h.AccessTime
	if access.Before(h.ModTime) {
		access = h.ModTime
	}
	return []unix.Timespec{timespec(access), timespec(h.ModTime)}
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}
