//go:build linux

package extract

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

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
	return x.later(at.join(base), h)
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
	s, err := stateOf(h)
	if err != nil {
		return err
	}
	if err := x.attributes(out, "", s); err != nil {
		return err
	}
	if err := unix.UtimesNanoAt(int(out.Fd()), "", s.times[:], unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "utimensat", Path: out.Name(), Err: err}
	}
	return nil
}

// special makes a file that has no content.
func (x *extraction) special(at *place, base string, h *tar.Header, make func(dir int) error) error {
	if err := x.anew(at, base, func() error { return make(int(at.dir.Fd())) }); err != nil {
		return err
	}
	s, err := stateOf(h)
	if err != nil {
		return err
	}
	if err := x.attributes(at.dir, base, s); err != nil {
		return err
	}
	return touch(at.dir, base, s)
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
	s, err := stateOf(h)
	if err != nil {
		return err
	}
	if err := x.attributes(at.dir, base, s); err != nil {
		return err
	}
	if _, err := readlink(at.dir, base); err == nil {
		return nil // a link keeps its times
	}
	return touch(at.dir, base, s)
}

// target opens the directory of what a hard link leads to, which is none of at's.
func (x *extraction) target(h *tar.Header, dir string) (*place, error) {
	at, err := x.open(dir)
	if err != nil {
		at, err = x.walk(h.Name, dir)
	}
	return at, err
}
