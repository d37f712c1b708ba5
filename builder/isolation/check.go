package isolation

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/oakum-build/oakum/builder/limits"
)

// Check gives an error, which matches builder.ErrInvalid, of options that make no sense on any
// machine. Whatever it does not know is an error, and never stands for something weaker. The builder
// asks it before it does anything for a command.
func (o Options) Check() error {
	if !slices.Contains([]Sandbox{Default, Thread, OCI}, o.Sandbox) {
		return fmt.Errorf("%w: there is no sandbox %q, only %s and %s", limits.ErrInvalid, o.Sandbox, Thread, OCI)
	}
	for _, device := range o.Devices {
		if _, err := ParseDevice(device); err != nil {
			return err
		}
	}
	for _, group := range o.Groups {
		switch {
		case group == "keep-groups":
			return fmt.Errorf("%w: group %s: in a user namespace no group of the machine's user can be kept: name groups of the image", limits.ErrInvalid, group)
		case group == "" || strings.ContainsAny(group, ":,\n\x00"):
			return fmt.Errorf("%w: %q is no group's name", limits.ErrInvalid, group)
		}
	}
	return errors.Join(o.Network.Check(), o.Security.Check(), o.Limits.Check())
}

// Check is that of Options.Check for these.
func (s Security) Check() error {
	if _, _, err := s.Capabilities(nil, nil); err != nil {
		return err
	}
	if s.Seccomp != "" && s.Seccomp != Unconfined {
		if err := checkSeccomp(s.Seccomp); err != nil {
			return err
		}
	}
	for _, name := range s.Mask {
		if !isPath(name) || path.Clean(name) == "/" {
			return fmt.Errorf("%w: %q cannot be masked: it is no absolute path of a file or directory", limits.ErrInvalid, name)
		}
	}
	for _, pattern := range s.Unmask {
		if _, err := path.Match(pattern, "/"); err != nil || !isPath(pattern) && !strings.EqualFold(pattern, All) {
			return fmt.Errorf("%w: %q cannot be unmasked: it is neither %s nor an absolute path", limits.ErrInvalid, pattern, All)
		}
	}
	if strings.ContainsAny(s.AppArmor, " \t\n\x00") {
		return fmt.Errorf("%w: %q is no name of an AppArmor profile", limits.ErrInvalid, s.AppArmor)
	}
	for _, option := range s.Label {
		name, value, _ := strings.Cut(option, ":")
		if option != "disable" && (!slices.Contains([]string{"user", "role", "type", "level"}, name) || value == "" || strings.ContainsAny(value, " \t\n\x00")) {
			return fmt.Errorf("%w: there is no label option %q, only disable, user:, role:, type: and level: with a value", limits.ErrInvalid, option)
		}
	}
	return nil
}

// isPath says that a text is an absolute path, which holds as well where this is no Linux.
func isPath(text string) bool { return path.IsAbs(text) && !strings.Contains(text, "\x00") }

// Device is one of the machine's that a command may use.
type Device struct {
	Path   string // on this machine
	Target string // where the command sees it
}

// ParseDevice reads PATH[:PATH-IN-THE-COMMAND[:PERMISSIONS]]. What a command may do to a device
// depends on the rights of the device's node, so that permissions that do not allow reading and
// writing are an error, and m, to make nodes of it, allows nothing more: it matches builder.ErrInvalid.
func ParseDevice(text string) (Device, error) {
	parts := strings.Split(text, ":")
	permissions := "rw"
	if n := len(parts); n > 1 && n < 4 && isPermissions(parts[n-1]) {
		parts, permissions = parts[:n-1], parts[n-1]
	}
	d := Device{Path: parts[0], Target: parts[0]}
	if len(parts) == 2 {
		d.Target = parts[1]
	}
	vendor, _, isName := strings.Cut(text, "=")
	switch {
	case isName && !path.IsAbs(text) && strings.Contains(vendor, "/"):
		return Device{}, fmt.Errorf("%w: device %q: names of the Container Device Interface are not known here: give the path of the device's node", limits.ErrInvalid, text)
	case len(parts) > 2 || !isPath(d.Path) || !isPath(d.Target):
		return Device{}, fmt.Errorf("%w: device %q: it is not PATH[:PATH-IN-THE-COMMAND[:rwm]] with absolute paths", limits.ErrInvalid, text)
	case !strings.Contains(permissions, "r") || !strings.Contains(permissions, "w"):
		return Device{}, fmt.Errorf("%w: device %q: a command that has a device's node may read and write as the node's mode says: nothing here could keep it to %q", limits.ErrInvalid, text, permissions)
	}
	d.Path, d.Target = path.Clean(d.Path), path.Clean(d.Target)
	for _, taken := range []string{"/", "/proc", "/sys", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/pipes"} {
		if d.Target == taken || taken != "/" && strings.HasPrefix(d.Target, taken+"/") {
			return Device{}, fmt.Errorf("%w: device %q: nothing can be put at %s", limits.ErrInvalid, text, d.Target)
		}
	}
	if slices.Contains([]string{"/dev", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/ptmx", "/dev/core", "/dev/console"}, d.Target) {
		return Device{}, fmt.Errorf("%w: device %q: %s is the command's own", limits.ErrInvalid, text, d.Target)
	}
	return d, nil
}

func isPermissions(text string) bool { return text != "" && strings.Trim(text, "rwm") == "" }

// ulimits are the names of resource limits (getrlimit(2)), as Docker has them, and their numbers.
var ulimits = map[string]int{
	"cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7, "memlock": 8, "as": 9, "locks": 10, "sigpending": 11,
	"msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
}

// Number is the number of the limit's name on Linux, or -1 if there is none of that name.
func (u Ulimit) Number() int {
	if n, known := ulimits[u.Name]; known {
		return n
	}
	return -1
}

func (u Ulimit) check() error {
	switch {
	case u.Number() < 0:
		return fmt.Errorf("%w: there is no resource limit %q", limits.ErrInvalid, u.Name)
	case u.Soft < -1 || u.Hard < -1:
		return fmt.Errorf("%w: the limit %s is less than nothing: -1 is no limit", limits.ErrInvalid, u.Name)
	case uint64(u.Soft) > uint64(u.Hard): // -1 is the largest
		return fmt.Errorf("%w: the soft limit %s is above the hard one", limits.ErrInvalid, u.Name)
	}
	return nil
}

// CgroupControllers are those of control groups version 2 that the limits need.
func (l Limits) CgroupControllers() []string {
	var names []string
	if l.CPUShares != 0 || l.CPUPeriod != 0 || l.CPUQuota != 0 {
		names = append(names, "cpu")
	}
	if l.CPUs != "" || l.Memories != "" {
		names = append(names, "cpuset")
	}
	if l.Memory != 0 || l.MemorySwap != 0 {
		names = append(names, "memory")
	}
	return names
}

// Check is that of Options.Check for these.
func (l Limits) Check() error {
	seen := map[string]bool{}
	for _, u := range l.Ulimits {
		if err := u.check(); err != nil {
			return err
		}
		if seen[u.Name] {
			return fmt.Errorf("%w: the limit %s is given twice", limits.ErrInvalid, u.Name)
		}
		seen[u.Name] = true
	}
	within := func(value, least, most int64) bool { return value == 0 || value >= least && value <= most }
	const most = 1 << 60
	for _, bad := range []struct {
		is   bool
		what string
	}{
		{!within(l.ShmSize, 1, most), "the size of /dev/shm is a number of bytes"},
		{!within(l.Memory, 1, most), "a limit of memory is a number of bytes"},
		{l.MemorySwap != -1 && !within(l.MemorySwap, max(l.Memory, 1), most), "a limit of memory and swap is -1, or at least that of memory"},
		{l.MemorySwap > 0 && l.Memory == 0, "a limit of memory and swap needs one of memory"},
		{!within(l.CPUShares, 2, 262144), "a weight of processor time is from 2 to 262144"},
		{!within(l.CPUPeriod, 1000, 1000000), "a period of processor time is from 1000 to 1000000 microseconds"},
		{l.CPUQuota != -1 && !within(l.CPUQuota, 1000, most), "a quota of processor time is -1, or at least 1000 microseconds"},
		{!isRanges(l.CPUs), "processors are a list like 0-3,5"},
		{!isRanges(l.Memories), "memory nodes are a list like 0-3,5"},
		{strings.ContainsAny(l.CgroupParent, "\n\x00") || slices.Contains(strings.Split(l.CgroupParent, "/"), ".."), "a control group is a path without .."},
	} {
		if bad.is {
			return fmt.Errorf("%w: %s", limits.ErrInvalid, bad.what)
		}
	}
	return nil
}

// isRanges says that text is empty or a list of numbers and ranges.
func isRanges(text string) bool {
	if text == "" {
		return true
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return false
		}
		if last, err := strconv.ParseUint(to, 10, 16); isRange && (err != nil || last < first) {
			return false
		}
	}
	return true
}
