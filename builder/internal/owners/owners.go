//go:build linux

// Package owners sets the owner, mode, type and attributes of files, and remembers of each file what
// this process is not allowed to set, so that a layer made of the files says it all the same. A
// process without the capabilities of root owns all files that it makes; a user namespace with one id
// has no other to give.
package owners

import (
	"errors"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Owners is what the files of one tree should be, as far as this process cannot make them that. The
// tree is on one file system. It is kept in memory, by the inode of a file and the time of its birth, so that it follows a rename
// and does not befall another file that gets the number later. It is safe for many goroutines.
//
// Who may not set owners at all is not root of anything: all files of the tree belong to the process
// itself, and stand for files of 0:0 unless another owner is remembered. Without the capabilities to
// pass over permissions the process must be able to read and change its own files, so directories
// really have u+rwx, other files u+rw, and none the set-id bits, while the mode that was asked for is
// remembered.
//
// In all methods a file is what name is in dir, and "" is dir itself, which may be open as a mere
// path (O_PATH). A link is never followed. A nil Owners remembers nothing: its methods are the system
// calls, and their errors those of the system.
type Owners struct {
	able  bool // may set owners and modes really, but for ids that are not there
	alone bool // all files are of this process, and stand for root's

	mu    sync.RWMutex
	files map[uint64]*file
}

// file is what is remembered of one. What is really there instead is remembered with it: when
// a command has changed that since, it is the command's that counts.
type file struct {
	birth unix.StatxTimestamp // zero where the file system does not say

	owner *change[owner]
	mode  *change[uint32] // permissions
	node  *node
	attrs map[string][]byte
}

type owner struct{ uid, gid uint32 }

// change is a value that a file should have, and the one that it has.
type change[T comparable] struct{ wanted, real T }

// node is a device that an empty regular file stands for.
type node struct {
	kind uint32
	dev  uint64
}

// New gives the Owners of a new tree, by what this process may do.
func New() *Owners {
	return &Owners{able: capable(unix.CAP_CHOWN, unix.CAP_FOWNER, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID), alone: os.Geteuid() != 0, files: map[uint64]*file{}}
}

// capable says whether this process has all of the capabilities.
func capable(caps ...int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	for _, c := range caps {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}

// Chown gives a file an owner. As chown(2) it takes the set-id bits and capabilities from a file, so they
// are set afterwards.
func (o *Owners) Chown(dir *os.File, name string, uid, gid int) error {
	if o == nil {
		return chown(dir, name, uid, gid)
	}
	if o.able && !o.alone {
		err := chown(dir, name, uid, gid)
		if err == nil {
			return o.forget(dir, name, func(f *file, st *unix.Statx_t) { f.chown(st, nil) })
		}
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	wanted := owner{uint32(uid), uint32(gid)}
	if o.alone && wanted == (owner{}) {
		if known, err := o.knows(dir, name); !known {
			return err
		}
	}
	// To whom it belongs does not change, but all else that chown(2) does is done, the time of the
	// file's change included, which tells others that it is another now.
	if err := chown(dir, name, -1, -1); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	return o.set(dir, name, func(f *file, st *unix.Statx_t) {
		real := owner{st.Uid, st.Gid}
		if f.chown(st, &change[owner]{wanted, real}); o.owner(real) == wanted {
			f.owner = nil
		}
	})
}

// chown changes what is remembered of a file as the system changes a file whose owner is changed.
func (f *file) chown(st *unix.Statx_t, to *change[owner]) {
	f.owner = to
	if uint32(st.Mode)&unix.S_IFMT == unix.S_IFDIR {
		return
	}
	if f.mode != nil {
		drop := uint32(unix.S_ISUID)
		if f.mode.wanted&unix.S_IXGRP != 0 {
			drop |= unix.S_ISGID
		}
		f.mode = &change[uint32]{f.mode.wanted &^ drop, f.mode.real}
	}
	f.unset(capabilities)
}

func chown(dir *os.File, name string, uid, gid int) error {
	return pathError("chown", dir, name, unix.Fchownat(int(dir.Fd()), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH))
}

// owner gives what a real owner stands for.
func (o *Owners) owner(real owner) owner {
	if o.alone {
		return owner{}
	}
	return real
}

// Chmod gives a file permissions, among which the set-id bits and the sticky one are. A link
// has none.
func (o *Owners) Chmod(dir *os.File, name string, mode uint32) error {
	mode &= 0o7777
	if o == nil {
		return chmod(dir, name, mode)
	}
	real := mode
	if !o.able || o.alone {
		var st unix.Stat_t
		if err := stat(dir, name, &st); err != nil {
			return err
		}
		real = mode&^(unix.S_ISUID|unix.S_ISGID) | 0o600
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			real |= 0o100
		}
	}
	err := chmod(dir, name, real)
	if err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	if err == nil && real == mode {
		return o.forget(dir, name, func(f *file, _ *unix.Statx_t) { f.mode = nil })
	}
	return o.set(dir, name, func(f *file, st *unix.Statx_t) {
		if uint32(st.Mode)&unix.S_IFMT != unix.S_IFLNK {
			f.mode = &change[uint32]{mode, uint32(st.Mode) & 0o7777}
		}
	})
}

func chmod(dir *os.File, name string, mode uint32) error {
	fd := int(dir.Fd())
	if name == "" {
		if err := unix.Fchmod(fd, mode); !errors.Is(err, unix.EBADF) {
			return pathError("chmod", dir, name, err)
		}
	} else {
		path, err := unix.Openat(fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return pathError("open", dir, name, err)
		}
		defer unix.Close(path)
		fd = path
	}
	// By the name of what is open as a mere path, for which there is no other call.
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		err = unix.Chmod(procPath(fd), mode)
	}
	return pathError("chmod", dir, name, err)
}

// Mknod makes a file of the type and permissions that mode has, less those of the umask, as
// mknod(2). An empty regular file stands for a device, also where one may be made: nothing keeps those
// who see the tree from using it.
func (o *Owners) Mknod(dir *os.File, name string, mode uint32, dev uint64) error {
	kind := mode & unix.S_IFMT
	if o == nil || kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return pathError("mknod", dir, name, unix.Mknodat(int(dir.Fd()), name, mode, int(dev)))
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode&0o777|0o600)
	if err != nil {
		return pathError("create", dir, name, err)
	}
	unix.Close(fd)
	return o.set(dir, name, func(f *file, _ *unix.Statx_t) { f.node = &node{kind, dev} })
}

// Stat is fstatat(2) of the file, with what is remembered of it.
func (o *Owners) Stat(dir *os.File, name string, st *unix.Stat_t) error {
	if err := stat(dir, name, st); err != nil {
		return err
	}
	return o.Show(dir, name, st)
}

// Show puts what is remembered of a file into st, which stat(2) has just given for it. It costs no
// system call for a file of which nothing is.
func (o *Owners) Show(dir *os.File, name string, st *unix.Stat_t) error {
	if o == nil {
		return nil
	}
	real := owner{st.Uid, st.Gid}
	shown := o.owner(real)
	st.Uid, st.Gid = shown.uid, shown.gid
	f, err := o.find(dir, name, st.Ino)
	if f == nil {
		return err
	}
	if f.owner != nil && f.owner.real == real {
		st.Uid, st.Gid = f.owner.wanted.uid, f.owner.wanted.gid
	}
	if f.mode != nil && f.mode.real == st.Mode&0o7777 {
		st.Mode = st.Mode&unix.S_IFMT | f.mode.wanted
	}
	if f.node != nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0 {
		st.Mode, st.Rdev = st.Mode&^unix.S_IFMT|f.node.kind, f.node.dev
	}
	return nil
}

// find gives a copy of what is remembered of a file whose inode is known, or nil.
func (o *Owners) find(dir *os.File, name string, ino uint64) (*file, error) {
	o.mu.RLock()
	known := o.files[ino]
	o.mu.RUnlock()
	if known == nil {
		return nil, nil
	}
	st, err := statx(dir, name)
	if err != nil {
		return nil, err
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	f := o.files[st.Ino]
	if f == nil || f.birth != birth(st) {
		return nil, nil
	}
	found := *f
	return &found, nil
}

// forget takes something of what is remembered of a file, if anything is.
func (o *Owners) forget(dir *os.File, name string, with func(*file, *unix.Statx_t)) error {
	if known, err := o.knows(dir, name); !known {
		return err
	}
	return o.set(dir, name, with)
}

// knows says whether anything is remembered of a file.
func (o *Owners) knows(dir *os.File, name string) (bool, error) {
	o.mu.RLock()
	none := len(o.files) == 0
	o.mu.RUnlock()
	if none {
		return false, nil
	}
	var st unix.Stat_t
	if err := stat(dir, name, &st); err != nil {
		return false, err
	}
	f, err := o.find(dir, name, st.Ino)
	return f != nil, err
}

func (o *Owners) set(dir *os.File, name string, with func(*file, *unix.Statx_t)) error {
	st, err := statx(dir, name)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var f file
	if old := o.files[st.Ino]; old != nil && old.birth == birth(st) {
		f = *old
	}
	f.birth = birth(st)
	with(&f, st)
	if f.owner == nil && f.mode == nil && f.node == nil && len(f.attrs) == 0 {
		delete(o.files, st.Ino)
		return nil
	}
	o.files[st.Ino] = &f
	return nil
}

// Unlink is unlinkat(2), with its flags. What is remembered goes with the last name of a file.
func (o *Owners) Unlink(dir *os.File, name string, flags int) error {
	var st unix.Stat_t
	known := o != nil && unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
	if err := unix.Unlinkat(int(dir.Fd()), name, flags); err != nil {
		return pathError("unlink", dir, name, err)
	}
	if known && (st.Nlink <= 1 || flags&unix.AT_REMOVEDIR != 0) {
		o.mu.Lock()
		delete(o.files, st.Ino)
		o.mu.Unlock()
	}
	return nil
}

func statx(dir *os.File, name string) (*unix.Statx_t, error) {
	var st unix.Statx_t
	err := unix.Statx(int(dir.Fd()), name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	if err != nil {
		return nil, pathError("statx", dir, name, err)
	}
	return &st, nil
}

func birth(st *unix.Statx_t) unix.StatxTimestamp {
	if st.Mask&unix.STATX_BTIME == 0 {
		return unix.StatxTimestamp{}
	}
	return st.Btime
}

func stat(dir *os.File, name string, st *unix.Stat_t) error {
	return pathError("stat", dir, name, unix.Fstatat(int(dir.Fd()), name, st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH))
}

// pathError is err with the name of the file, or nil.
func pathError(op string, dir *os.File, name string, err error) error {
	if err == nil {
		return nil
	}
	file := dir.Name()
	if name != "" {
		file += "/" + name
	}
	return &os.PathError{Op: op, Path: file, Err: err}
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
