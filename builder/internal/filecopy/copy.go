//go:build linux

package filecopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Target is where a copy goes.
type Target struct {
	Root   *os.File       // the root of the file system copied into
	Owners *owners.Owners // what its files should be, where they cannot be made that
	// Dest is a path in Root. It is a directory when it ends in a slash, or is one
	// already, or Dir is set.
	Dest string
	Dir  bool
	// Owner is that of directories made on the way.
	Owner IDs
	// Apart says that Root is empty and goes on top of others, which may have the directories made on the
	// way: no mode of a source is for them.
	Apart bool
	// Unpack, when not nil, unpacks each selected single file that is a tar archive
	// into the directory Dest, with the archive's owners when owner is nil.
	Unpack func(file, dir *os.File, owner *IDs) error
	// Ahead, when not nil, is told what is made, see storage.Staging.Ahead.
	Ahead Ahead
	// LeftOut, when not nil, is told of attributes of storage drivers, and of device
	// nodes that this process may not make and nobody remembers; without it those are an error.
	LeftOut *tarfilter.LeftOut
}

// Copy copies sources to a target, one after the other, and gives the digest of what it
// read of each, the same that Digest would have given.
func Copy(ctx context.Context, to Target, sources []Tree) (digests []string, err error) {
	ahead := newAhead(to.Ahead)
	for i := range sources {
		digest, err := copyOne(ctx, to, ahead, &sources[i])
		if err != nil {
			return nil, err
		}
		digests = append(digests, digest)
	}
	ahead.settle(to)
	return digests, nil
}

func copyOne(ctx context.Context, to Target, ahead *ahead, src *Tree) (digest string, err error) {
	c := &copier{digester: newDigester(ctx, src), to: to, ahead: ahead, links: map[inode]link{}}
	defer c.close()
	if err := walk(ctx, src, c); err != nil {
		return "", err
	}
	return c.digester.end(), nil
}

type copier struct {
	*digester
	pourer
	to    Target
	ahead *ahead
	// The present top item: links are the first copies of inodes with several names, base
	// is its directory in the target, open as stack[0].
	links map[inode]link
	base  string
	real  *string // base without links, when ahead was told of it
	name  string  // of a single file in base
	perm  uint32  // of directories made on the way
	stack []level
}

type inode struct{ dev, ino uint64 }

type link struct {
	path string // in the target
	real string // without links, when ahead was told
	sum  [32]byte
}

// level is an open target directory.
type level struct {
	rel  string
	dir  *os.File
	made bool // by this copy
}

func (c *copier) close() {
	for _, l := range c.stack {
		l.dir.Close()
	}
	c.stack = nil
}

// top finds the directory in the target that an item goes to.
func (c *copier) top(src *Tree, name string, isDir bool) error {
	if err := c.digester.top(src, name, isDir); err != nil {
		return err
	}
	c.close()
	c.real = nil
	clear(c.links) // as in BuildKit, which copies each item by itself
	dest := path.Clean("/" + c.to.Dest)
	c.base, c.name, c.perm = dest, name, 0o755
	if !c.to.Apart {
		c.perm = src.Mode.made()
	}
	if !isDir && !c.destIsDir(dest) {
		// A link to a file stands for the file.
		real, err := Resolve(c.to.Root, dest)
		if err != nil {
			return err
		}
		c.base, c.name = path.Split(real)
	}
	if !isDir {
		return nil // an archive is unpacked elsewhere
	}
	_, err := c.at("")
	return err
}

func (c *copier) destIsDir(dest string) bool {
	if c.to.Dir || strings.HasSuffix(c.to.Dest, "/") || strings.HasSuffix(c.to.Dest, "/.") || dest == "/" {
		return true
	}
	f, err := openIn(c.to.Root, dest, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// mkdirs opens a directory of the target, making what is missing with the target's
// owner.
func (c *copier) mkdirs(dir string, perm uint32) (*os.File, error) {
	if f, err := openIn(c.to.Root, dir, unix.O_RDONLY|unix.O_DIRECTORY); err == nil {
		return f, nil
	} else if errors.Is(err, unix.ENOTDIR) {
		return nil, &InvalidError{fmt.Sprintf("cannot copy into %s: not a directory", dir)}
	}
	return MakeDirs(c.to.Root, c.to.Owners, dir, c.to.Owner, perm)
}

// at opens the target directory for an entry's parent.
func (c *copier) at(rel string) (*os.File, error) {
	if len(c.stack) == 0 {
		dir, err := c.mkdirs(c.base, c.perm)
		if err != nil {
			return nil, err
		}
		c.stack = []level{{rel: "", dir: dir}}
	}
	for len(c.stack) > 1 && !within(c.stack[len(c.stack)-1].rel, rel) {
		c.stack[len(c.stack)-1].dir.Close()
		c.stack = c.stack[:len(c.stack)-1]
	}
	last := c.stack[len(c.stack)-1]
	for last.rel != rel {
		next, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(rel, last.rel), "/"), "/")
		l, err := c.enter(last, next)
		if err != nil {
			return nil, err
		}
		c.stack = append(c.stack, l)
		last = l
	}
	return last.dir, nil
}

func within(dir, rel string) bool {
	return dir == "" || rel == dir || strings.HasPrefix(rel, dir+"/")
}

func (c *copier) enter(parent level, name string) (level, error) {
	rel := path.Join(parent.rel, name)
	// Its attributes are set when it is left.
	err := unix.Mkdirat(int(parent.dir.Fd()), name, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return level{}, &os.PathError{Op: "mkdir", Path: rel, Err: err}
	}
	made := err == nil
	d, err := openChild(parent.dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return level{}, &InvalidError{c.inTheWay(parent.dir, name, path.Join(c.base, rel))}
	}
	if err != nil {
		return level{}, &os.PathError{Op: "open", Path: rel, Err: err}
	}
	return level{rel: rel, dir: d, made: made}, nil
}

// inTheWay says what keeps a directory from its place. A link is not followed, as in
// BuildKit: only the destination itself may lead elsewhere.
func (c *copier) inTheWay(dir *os.File, name, place string) string {
	if target, err := readlink(&entry{dir: dir, name: name}); err == nil {
		return fmt.Sprintf("cannot copy a directory over the link %s to %s; copy what is in it to %s/", place, target, place)
	}
	return fmt.Sprintf("cannot copy a directory over the file %s", place)
}

func (c *copier) visit(src *Tree, e *entry) error {
	if err := c.digester.meta(src, e); err != nil {
		return err
	}
	if e.kind() == unix.S_IFDIR {
		return c.directory(src, e)
	}
	if e.rel == "" && e.kind() == unix.S_IFREG && c.to.Unpack != nil && !src.Packed {
		if done, err := c.unpack(src, e); done || err != nil {
			return err
		}
	}
	parentRel, name := "", c.name
	if e.rel != "" {
		parentRel, name = path.Split(e.rel)
		parentRel = strings.TrimSuffix(parentRel, "/")
	}
	dir, err := c.at(parentRel)
	if err != nil {
		return err
	}
	if err := c.clear(dir, name); err != nil {
		return err
	}
	switch e.kind() {
	case unix.S_IFREG:
		return c.regular(src, e, dir, name)
	case unix.S_IFLNK:
		return c.symlink(src, e, dir, name)
	default:
		return c.special(src, e, dir, name)
	}
}

// directory makes a directory, or finds it. What is in it comes before its attributes.
func (c *copier) directory(src *Tree, e *entry) error {
	if _, err := c.at(e.rel); err != nil || e.rel == "" {
		return err
	}
	if made := c.stack[len(c.stack)-1].made; !made && (src.KeepDirs || e.onTheWay) {
		c.ahead.GiveUp() // it keeps more of its own than is told
	}
	c.announce(src, e, e.rel, 0, "", "")
	return nil
}

// unpack unpacks a file if it is an archive, and says whether it was.
func (c *copier) unpack(src *Tree, e *entry) (bool, error) {
	f, err := e.open()
	if err != nil {
		return false, err
	}
	defer f.Close()
	if isTar, err := IsTar(f); err != nil || !isTar {
		return false, err
	}
	dir, err := c.mkdirs(path.Clean("/"+c.to.Dest), 0o755)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	c.ahead.GiveUp()
	var owner *IDs
	if src.Chowned {
		owner = src.Owner
	}
	if err := c.to.Unpack(f, dir, owner); err != nil {
		return false, fmt.Errorf("%s: %w", e.label(), err)
	}
	sum, err := c.fileSum(e)
	if err != nil {
		return false, err
	}
	c.content(sum)
	return true, nil
}

// clear removes what is in the way of a file.
func (c *copier) clear(dir *os.File, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return &InvalidError{"cannot copy a file over the directory " + path.Join(c.base, name)}
	}
	return c.to.Owners.Unlink(dir, name, 0)
}

func (c *copier) regular(src *Tree, e *entry, dir *os.File, name string) error {
	key := inode{e.st.Dev, e.st.Ino}
	target := path.Join(c.base, path.Dir(e.rel), name)
	if e.rel == "" {
		target = path.Join(c.base, name)
	}
	if e.st.Nlink > 1 {
		if first, ok := c.links[key]; ok {
			c.content(first.sum)
			c.announce(src, e, below(e, name), 0, first.real, "")
			return c.hardlink(first.path, dir, name)
		}
	}
	in, err := e.open()
	if err != nil {
		return err
	}
	defer in.Close()
	// Made anew, so that no link is followed that has come there meanwhile.
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: target, Err: err}
	}
	out := os.NewFile(uintptr(fd), target)
	defer out.Close()
	ino, err := inodeOf(out)
	if err != nil {
		return err
	}
	c.announce(src, e, below(e, name), ino, "", "")
	sum, err := c.pour(Reader(c.ctx, in), out, c.ahead, e.st.Size)
	if err != nil {
		return fmt.Errorf("copying %s: %w", e.label(), err)
	}
	c.content(sum)
	if e.st.Nlink > 1 {
		c.links[key] = link{target, c.ahead.last, sum}
	}

	if c.sums != nil {
		c.sums.Put(e.st, sum)
	}
	return c.attributes(src, e, out)
}

// below is the path of an entry that is no directory below the base.
func below(e *entry, name string) string {
	if e.rel == "" {
		return name
	}
	return e.rel
}

func (c *copier) hardlink(first string, dir *os.File, name string) error {
	from, err := openIn(c.to.Root, path.Dir(first), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return &os.PathError{Op: "open", Path: path.Dir(first), Err: err}
	}
	defer from.Close()
	if err := unix.Linkat(int(from.Fd()), path.Base(first), int(dir.Fd()), name, 0); err != nil {
		return &os.LinkError{Op: "link", Old: first, New: name, Err: err}
	}
	return nil
}

func (c *copier) owner(src *Tree, e *entry) (int, int) {
	if src.Owner != nil {
		return src.Owner.UID, src.Owner.GID
	}
	return int(e.st.Uid), int(e.st.Gid)
}

func mode(src *Tree, e *entry) uint32 {
	if src.Mode != nil {
		return src.Mode.Apply(e.st.Mode)
	}
	return e.st.Mode & 0o7777
}

// attributes sets the owner before the mode and the capabilities, for a change of
// owner clears both.
func (c *copier) attributes(src *Tree, e *entry, out *os.File) error {
	uid, gid := c.owner(src, e)
	if err := c.to.Owners.Chown(out, "", uid, gid); err != nil {
		return ownerError(err, uid, gid)
	}
	if err := c.to.Owners.Chmod(out, "", mode(src, e)); err != nil {
		return err
	}
	attrs, err := e.xattrs(src)
	if err != nil {
		return err
	}
	for _, name := range e.left {
		c.to.LeftOut.Attribute(name, e.label())
	}
	for _, a := range attrs {
		if err := c.to.Owners.Setxattr(out, "", a.Name, a.Value); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	ts := []unix.Timespec{e.st.Mtim, e.st.Mtim}
	if err := unix.UtimesNanoAt(int(out.Fd()), "", ts, unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "utimensat", Path: e.label(), Err: err}
	}
	return nil
}

func ownerError(err error, uid, gid int) error {
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("owner %d:%d is not mapped: more subordinate ids are needed in /etc/subuid and /etc/subgid: %w", uid, gid, err)
	}
	return err
}

func (c *copier) symlink(src *Tree, e *entry, dir *os.File, name string) error {
	target, err := readlink(e)
	if err != nil {
		return err
	}
	c.announce(src, e, below(e, name), 0, "", target)
	if err := unix.Symlinkat(target, int(dir.Fd()), name); err != nil {
		return &os.LinkError{Op: "symlink", Old: target, New: name, Err: err}
	}
	return c.plainAttributes(src, e, dir, name)
}

func (c *copier) special(src *Tree, e *entry, dir *os.File, name string) error {
	err := c.to.Owners.Mknod(dir, name, e.st.Mode, e.st.Rdev)
	if errors.Is(err, unix.EPERM) && e.kind() != unix.S_IFIFO && c.to.LeftOut != nil {
		target := path.Join(c.base, e.rel)
		if e.rel == "" {
			target = path.Join(c.base, name)
		}
		c.to.LeftOut.Device(target)
		return nil
	}
	if err != nil {
		return fmt.Errorf("copying the special file %s: %w", e.label(), err)
	}
	c.announce(src, e, below(e, name), 0, "", "")
	if err := c.plainAttributes(src, e, dir, name); err != nil {
		return err
	}
	return c.to.Owners.Chmod(dir, name, mode(src, e))
}

func (c *copier) plainAttributes(src *Tree, e *entry, dir *os.File, name string) error {
	uid, gid := c.owner(src, e)
	if err := c.to.Owners.Chown(dir, name, uid, gid); err != nil {
		return ownerError(err, uid, gid)
	}
	return unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{e.st.Mtim, e.st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// leave sets a directory's attributes once its content no longer changes them. The
// destination itself keeps its own. A directory that was there keeps them, too, when the
// source says so, and takes no more than the mode when --parents only passes through it, as
// in BuildKit.
func (c *copier) leave(src *Tree, e *entry) error {
	dir, err := c.at(e.rel)
	if err != nil || e.rel == "" {
		return err
	}
	made := c.stack[len(c.stack)-1].made
	if !made && src.KeepDirs {
		return nil
	}
	if !made && e.onTheWay {
		return c.to.Owners.Chmod(dir, "", e.st.Mode&0o7777)
	}
	return c.attributes(src, e, dir)
}
