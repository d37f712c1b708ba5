//go:build linux && (amd64 || arm64)

package notify

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
)

// usable are the flags of opening that make sense below /proc.
const usable = unix.O_ACCMODE | unix.O_TRUNC | unix.O_APPEND | unix.O_DIRECTORY | unix.O_SYNC | unix.O_NOATIME | unix.O_NONBLOCK

// always are those with which this process opens what is another's.
const always = unix.O_CLOEXEC | unix.O_NOCTTY

// hand gives a process what was opened for it.
func (t *thread) hand(r *request, fd int) error {
	defer unix.Close(fd)
	return t.listener.give(r.notification, fd, r.flags&unix.O_CLOEXEC != 0)
}

// mayOpen is the error of opening what is the machine's to be changed.
func (t *thread) mayOpen(r *request, names []string) error {
	if r.flags&(unix.O_ACCMODE|unix.O_TRUNC) == unix.O_RDONLY || strings.Trim(names[0], "0123456789") == "" {
		return nil
	}
	if listed(t.ReadOnly, names) {
		return unix.EROFS
	}
	return unix.EACCES
}

// openAt opens a file of /proc, whose name below it is whole.
func (t *thread) openAt(r *request, parent int, name, whole string) error {
	fd, err := unix.Openat(parent, name, r.flags&usable|unix.O_NOFOLLOW|always, 0)
	if err != nil {
		return err
	}
	if !isDir(fd) {
		return t.hand(r, fd)
	}
	unix.Close(fd)
	if fd, err = unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|always, 0); err != nil {
		return err
	}
	list, err := t.list(fd, whole)
	if err != nil {
		return err
	}
	aside(func() { fd, err = t.makeDir(whole, list) })
	if err != nil {
		return err
	}
	return t.hand(r, fd)
}

// aside does something on a thread that has this process's own rights.
func aside(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	<-done
}

// openTable opens the file of mounts of a name.
func (t *thread) openTable(r *request, name string) error {
	m := &t.mounts
	m.once.Do(func() { aside(func() { m.tables, m.err = t.makeTables() }) })
	if m.err != nil {
		return m.err
	}
	fd, err := unix.Open(descriptor(int(m.tables[name].Fd())), r.flags&usable|always, 0)
	if err != nil {
		return err
	}
	return t.hand(r, fd)
}

// reopen opens what a link of a process is about.
func (t *thread) reopen(r *request, parent int, name string) error {
	// A FIFO would be waited for.
	fd, err := unix.Openat(parent, name, r.flags&usable|unix.O_NONBLOCK|always, 0)
	if err != nil {
		return err
	}
	if isDir(fd) {
		// One that the process did not get from here.
		if text, err := t.link(parent, name); err != nil || !t.within(text) {
			unix.Close(fd)
			return unix.EACCES
		}
	}
	if r.flags&unix.O_NONBLOCK == 0 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, r.flags&usable&^unix.O_NONBLOCK); err != nil {
			unix.Close(fd)
			return err
		}
	}
	return t.hand(r, fd)
}

func (t *thread) within(text string) bool {
	_, is := t.inside(text)
	return is
}

func isDir(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// through answers a call about a name below what a link of a process leads to: a directory of the command's.
func (t *thread) through(r *request, parent int, name string, rest []string) error {
	text, err := t.link(parent, name)
	if err != nil {
		return err
	}
	dir, inside := t.inside(text)
	if !inside {
		return unix.ENOENT
	}
	whole := path.Join(dir, strings.Join(rest, "/"))
	switch whole, leads := t.leads(whole, r.follows()); {
	case leads && len(rest) > 0:
		return t.below(r, whole) // shorter by each turn
	case !leads && r.kind != fileSystem && t.isDevice(whole):
		return t.device(r, whole)
	}
	if secret, err := t.secretAt(r, whole); secret != nil {
		return t.openSecret(r, secret)
	} else if err != nil {
		return err
	}
	flags := unix.O_PATH
	if r.kind == opening {
		flags = r.flags&usable | unix.O_NOCTTY
	}
	if !r.follows() {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := openat2.Open(int(t.Root.Fd()), whole, &unix.OpenHow{
		Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return err
	}
	if r.kind == opening {
		return t.hand(r, fd)
	}
	defer unix.Close(fd)
	return t.state(r, fd, "")
}

// state answers what is no opening about a name in a directory, or about the directory itself.
func (t *thread) state(r *request, dir int, name string) error {
	flags := r.flags & (unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC | unix.AT_EACCESS)
	if name == "" {
		flags = flags&^unix.AT_SYMLINK_NOFOLLOW | unix.AT_EMPTY_PATH
	}
	at := uint64(0)
	if r.rest != none {
		at = r.args[r.rest]
	}
	switch r.kind {
	case status:
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, flags&^unix.AT_EACCESS); err != nil {
			return err
		}
		return t.result(r, at, raw(&st))
	case statusx:
		var st unix.Statx_t
		if err := unix.Statx(dir, name, flags&^unix.AT_EACCESS, int(r.args[r.size]), &st); err != nil {
			return err
		}
		return t.result(r, at, raw(&st))
	case fileSystem:
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(t.proc.Fd()), &st); err != nil {
			return err
		}
		return t.result(r, at, raw(&st))
	case attributes:
		return unix.EOPNOTSUPP
	case access:
		if err := unix.Faccessat2(dir, name, uint32(at), flags&(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)); err != nil {
			return err
		}
		t.listener.value(r.notification, 0)
		return nil
	}
	text, err := t.link(dir, name)
	if err != nil {
		return err
	}
	text, _ = t.inside(text)
	return t.text(r, text)
}

// result is what a call that gives nothing else writes.
func (t *thread) result(r *request, at uint64, data []byte) error {
	if err := t.store(r.notification, at, data); err != nil {
		return err
	}
	t.listener.value(r.notification, 0)
	return nil
}

// text is the answer to reading a link.
func (t *thread) text(r *request, text string) error {
	size := int(int32(r.args[r.size]))
	if size <= 0 {
		return unix.EINVAL
	}
	text = text[:min(len(text), size)]
	if err := t.store(r.notification, r.args[r.rest], []byte(text)); err != nil {
		return err
	}
	t.listener.value(r.notification, len(text))
	return nil
}
