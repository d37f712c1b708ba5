//go:build linux && (amd64 || arm64)

package thread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
)

// write makes the list of what the command's first process does. Their order is that of what each
// needs: capabilities of this process, then those that remain, and at last only what the filter, which is
// the user's choice, must let through: the execution.
func (c *container) write(p *program) error {
	files, err := c.stdio()
	if err != nil {
		return err
	}
	if err := c.makeReport(); err != nil {
		return err
	}
	writeSignals(p)
	writeStdio(p, files, c.Stdio.Terminal != nil)
	if c.chroot != nil {
		c.writeChroot(p)
	} else {
		c.writeProc(p)
	}
	c.writeDir(p)
	c.writeLimits(p)
	c.writeModules(p)
	if c.rights.NoNewPrivileges {
		p.add("no new privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if c.scope >= 0 && (c.chroot == nil || c.scoped()) {
		p.add("the scope", unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(c.scope), 0)
	}
	if c.namespace >= 0 {
		p.add("the user namespace", unix.SYS_SETNS, uintptr(c.namespace), unix.CLONE_NEWUSER)
		if slices.Contains(c.rights.Capabilities, "CAP_SYS_ADMIN") {
			// Its own namespaces are then such that it may mount, but not uncover what is hidden from it.
			p.add("the user namespace", unix.SYS_UNSHARE, unix.CLONE_NEWNS|unix.CLONE_NEWUTS)
		}
	}
	c.writeUser(p)
	c.writeExec(p)
	return nil
}

// writeSignals: none is ignored or blocked, whatever this process does with them.
func writeSignals(p *program) {
	usual := p.bytes(make([]byte, 64)) // a struct sigaction of zeros: SIG_DFL
	for n := uintptr(1); n <= 64; n++ {
		if n != uintptr(unix.SIGKILL) && n != uintptr(unix.SIGSTOP) {
			p.add("signals", unix.SYS_RT_SIGACTION, n, usual, 0, 8)
		}
	}
	p.add("signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, p.bytes(make([]byte, 8)), 0, 8)
	p.add("the session", unix.SYS_SETSID)
}

// writeStdio gives the command its standard files.
func writeStdio(p *program, files [3]int, terminal bool) {
	for i, fd := range files {
		p.add("standard files", unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
	if terminal {
		p.add("the terminal", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
}

// writeProc mounts /proc, which shows the processes of who mounts it, or that of this process where none may be
// mounted, and hides what must not be seen or
// changed there.
func (c *container) writeProc(p *program) {
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH
	empty := p.text("")
	// A user namespace other than the machine's may have a fresh /proc only where it sees one already, as
	// this process does, and not where the command is to see nothing else.
	if c.reaper != nil {
		p.add("the parent of the command's processes", unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		p.results[procMount] = uintptr(c.ownProc)
	} else {
		p.add("mounting /proc", unix.SYS_SETNS, uintptr(c.self), unix.CLONE_NEWNS)
		p.add("mounting /proc", unix.SYS_FSOPEN, p.text("proc"), unix.FSOPEN_CLOEXEC).into = scratch
		p.add("mounting /proc", unix.SYS_FSCONFIG, 0, unix.FSCONFIG_CMD_CREATE, 0, 0, 0).slot = scratch
		mount := p.add("mounting /proc", unix.SYS_FSMOUNT, 0, unix.FSMOUNT_CLOEXEC, noSUID|noDev|noExec)
		mount.slot, mount.into = scratch, procMount
		p.add("mounting /proc", unix.SYS_SETNS, uintptr(c.mounts), unix.CLONE_NEWNS)
	}
	p.add("mounting /proc", unix.SYS_MOVE_MOUNT, 0, empty, uintptr(c.procPoint), empty, flags|unix.MOVE_MOUNT_T_EMPTY_PATH).slot = procMount
	absent := [2]uintptr{uintptr(unix.ENOENT), uintptr(unix.ENOTDIR)}
	for _, m := range c.masks {
		move := p.add("hiding "+m.target, unix.SYS_MOVE_MOUNT, uintptr(m.mount), empty, 0, p.text(strings.TrimPrefix(m.target, "/proc/")), flags)
		move.slot, move.at, move.ignore = procMount, 2, absent
	}
	attr := value(p, unix.MountAttr{Attr_set: readOnly})
	for _, name := range c.rights.ReadOnly {
		below, inProc := strings.CutPrefix(name, "/proc/")
		if !inProc {
			continue
		}
		stage, at := "protecting "+name, p.text(below)
		tree := p.add(stage, unix.SYS_OPEN_TREE, 0, at, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		tree.slot, tree.into, tree.ignore, tree.skip = procMount, scratch, absent, 3
		p.add(stage, unix.SYS_MOUNT_SETATTR, 0, empty, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr, unsafe.Sizeof(unix.MountAttr{})).slot = scratch
		// The target is in another slot than the source, and a call takes only one: the mount of /proc
		// is where this process is.
		p.add(stage, unix.SYS_FCHDIR, 0).slot = procMount
		p.add(stage, unix.SYS_MOVE_MOUNT, 0, empty, atCWD, at, flags).slot = scratch
	}
}

// atCWD is AT_FDCWD as an argument.
const atCWD = ^uintptr(-unix.AT_FDCWD - 1)

// writeDir goes to the command's directory, which is made when it is missing, with all above it.
func (c *container) writeDir(p *program) {
	how := value(p, unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	stage, dir := "the directory "+c.Process.Dir, "/"
	open := func() {
		p.add(stage, unix.SYS_OPENAT2, uintptr(c.root), p.text(dir), how, unix.SizeofOpenHow).into = scratch
	}
	for name := range strings.SplitSeq(path.Clean(c.Process.Dir), "/") {
		if name == "" {
			continue
		}
		open()
		make := p.add(stage, unix.SYS_MKDIRAT, 0, p.text(name), 0o755)
		make.slot, make.ignore = scratch, [2]uintptr{uintptr(unix.EEXIST), uintptr(unix.EROFS)}
		dir = path.Join(dir, name)
	}
	open()
	p.add(stage, unix.SYS_FCHDIR, 0).slot = scratch
}

// writeLimits sets the limits where the capabilities for it are those of this process.
func (c *container) writeLimits(p *program) {
	if c.Cgroup != nil {
		p.add("the control group", unix.SYS_WRITE, c.Cgroup.Fd(), p.text("0"), 1) // this process
	}
	p.add("limits", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, value(p, c.openFiles), 0)
	for _, l := range c.rights.Limits {
		p.add("limits", unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), value(p, unix.Rlimit{Cur: l.Soft, Max: l.Hard}), 0)
	}
}

// writeModules says which AppArmor profile and SELinux label the command is to have.
func (c *container) writeModules(p *program) {
	write := func(name, text string) {
		if text == "" {
			return
		}
		stage := "the " + name
		at := p.add(stage, unix.SYS_OPENAT, 0, p.text("thread-self/attr/"+name), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		at.slot, at.into = procMount, scratch
		p.add(stage, unix.SYS_WRITE, 0, p.text(text), uintptr(len(text))).slot = scratch
	}
	if c.rights.AppArmor != "" {
		write("apparmor/exec", "exec "+c.rights.AppArmor)
	}
	write("exec", c.rights.Label)
}

// writeUser makes the process that of the command's user, with no other capabilities than it may have,
// but for CAP_SYS_ADMIN where the filter still needs that: its execution takes what is not in the
// bounding set from root, and everything from anybody else.
func (c *container) writeUser(p *program) {
	u := c.Process.User
	var bounding uint64
	for bit, name := range isolation.AllCapabilities() {
		if slices.Contains(c.rights.Capabilities, name) {
			bounding |= 1 << bit
		}
	}
	for bit := 0; bit <= c.lastCap; bit++ {
		if bounding&(1<<bit) == 0 && (c.chroot == nil || c.canDrop) {
			p.add("the bounding set", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(bit), 0, 0, 0)
		}
	}
	p.add("ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if c.setgroups {
		groups := make([]uint32, 0, len(u.Groups)+1)
		for _, g := range u.Groups {
			groups = append(groups, uint32(g))
		}
		kept := append(groups, 0)
		p.keep = append(p.keep, kept)
		p.add("the user's groups", unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&kept[0])))
	}
	gid, uid := uintptr(u.GID), uintptr(u.UID)
	p.add("the user's group", unix.SYS_SETRESGID, gid, gid, gid)
	p.add("capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	p.add("the user", unix.SYS_SETRESUID, uid, uid, uid)
	held := bounding
	if u.UID != 0 {
		held = 0
	}
	if (c.filter != nil || c.passage != nil) && !c.rights.NoNewPrivileges {
		held |= 1 << unix.CAP_SYS_ADMIN
	}
	sets := [2]unix.CapUserData{{Effective: uint32(held), Permitted: uint32(held)}, {Effective: uint32(held >> 32), Permitted: uint32(held >> 32)}}
	p.add("capabilities", unix.SYS_CAPSET, value(p, unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}), value(p, sets))
	// A change of the user clears the first two. The memory that they are of is this process's own.
	p.add("the death signal", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil && dumpable == 1 {
		p.add("dumping", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	}
}

// writeFilter sets the filter.
func (c *container) writeFilter(p *program) {
	if len(c.filter) == 0 {
		return
	}
	p.keep = append(p.keep, c.filter)
	prog := &unix.SockFprog{Len: uint16(len(c.filter)), Filter: &c.filter[0]}
	p.keep = append(p.keep, prog)
	p.add("the system-call filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(prog)))
}

// writeExec closes all files but the standard ones and that of the stub, and executes the stub.
func (c *container) writeExec(p *program) {
	names, _ := candidates(c.Process)
	args, env := p.texts(slices.Concat(names, []string{""}, c.Process.Args)), p.texts(c.Process.Env)
	p.add("the stub", unix.SYS_DUP3, uintptr(c.report[1]), reportFD, 0)
	p.add("other files", unix.SYS_CLOSE_RANGE, reportFD+1, uintptr(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
	c.writeAsking(p)
	c.writeFilter(p)
	if c.chroot != nil { // and there is no /proc
		p.add("executing", unix.SYS_EXECVEAT, uintptr(c.stub), p.text(""), args, env, unix.AT_EMPTY_PATH)
		return
	}
	// Who is just being started by this process may have it open, as it was written.
	p.add("executing", unix.SYS_EXECVE, p.text(fmt.Sprintf("/proc/self/fd/%d", c.stub)), args, env).busy = true
}

// candidates are the files that a command may be, and whether the first that can be executed is it.
func candidates(process sandbox.Process) (names []string, searched bool) {
	name := process.Args[0]
	if strings.Contains(name, "/") {
		return []string{name}, false
	}
	for _, entry := range process.Env {
		list, isPath := strings.CutPrefix(entry, "PATH=")
		if !isPath {
			continue
		}
		names = nil // the last one counts
		for dir := range strings.SplitSeq(list, ":") {
			if path.IsAbs(dir) { // os/exec finds nothing elsewhere either
				names = append(names, dir+"/"+name)
			}
		}
	}
	return names, true
}

// started waits until the command is executed, and tells one that cannot be from a sandbox that cannot
// be made.
func (c *container) started(p *program) error {
	if err := p.error(); err != nil {
		return fmt.Errorf("starting the command: %w", err)
	}
	var number [4]byte
	n, err := unix.Read(c.report[0], number[:])
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(c.report[0], number[:])
	}
	if err != nil {
		return os.NewSyscallError("read", err)
	}
	if n < len(number) { // the execution has closed it
		return nil
	}
	if errno := syscall.Errno(binary.NativeEndian.Uint32(number[:])); errno != unix.ENOENT {
		return &sandbox.StartError{Code: 126, Err: errno}
	}
	return c.missing()
}

// missing is the error of a command of which no file was found. It may be there, and what the kernel needs
// to execute it may not: it says the same of both.
func (c *container) missing() error {
	names, searched := candidates(c.Process)
	for _, name := range names {
		if !path.IsAbs(name) {
			name = path.Join(c.Process.Dir, name)
		}
		_, err := c.inRoot(c.root, name, 0)
		switch {
		case err == nil:
			return &sandbox.StartError{Code: 127, Err: fmt.Errorf("%s is there, but not its interpreter or dynamic linker: %w", name, unix.ENOENT)}
		case errors.Is(err, unix.ENOTDIR) && !searched:
			return &sandbox.StartError{Code: 126, Err: unix.ENOTDIR}
		}
	}
	if searched {
		return &sandbox.StartError{Code: 127, Err: errors.New("executable file not found in $PATH")}
	}
	return &sandbox.StartError{Code: 127, Err: unix.ENOENT}
}
