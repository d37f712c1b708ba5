//go:build linux

// Package cgroup limits how much memory and processor time a command uses, by a control group
// (cgroup v2) that is made for it where this process may make one: below the group that it is in, if
// that is delegated to its user, below the root of the hierarchy for root of the machine, or below
// the one that was asked for.
//
// A group that has processes cannot hand on its controllers to groups below it (cgroups(7), "no
// internal processes"). So the processes of oakum, the program's own and the worker, step aside into
// a group of their own beside those of the commands: StepAside.
package cgroup

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/isolation"
)

// Names of groups that are made.
const (
	aside  = "oakum-programs" // of the processes that stepped aside
	prefix = "oakum-run-"     // of one command
)

// Needed says whether a command needs a control group.
func Needed(l isolation.Limits) bool { return len(l.CgroupControllers()) > 0 || l.CgroupParent != "" }

// Delegated gives the controllers that groups of commands can have. A *errdefs.HostError says why
// there are none, and what to do.
func Delegated() ([]string, error) {
	h, err := find()
	if err != nil {
		return nil, err
	}
	defer h.close()
	dir, err := h.group(h.base())
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := unix.Faccessat(int(dir.Fd()), "cgroup.subtree_control", unix.W_OK, unix.AT_EACCESS); err != nil {
		return nil, refusal("making a control group in "+dir.Name(), err)
	}
	text, err := readAt(dir, "cgroup.controllers")
	all := strings.Fields(text)
	all = slices.DeleteFunc(all, func(name string) bool { return name != "cpu" && name != "cpuset" && name != "memory" })
	if err == nil && len(all) == 0 {
		err = &errdefs.HostError{Missing: "no controller of memory or processor time is delegated to " + dir.Name(), Remedy: remedy}
	}
	return all, err
}

// Group is the control group of one command. Nobody else's process is in it.
type Group struct {
	// Procs is its cgroup.procs, opened for writing: a process that writes 0 to it is in the group.
	Procs *os.File
	*hierarchy
	made   []string // groups above it that were not there, by their paths below the root
	parent *os.File
	name   string   // below parent
	dir    *os.File // locked, so that nobody takes the group for one that was left
}

// Make makes a group with limits. A *errdefs.HostError says why there can be none, and what to do. It
// removes the groups that workers have left which were killed.
func Make(l isolation.Limits) (*Group, error) {
	for try := 1; ; try++ {
		g, err := makeGroup(l)
		// What another command made above its own group goes with it, perhaps just now.
		if gone := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV); !gone || try == tries {
			return g, err
		}
	}
}

// tries are how often a group is made below one that vanishes.
const tries = 5

func makeGroup(l isolation.Limits) (*Group, error) {
	h, err := find()
	if err != nil {
		return nil, err
	}
	g := &Group{hierarchy: h}
	if g.parent, err = g.below(l); err == nil {
		sweep(g.parent)
		err = g.make()
	}
	if err == nil {
		err = g.limit(l)
	}
	if err == nil {
		g.Procs, err = openAt(g.dir, "cgroup.procs", unix.O_WRONLY)
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// make makes the directory, and locks it.
func (g *Group) make() error {
	for {
		g.name = prefix + strings.ToLower(rand.Text())
		if err := unix.Mkdirat(int(g.parent.Fd()), g.name, 0o755); err != nil {
			return refusal("making a control group in "+g.parent.Name(), err)
		}
		dir, err := lock(g.parent, g.name)
		if err != nil || dir != nil {
			g.dir = dir
			return err
		}
	}
}

// lock locks a group, and gives nil for one that is another's or is gone.
func lock(parent *os.File, name string) (*os.File, error) {
	dir, err := openAt(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, nil
	}
	// Who looks for groups that were left may have been faster, and removed it.
	procs, err := openAt(dir, "cgroup.procs", unix.O_RDONLY)
	if err != nil {
		dir.Close()
		return nil, nil
	}
	procs.Close()
	return dir, nil
}

// sweep removes groups that workers have left which were killed. Their processes ended with them.
func sweep(parent *os.File) {
	list, err := openAt(parent, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer list.Close()
	names, _ := list.Readdirnames(-1)
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if dir, err := lock(parent, name); err == nil && dir != nil {
			_ = unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR)
			dir.Close()
		}
	}
}

// Killed says how often the kernel has killed a process in the group because its memory was used up.
func (g *Group) Killed() int {
	text, _ := readAt(g.dir, "memory.events")
	for line := range strings.Lines(text) {
		var n int
		if _, err := fmt.Sscanf(line, "oom_kill %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// longestEnd is how long Close waits for those that it has killed.
const longestEnd = 10 * time.Second

// Close ends what is in the group, of which nothing should be left, and removes it.
func (g *Group) Close() error {
	if g == nil {
		return nil
	}
	defer g.close()
	var err error
	if g.dir != nil {
		_ = writeAt(g.dir, "cgroup.kill", "1") // from Linux 5.14 on
		// Who was killed is there until its memory is freed.
		for wait, end := time.Millisecond, time.Now().Add(longestEnd); ; wait = min(2*wait, 50*time.Millisecond) {
			if err = unix.Unlinkat(int(g.parent.Fd()), g.name, unix.AT_REMOVEDIR); !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
				break
			}
			time.Sleep(wait)
		}
		if err != nil {
			err = &os.PathError{Op: "rmdir", Path: path.Join(g.parent.Name(), g.name), Err: err}
		}
	}
	for _, f := range []*os.File{g.Procs, g.dir, g.parent} {
		if f != nil {
			f.Close()
		}
	}
	for _, name := range slices.Backward(g.made) {
		_ = unix.Unlinkat(int(g.root.Fd()), name, unix.AT_REMOVEDIR) // not while others use it
	}
	return err
}

// refusal is the error of what the machine does not let this process do.
func refusal(what string, err error) error {
	if slices.ContainsFunc([]error{unix.EACCES, unix.EPERM, unix.EROFS, unix.EBUSY}, func(e error) bool { return errors.Is(err, e) }) {
		return &errdefs.HostError{Missing: what + ": " + err.Error() + ": limits of memory and processor time need a control group (cgroup v2) that is delegated to this user", Remedy: remedy}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// remedy gives a program a control group of its own, with systemd.
const remedy = "run it so: systemd-run --user --scope -p Delegate=yes oakum ...; or leave the limits out"

func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path.Join(dir.Name(), name), Err: err}
	}
	return os.NewFile(uintptr(fd), path.Join(dir.Name(), name)), nil
}

func readAt(dir *os.File, name string) (string, error) {
	f, err := openAt(dir, name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buffer := make([]byte, 64<<10)
	n, err := f.Read(buffer)
	if n > 0 {
		err = nil
	}
	return strings.TrimSuffix(string(buffer[:max(n, 0)]), "\n"), err
}

func writeAt(dir *os.File, name, text string) error {
	f, err := openAt(dir, name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
