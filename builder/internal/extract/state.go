//go:build linux

package extract

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// state is what an entry says of its file but for the content. All of it but the name is its own: a header's texts
// are parts of one that has all records of the entry, 1 MiB of them.
type state struct {
	name     string // for errors
	uid, gid int
	mode     uint32
	link     bool             // a symbolic one, which has no mode
	times    [2]unix.Timespec // of access and of change
	attrs    []owners.Xattr
}

// maxValue is the kernel's XATTR_SIZE_MAX.
const maxValue = 64 << 10

func stateOf(h *tar.Header) (*state, error) {
	s := &state{name: h.Name, uid: h.Uid, gid: h.Gid, mode: uint32(h.Mode) & 0o7777, link: h.Typeflag == tar.TypeSymlink, times: times(h)}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		if len(value) > maxValue {
			return nil, &tarfilter.EntryError{Name: h.Name, Why: fmt.Sprintf("has the extended attribute %.64q of %d bytes, and no file can have one of more than %d", attr, len(value), maxValue)}
		}
		s.attrs = append(s.attrs, owners.Xattr{Name: strings.Clone(attr), Value: []byte(value)})
	}
	return s, nil
}

// directory is one that gets its owner, mode, attributes and times at the end: what comes into
// it changes its times, and its mode may forbid that. Its name is its path.
type directory struct {
	state
	order int // of its last entry
	size  int // of its attributes
}

// maxKept bounds the attributes of all directories that wait for the end. Of an archive that is not made for that,
// they are a few hundred bytes each.
const maxKept = 256 << 20

// later notes what an entry says of a directory, in place of what one before has said.
func (x *extraction) later(path string, h *tar.Header) error {
	s, err := stateOf(h)
	if err != nil {
		return err
	}
	s.name = strings.Clone(path) // which may be the beginning of a name that is only longer
	d := &directory{state: *s, order: x.entries}
	x.entries++
	for _, a := range d.attrs {
		d.size += attrOverhead + len(a.Name) + len(a.Value)
	}
	x.kept += d.size
	if was := x.dirs[path]; was != nil {
		x.kept -= was.size
	}
	if x.kept > maxKept {
		return &tarfilter.EntryError{Name: h.Name, Why: fmt.Sprintf("is a directory with extended attributes, of which all directories have more than %d MiB", maxKept>>20)}
	}
	x.dirs[s.name] = d
	return nil
}

// attrOverhead is about what an attribute takes beside its bytes.
const attrOverhead = 64

// finishAll finishes the directories, what is in one before itself, and each as its last entry says.
func (x *extraction) finishAll() error {
	latest := func(a, b *directory) int { return cmp.Compare(b.order, a.order) }
	for _, d := range slices.SortedFunc(maps.Values(x.dirs), latest) {
		if err := x.finish(d); err != nil {
			return err
		}
	}
	return nil
}

// finish gives a directory what its entry says, if it is still there.
func (x *extraction) finish(d *directory) error {
	dir, err := x.open(d.name)
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
	if err := x.attributes(dir.dir, "", &d.state); err != nil {
		return err
	}
	return touch(dir.dir, ".", &d.state)
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

// attributes gives a file its owner, mode and extended attributes, in this order: a change of owner
// clears set-id bits and capabilities.
func (x *extraction) attributes(dir *os.File, name string, s *state) error {
	uid, gid := s.uid, s.gid
	if x.Owner != nil {
		uid, gid = x.Owner.UID, x.Owner.GID
	} else if !isID(uid) || !isID(gid) {
		return &tarfilter.EntryError{Name: s.name, Why: fmt.Sprintf("belongs to %d:%d, which nobody can be", uid, gid)}
	}
	if err := x.Owners.Chown(dir, name, uid, gid); err != nil {
		return fmt.Errorf("giving %s to %d:%d: %w", s.name, uid, gid, err)
	}
	if !s.link {
		if err := x.Owners.Chmod(dir, name, s.mode); err != nil {
			return err
		}
	}
	for _, a := range s.attrs {
		err := x.Owners.Setxattr(dir, name, a.Name, a.Value)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return nil
}

// isID says whether a number can be the id of a user or group. The largest of 32 bits is none.
func isID(id int) bool { return id >= 0 && id < 1<<32-1 }

// touch sets the times of a file by its name in a directory; a link is not followed.
func touch(dir *os.File, name string, s *state) error {
	if err := unix.UtimesNanoAt(int(dir.Fd()), name, s.times[:], unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: s.name, Err: err}
	}
	return nil
}

// times are those of access and of change; a file was not read before it was written.
func times(h *tar.Header) [2]unix.Timespec {
	access := h.AccessTime
	if access.Before(h.ModTime) {
		access = h.ModTime
	}
	return [2]unix.Timespec{timespec(access), timespec(h.ModTime)}
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}
