//go:build linux

package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/storage/openat2"
)

// hierarchy is that of cgroup v2, as this process sees it.
type hierarchy struct {
	root *os.File // the uppermost group that it sees
	own  string   // the group that it is in, below root
}

func (h *hierarchy) close() { h.root.Close() }

// noHierarchy says that there is no cgroup v2.
var noHierarchy = errdefs.HostError{
	Missing: "limits of memory and processor time need control groups (cgroup v2), which are not mounted here",
	Remedy:  "leave the limits out, or start the machine with systemd.unified_cgroup_hierarchy=1",
}

// find finds the hierarchy where it is mounted, which on machines that have both versions is not
// /sys/fs/cgroup, and the group that this process is in. It makes a mount of it for itself, that is
// attached nowhere: the sandboxes make /sys read-only.
func find() (*hierarchy, error) {
	point, above, err := mounted("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := ownGroup("/proc/self/cgroup")
	if err != nil || point == "" {
		return nil, errors.Join(err, &noHierarchy)
	}
	if above = path.Clean(above); above != "/" {
		below, isBelow := strings.CutPrefix(own+"/", above+"/")
		if !isBelow {
			return nil, &errdefs.HostError{Missing: fmt.Sprintf("the control group %s of this process is not in sight: %s shows %s", own, point, above), Remedy: remedy}
		}
		own = "/" + below
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, point, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.EPERM) { // outside of the worker, which has a mount namespace of its own
		fd, err = unix.Open(point, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	} else if err == nil {
		_ = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	}
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: point, Err: err}
	}
	return &hierarchy{root: os.NewFile(uintptr(fd), point), own: path.Clean("/" + own)}, nil
}

// mounted gives the first mount of cgroup v2, and which group is seen there (proc(5), mountinfo).
func mounted(file string) (point, above string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if len(fields) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			return plain.Replace(fields[4]), plain.Replace(fields[3]), nil
		}
	}
	return "", "", lines.Err()
}

// plain takes back how mountinfo writes odd characters.
var plain = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// ownGroup is the group of cgroup v2 that this process is in.
func ownGroup(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if own, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); found {
			return own, nil
		}
	}
	return "", &noHierarchy
}

// group opens a group by its path below the root.
func (h *hierarchy) group(name string) (*os.File, error) {
	fd, err := openat2.Open(int(h.root.Fd()), path.Join(".", name), &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path.Join(h.root.Name(), name), Err: err}
	}
	return os.NewFile(uintptr(fd), path.Join(h.root.Name(), name)), nil
}

// isTop says that the root is that of the machine, which may have processes beside groups.
func (h *hierarchy) isTop() bool {
	_, err := readAt(h.root, "cgroup.type")
	return errors.Is(err, fs.ErrNotExist)
}

// base is the group below which those of commands are made, if none was asked for.
func (h *hierarchy) base() string {
	if h.isTop() && unix.Faccessat(int(h.root.Fd()), "cgroup.subtree_control", unix.W_OK, unix.AT_EACCESS) == nil {
		return "/"
	}
	if path.Base(h.own) == aside {
		return path.Dir(h.own)
	}
	return h.own
}

// StepAside puts this process into a group beside those of commands, if it is in the one below
// which they will be made, and that cannot be made otherwise. It is called in the program's own process
// and in the worker, before Make. Where it cannot be done, Make says why.
func StepAside(l isolation.Limits) {
	if len(l.CgroupControllers()) == 0 || l.CgroupParent != "" {
		return
	}
	h, err := find()
	if err != nil {
		return
	}
	defer h.close()
	base := h.base()
	if base == "/" && h.isTop() || base != h.own {
		return
	}
	dir, err := h.group(base)
	if err != nil {
		return
	}
	defer dir.Close()
	if lacks(dir, "cgroup.subtree_control", l.CgroupControllers()) == nil {
		return
	}
	_ = unix.Mkdirat(int(dir.Fd()), aside, 0o755)
	pids := []string{"0"} // this process
	if os.Getpid() == 1 { // the worker: all that it sees are its own
		procs, _ := readAt(dir, "cgroup.procs")
		pids = append(pids, strings.Fields(procs)...)
	}
	for _, pid := range pids {
		_ = writeAt(dir, aside+"/cgroup.procs", pid)
	}
}

// below opens the group below which that of a command is made, with the controllers that it needs.
func (g *Group) below(l isolation.Limits) (*os.File, error) {
	name := g.base()
	if l.CgroupParent != "" {
		name = path.Join("/", l.CgroupParent)
		if err := g.makeAll(name, l.CgroupControllers()); err != nil {
			return nil, err
		}
	}
	dir, err := g.group(name)
	if err != nil {
		return nil, err
	}
	if err := enable(dir, l.CgroupControllers()); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// makeAll makes a group that was asked for, and hands the controllers down to it.
func (g *Group) makeAll(name string, controllers []string) error {
	at := "."
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		dir, err := g.group(at)
		if err != nil {
			return err
		}
		at = path.Join(at, part)
		err = unix.Mkdirat(int(dir.Fd()), part, 0o755)
		if err == nil {
			g.made = append(g.made, at)
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			err = refusal("making the control group /"+at, err)
		} else {
			err = enable(dir, controllers)
		}
		dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// enable hands controllers down to the groups below one.
func enable(dir *os.File, controllers []string) error {
	missing := lacks(dir, "cgroup.subtree_control", controllers)
	if missing == nil {
		return nil
	}
	if none := lacks(dir, "cgroup.controllers", missing); none != nil {
		return &errdefs.HostError{
			Missing: fmt.Sprintf("the control group %s has no controller %s, which a limit of the command needs", dir.Name(), strings.Join(none, ", ")),
			Remedy:  remedy,
		}
	}
	if err := writeAt(dir, "cgroup.subtree_control", "+"+strings.Join(missing, " +")); err != nil {
		why := ""
		if errors.Is(err, unix.EBUSY) {
			why = ", in which there are processes of other programs,"
		}
		return refusal("handing the controllers "+strings.Join(missing, ", ")+" down from the control group "+dir.Name()+why, errors.Unwrap(err))
	}
	return nil
}

// lacks gives those of some controllers that a file has not.
func lacks(dir *os.File, file string, controllers []string) []string {
	text, _ := readAt(dir, file)
	has := strings.Fields(text)
	var missing []string
	for _, name := range controllers {
		if !slices.Contains(has, name) {
			missing = append(missing, name)
		}
	}
	return missing
}
