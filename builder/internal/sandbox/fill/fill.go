//go:build linux

// Package fill puts what a command is to see over its root file system into that, for sandboxes that can
// mount nothing, and takes it out again. No other process may be in the root file system meanwhile: all paths
// are resolved inside of it, but one after the other.
package fill

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/sandbox/notify"
	"github.com/oakum-build/oakum/storage/openat2"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Filling is what has been put into a root file system. It is of one goroutine.
type Filling struct {
	root    *os.File
	path    string // of the root, without links
	aside   string // a directory for what is in the way, on the same file system
	count   int
	secrets []notify.Secret
	undo    []func() error
}

// New begins to fill the root file system at a path. aside is a name for a directory on the same file system
// that is not there yet. The Filling must be closed.
func New(root, aside string) (*Filling, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	f := &Filling{root: dir, aside: aside}
	if f.path, err = os.Readlink(descriptor(dir)); err == nil {
		err = os.Mkdir(aside, 0o700)
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return f, nil
}

func descriptor(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// Close takes out what was put in, once no process of the command is left: what is the caller's own goes back
// to where it was, the rest is removed, and what was in the way is there again.
func (f *Filling) Close() error {
	var errs []error
	for i := len(f.undo) - 1; i >= 0; i-- {
		errs = append(errs, f.undo[i]())
	}
	f.undo = nil
	return errors.Join(append(errs, os.RemoveAll(f.aside), f.root.Close())...)
}

// spot is where something is put: a name in a directory of the root file system.
type spot struct {
	dir  *os.File
	name string
	path string // as it was asked for
	time unix.Timespec
}

// clear gives the spot that a path leads to, with nothing in it until Close.
func (f *Filling) clear(target string) (*spot, error) {
	real, err := filecopy.Resolve(f.root, target)
	if err != nil {
		return nil, err
	}
	switch at := real + "/"; {
	case at == "//", at == "/dev/", strings.HasPrefix(at, "/proc/"), strings.HasPrefix(at, "/sys/"):
		return nil, fmt.Errorf("%w: nothing can be mounted on %s, which is %s here", sandbox.ErrInvalid, target, real)
	}
	return f.clearAt(real, target)
}

// clearAt clears the spot at a path without links, which was asked for as target.
func (f *Filling) clearAt(real, target string) (*spot, error) {
	dir, err := filecopy.MakeDirs(f.root, nil, path.Dir(real), filecopy.IDs{}, 0o755)
	if err != nil {
		return nil, err
	}
	s := &spot{dir: dir, name: path.Base(real), path: target}
	f.undo = append(f.undo, dir.Close)
	var before unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &before); err != nil {
		return nil, s.error("stat", err)
	}
	old := f.next()
	err = unix.Renameat(int(dir.Fd()), s.name, unix.AT_FDCWD, old)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, s.error("set aside", err)
	}
	there := err == nil
	f.undo = append(f.undo, func() error { return s.restore(f.next(), old, there) })
	s.time = before.Mtim
	return s, nil
}

// restore removes whatever the command has made of the spot, and puts back what was there.
func (s *spot) restore(away, old string, there bool) error {
	var before unix.Stat_t
	if err := unix.Fstat(int(s.dir.Fd()), &before); err != nil {
		return s.error("stat", err)
	}
	err := unix.Renameat(int(s.dir.Fd()), s.name, unix.AT_FDCWD, away)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return s.error("remove", err)
	}
	if there {
		err := unix.Renameat(unix.AT_FDCWD, old, int(s.dir.Fd()), s.name)
		if err != nil && !errors.Is(err, unix.ENOENT) { // as in a directory that the command has removed
			return s.error("put back", err)
		}
	}
	s.time = before.Mtim
	return s.keepTime()
}

// keepTime gives the directory of the spot the time at which it was changed by others.
func (s *spot) keepTime() error { return s.error("touch", setTime(s.dir, s.time)) }

func setTime(dir *os.File, changed unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, descriptor(dir), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, changed}, 0)
}

// next gives a name for what goes out of the way.
func (f *Filling) next() string {
	f.count++
	return filepath.Join(f.aside, strconv.Itoa(f.count))
}

func (s *spot) error(op string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: s.path, Err: err}
}

// Dir puts an empty directory in the place of one in the root, such as /dev, and opens it. It is the
// Filling's.
func (f *Filling) Dir(target string) (*os.File, error) {
	real, err := filecopy.Resolve(f.root, target)
	if err != nil {
		return nil, err
	}
	if real != target {
		return nil, fmt.Errorf("%s is a link in the root file system, and nothing can be mounted there", target)
	}
	s, err := f.clearAt(target, target)
	if err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(int(s.dir.Fd()), s.name, 0o755); err != nil {
		return nil, s.error("mkdir", err)
	}
	fd, err := unix.Openat(int(s.dir.Fd()), s.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, s.error("open", err)
	}
	dir := os.NewFile(uintptr(fd), target)
	f.undo = append(f.undo, dir.Close)
	return dir, s.keepTime()
}

// File puts a file with a text at a path.
func (f *Filling) File(target, text string, mode uint32) error {
	s, err := f.clear(target)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(int(s.dir.Fd()), s.name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return s.error("create", err)
	}
	file := os.NewFile(uintptr(fd), target)
	_, err = file.WriteString(text)
	return errors.Join(err, file.Chmod(fs.FileMode(mode)), file.Close(), s.keepTime())
}

// Node puts the node of a device at a path.
func (f *Filling) Node(target string, st *unix.Stat_t) error {
	s, err := f.clear(target)
	if err != nil {
		return err
	}
	err = errors.Join(MakeNode(s.dir, s.name, st), s.keepTime())
	if errors.Is(err, unix.EPERM) {
		return &sandbox.HostError{
			Missing: fmt.Sprintf("device %s: no device's node can be made here: %v", target, err),
			Remedy:  "leave it out, or run oakum with CAP_MKNOD where a file system may have devices, or where commands have namespaces",
		}
	}
	return err
}

// MakeNode makes the node of a device that has another one, with the same mode and owner.
func MakeNode(dir *os.File, name string, st *unix.Stat_t) error {
	fd := int(dir.Fd())
	err := unix.Mknodat(fd, name, st.Mode&(unix.S_IFMT|0o600), int(st.Rdev))
	if err == nil {
		err = unix.Fchownat(fd, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = unix.Fchmodat(fd, name, st.Mode&0o777, 0) // it is our own, and no link
	}
	if err != nil {
		return &os.PathError{Op: "mknod", Path: name, Err: err}
	}
	return nil
}

// Mount puts what a mount shows at its target: what is owned itself, and of all else a copy, to which the command
// may write.
func (f *Filling) Mount(ctx context.Context, m sandbox.Mount) error {
	s, err := f.clear(path.Clean(m.Target))
	if err != nil {
		return err
	}
	switch {
	case m.Kind == sandbox.MemoryFile:
		err = f.place(s, m)
	case m.Kind == sandbox.Tmpfs:
		err = s.emptyDir(m.Mode)
	case m.Owned:
		if err = f.move(s, m); errors.Is(err, unix.EXDEV) {
			if err = f.renew(ctx, m); err == nil {
				err = f.move(s, m)
			}
		}
	default:
		var place string
		if place, err = f.copy(ctx, m); err == nil {
			err = s.error("rename", unix.Renameat(unix.AT_FDCWD, place, int(s.dir.Fd()), s.name))
		}
	}
	return errors.Join(err, s.keepTime())
}

// renew puts a copy in the place of what a mount shows that cannot be moved: a directory that overlayfs has from
// a layer below, as those that came with the image of the container that this process is in (EXDEV of rename(2)).
func (f *Filling) renew(ctx context.Context, m sandbox.Mount) error {
	place, err := f.copy(ctx, m)
	if err == nil {
		err = os.RemoveAll(m.Source)
	}
	if err == nil {
		err = os.Rename(place, m.Source)
	}
	return err
}

// place puts an empty file at a spot that looks as one in memory.
func (f *Filling) place(s *spot, m sandbox.Mount) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(m.Memory.Fd()), &st); err != nil {
		return s.error("stat", err)
	}
	fd, err := unix.Openat(int(s.dir.Fd()), s.name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return s.error("create", err)
	}
	file := os.NewFile(uintptr(fd), m.Target)
	f.undo = append(f.undo, file.Close)
	f.secrets = append(f.secrets, notify.Secret{Place: file, Data: m.Memory})
	return errors.Join(file.Truncate(st.Size), file.Chown(int(st.Uid), int(st.Gid)), unix.Fchmod(fd, st.Mode&0o7777))
}

// Secrets are the files that are in memory alone, and where they are seen. They are the Filling's until Close.
func (f *Filling) Secrets() []notify.Secret { return f.secrets }

// emptyDir makes a directory that has the mode of a tmpfs.
func (s *spot) emptyDir(m os.FileMode) error {
	mode := uint32(unix.S_ISVTX | 0o777)
	if m != 0 {
		mode = uint32(m.Perm())
		if m&os.ModeSticky != 0 {
			mode |= unix.S_ISVTX
		}
	}
	fd := int(s.dir.Fd())
	err := unix.Mkdirat(fd, s.name, 0o700)
	if err == nil {
		err = unix.Fchmodat(fd, s.name, mode, 0)
	}
	return s.error("mkdir", err)
}

// copy makes a copy of what a mount shows, not at its spot, which could lie in what is copied.
func (f *Filling) copy(ctx context.Context, m sandbox.Mount) (place string, err error) {
	dir, selected := m.Source, "."
	if m.Kind == sandbox.BindFile {
		dir, selected = path.Split(m.Source)
	}
	source, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer source.Close()
	tree := filecopy.Tree{Root: source, Selection: filecopy.Selection{Patterns: []string{literal(selected)}}}
	// What cannot be copied, such as a device's node that may not be made, is not there.
	left := &tarfilter.LeftOut{}
	place = f.next()
	aside, err := os.OpenFile(f.aside, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer aside.Close()
	if _, err := filecopy.Copy(ctx, filecopy.Target{Root: aside, Dest: "/" + path.Base(place), LeftOut: left}, []filecopy.Tree{tree}); err != nil {
		return "", err
	}
	if selected != "." {
		return place, nil
	}
	// A directory whose content is copied makes none that is as it is.
	var st unix.Stat_t
	err = unix.Fstat(int(source.Fd()), &st)
	if err == nil {
		err = unix.Chown(place, int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = unix.Chmod(place, st.Mode&0o7777)
	}
	if err != nil {
		return "", &os.PathError{Op: "chown", Path: m.Source, Err: err}
	}
	return place, nil
}

// literal is a pattern that only a name matches.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// move puts what a mount shows itself to the spot, and has it go back.
func (f *Filling) move(s *spot, m sandbox.Mount) error {
	from, name := path.Split(path.Clean(m.Source))
	parent, err := os.OpenFile(from, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	moved, err := unix.Openat(int(parent.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(&os.PathError{Op: "open", Path: m.Source, Err: err}, parent.Close())
	}
	it := os.NewFile(uintptr(moved), m.Source)
	f.undo = append(f.undo, it.Close, parent.Close)
	var st unix.Stat_t
	if err := unix.Fstat(moved, &st); err != nil {
		return &os.PathError{Op: "stat", Path: m.Source, Err: err}
	}
	if err := unix.Renameat(int(parent.Fd()), name, int(s.dir.Fd()), s.name); err != nil {
		return &os.PathError{Op: "rename", Path: m.Source, Err: err}
	}
	f.undo = append(f.undo, func() error {
		from, at, err := f.find(it)
		if err != nil {
			return err
		}
		if from == nil { // the command has removed it
			if m.Kind != sandbox.BindDir {
				return nil
			}
			return remake(parent, name, &st)
		}
		defer from.Close()
		var before unix.Stat_t
		err = unix.Fstat(int(from.Fd()), &before)
		if err == nil {
			err = unix.Renameat(int(from.Fd()), at, int(parent.Fd()), name)
		}
		if err == nil {
			err = setTime(from, before.Mtim)
		}
		if err != nil {
			return &os.PathError{Op: "rename", Path: m.Source, Err: err}
		}
		return nil
	})
	return nil
}

// find gives the directory of the root file system in which something is by now, wherever a command has put it,
// and its name there. The directory is nil if it is nowhere.
func (f *Filling) find(it *os.File) (*os.File, string, error) {
	at, err := os.Readlink(descriptor(it))
	if err != nil {
		return nil, "", err
	}
	rel, inside := strings.CutPrefix(at, strings.TrimSuffix(f.path, "/")+"/")
	if !inside {
		return nil, "", nil
	}
	dir, name := path.Split(rel)
	fd, err := openat2.Open(int(f.root.Fd()), "./"+dir, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, "", nil // its name says that it was removed, or it lies in something that was
	}
	var there, is unix.Stat_t
	if err := errors.Join(unix.Fstatat(fd, name, &there, unix.AT_SYMLINK_NOFOLLOW), unix.Fstat(int(it.Fd()), &is)); err != nil || there.Dev != is.Dev || there.Ino != is.Ino {
		unix.Close(fd)
		return nil, "", nil
	}
	return os.NewFile(uintptr(fd), dir), name, nil
}

// remake makes an empty directory as one was that is no more.
func remake(parent *os.File, name string, st *unix.Stat_t) error {
	fd := int(parent.Fd())
	err := unix.Mkdirat(fd, name, 0o700)
	if err == nil {
		err = unix.Fchownat(fd, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = unix.Fchmodat(fd, name, st.Mode&0o7777, 0)
	}
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return nil
}
