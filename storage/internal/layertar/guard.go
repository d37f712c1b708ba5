//go:build linux

package layertar

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Attributes are the extended attributes that a layer keeps, by path and name.
type Attributes map[string]map[string]string

// Guarded is what Guard found.
type Guarded struct {
	Attributes Attributes
	LeftOut    tarfilter.LeftOut // what was taken away
}

// Guard makes sure that a finished upper directory has nothing that a layer cannot hold, so that
// it is the same in this store and for all who get it from here. A name that means
// something else in a layer is a *tarfilter.NameError. Attributes in which storage drivers keep
// book are removed unless the kernel's overlay put them there itself; own is the
// beginning of their names. It is "" when the directory was filled without an overlay: then no
// whiteout is one either, but a device that a layer cannot hold.
func Guard(dir *os.File, own string) (Guarded, error) {
	g := &guard{own: own, Guarded: Guarded{Attributes: Attributes{}}}
	root, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return Guarded{}, &os.PathError{Op: "open", Path: dir.Name(), Err: err}
	}
	defer root.Close()
	err = g.children(root, "")
	return g.Guarded, err
}

type guard struct {
	own string
	Guarded
}

func (g *guard) children(dir *os.File, rel string) error {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("reading /%s: %w", rel, err)
	}
	for _, e := range entries {
		at := path.Join(rel, e.Name())
		if err := tarfilter.CheckName(at); err != nil {
			return err
		}
		if !e.IsDir() {
			// No other kind of file has attributes of the user's.
			switch {
			case e.Type().IsRegular():
				err = g.attributes(dir, e.Name(), at)
			case e.Type()&fs.ModeCharDevice != 0 && g.own == "":
				err = g.device(dir, e.Name(), at)
			}
		} else if err = g.attributes(dir, e.Name(), at); err == nil {
			err = g.directory(dir, e.Name(), at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *guard) directory(dir *os.File, name, rel string) error {
	sub, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return &os.PathError{Op: "open", Path: rel, Err: err}
	}
	defer sub.Close()
	return g.children(sub, rel)
}

// device refuses one that would be taken for the mark of a removal.
func (g *guard) device(dir *os.File, name, rel string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: rel, Err: err}
	}
	if st.Rdev != 0 {
		return nil
	}
	return fmt.Errorf("%w: /%s is a character device with the numbers 0 and 0, which marks files as removed; leave it out", tarfilter.ErrUnfit, rel)
}

// attributes sorts those of one file.
func (g *guard) attributes(dir *os.File, name, rel string) error {
	file := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
	names, err := Xattrs(file)
	if err != nil {
		return &os.PathError{Op: "listxattr", Path: rel, Err: err}
	}
	for _, attr := range names {
		switch {
		case IsMark(attr, g.own):
		case tarfilter.StoresOwn(attr):
			if err := unix.Lremovexattr(file, attr); err != nil {
				return &os.PathError{Op: "removexattr " + attr, Path: rel, Err: err}
			}
			if g.own != "" { // as whoever set it calls it
				attr = strings.Replace(attr, g.own+"overlay.", g.own, 1)
			}
			g.LeftOut.Attribute(attr, "/"+rel)
		case tarfilter.Keeps(attr) && !strings.Contains(attr, "="): // which a PAX record cannot name
			if err := g.keep(file, attr, rel); err != nil {
				return err
			}
		}
	}
	return nil
}

// IsMark says whether an attribute on the disk is one that the kernel's overlay has set itself; the
// names of its marks begin with own. What a command calls so has another name there.
func IsMark(attr, own string) bool {
	return own != "" && strings.HasPrefix(attr, own) && !strings.HasPrefix(attr, own+"overlay.")
}

func (g *guard) keep(file, attr, rel string) error {
	value := make([]byte, 65536)
	n, err := unix.Lgetxattr(file, attr, value)
	if err != nil {
		return &os.PathError{Op: "getxattr " + attr, Path: rel, Err: err}
	}
	if g.Attributes[rel] == nil {
		g.Attributes[rel] = map[string]string{}
	}
	g.Attributes[rel][attr] = string(value[:n])
	return nil
}

// Xattrs names a file's attributes, or none where the file system has none.
func Xattrs(file string) ([]string, error) {
	var few [512]byte
	list := few[:]
	n, err := unix.Llistxattr(file, list)
	if errors.Is(err, unix.ERANGE) {
		list = make([]byte, 65536)
		n, err = unix.Llistxattr(file, list)
	}
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil || n == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(list[:n]), "\x00"), "\x00"), nil
}
