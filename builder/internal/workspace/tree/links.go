//go:build linux

package tree

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// The time of a file's last change is also that at which one of its names was removed. Its other names have nothing
// to do in the layer then, so that of files with several names what they are is known, too.

// sum is what a file was in a state.
type sum struct {
	state state
	of    [sha256.Size]byte
}

// sumUp sums up the files of the list that have several names.
func (t *tree) sumUp() error {
	if t.sums == nil {
		t.sums = map[uint64]sum{}
	}
	at := cursor{root: t.root}
	defer at.close()
	return t.sumBelow("", t.list, &at)
}

func (t *tree) sumBelow(in string, n *node, at *cursor) error {
	for i := range n.files {
		switch f := &n.files[i]; {
		case f.isDir():
			if err := t.sumBelow(path.Join(in, f.name), f, at); err != nil {
				return err
			}
		case f.links > 1 && t.sums[f.ino].state != f.state:
			of, err := t.sumOf(in, f, at)
			if err != nil {
				return err
			}
			t.sums[f.ino] = sum{f.state, of}
		}
	}
	return nil
}

// sumOf sums up all that a layer says of a file.
func (t *tree) sumOf(in string, f *node, at *cursor) (of [sha256.Size]byte, err error) {
	dir, err := at.dir(path.Join(".", in))
	if err != nil {
		return of, err
	}
	st := f.stat()
	if err := t.owners.Show(dir, f.name, &st); err != nil {
		return of, err
	}
	h := sha256.New()
	fmt.Fprintln(h, st.Mode, st.Uid, st.Gid, st.Rdev, st.Size, st.Mtim)
	if f.kind() == unix.S_IFREG {
		if err := t.sumRegular(h, dir, f.name); err != nil {
			return of, err
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

func (t *tree) sumRegular(h hash.Hash, dir *os.File, name string) error {
	attrs, err := t.owners.Xattrs(dir, name, tarfilter.Keeps)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		fmt.Fprintf(h, "%q %q\n", a.Name, a.Value)
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	_, err = io.Copy(h, f)
	return err
}

// fewerNames says whether a file is what it was, but that it has fewer names.
func (t *tree) fewerNames(in string, before, after *node, at *cursor) (bool, error) {
	was, has := t.sums[after.ino], before.state
	has.links, has.ctim = after.links, after.ctim
	if before.isDir() || after.links >= before.links || has != after.state || was.state != before.state {
		return false, nil
	}
	of, err := t.sumOf(in, after, at)
	return of == was.of, err
}
