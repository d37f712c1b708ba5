package input

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/builder/mount"
)

// Mount is a builder.Mount. One of Bind, Cache, Tmpfs, Secret and SSH is there, and Bind also for the
// first content of a Cache.
type Mount struct {
	Target   string        // absolute, or "" for one that is a variable alone
	Bind     *Source       `json:",omitempty"` // whose one pattern is the file or directory
	ReadOnly bool          `json:",omitempty"` // of a Bind, else what is written is thrown away; of a Cache
	Cache    *mount.Cache  `json:",omitempty"`
	Tmpfs    *mount.Tmpfs  `json:",omitempty"`
	Secret   *mount.Secret `json:",omitempty"` // which the worker asks for by the mount's number
	SSH      *mount.SSH    `json:",omitempty"` // whose agent the caller reaches by the mount's number
}

// kinds are what a mount is made of.
func (m *Mount) kinds() []string {
	var kinds []string
	for _, k := range []struct {
		name string
		is   bool
	}{{"bind", m.Bind != nil && m.Cache == nil}, {"cache", m.Cache != nil}, {"tmpfs", m.Tmpfs != nil}, {"secret", m.Secret != nil}, {"ssh", m.SSH != nil}} {
		if k.is {
			kinds = append(kinds, k.name)
		}
	}
	return kinds
}

// String names a mount in messages.
func (m *Mount) String() string {
	kind := strings.Join(m.kinds(), " and ")
	if kind != "" {
		kind += " "
	}
	if m.Target == "" {
		return "the " + kind + "mount without a target"
	}
	return fmt.Sprintf("the %smount on %s", kind, m.Target)
}

// IsBind says that a mount shows files of a Source, which count for the step.
func (m *Mount) IsBind() bool { return m.Bind != nil && m.Cache == nil }

// CheckMounts refuses mounts that make no sense, with an error that matches limits.ErrInvalid and
// names the one. The caller asks before anything crosses the wire, and the worker once more.
func CheckMounts(mounts []Mount) error {
	on := map[string]*Mount{}
	for i := range mounts {
		m := &mounts[i]
		if err := m.check(); err != nil {
			return fmt.Errorf("%w: %s: %w", limits.ErrInvalid, m, err)
		}
		if m.Target == "" {
			continue
		}
		if other := on[m.Target]; other != nil {
			return fmt.Errorf("%w: %s and %s have the same target; give one of them another", limits.ErrInvalid, other, m)
		}
		on[m.Target] = m
	}
	return nil
}

func (m *Mount) check() error {
	if kinds := m.kinds(); len(kinds) != 1 {
		return fmt.Errorf("it must be one of a bind, a cache, a tmpfs, a secret and ssh, and is %d of them", len(kinds))
	}
	if err := m.checkTarget(); err != nil {
		return err
	}
	switch {
	case m.Bind != nil:
		if err := m.Bind.checkShown(); err != nil {
			return err
		}
		fallthrough
	case m.Cache != nil:
		return m.checkCache()
	case m.Tmpfs != nil:
		if m.Tmpfs.Size < 0 {
			return fmt.Errorf("its size is %d bytes", m.Tmpfs.Size)
		}
		return checkOwner(m.Tmpfs.Mode, 0, 0)
	case m.Secret != nil:
		return checkOwner(m.Secret.Mode, m.Secret.UID, m.Secret.GID)
	}
	return checkOwner(m.SSH.Mode, m.SSH.UID, m.SSH.GID)
}

// maxPath is the kernel's limit of a path, with the NUL at its end.
const maxPath = 4096

func (m *Mount) checkTarget() error {
	at := m.Target
	switch {
	case at == "" && m.Secret != nil && m.Secret.Env != "":
		return nil
	case at == "":
		return fmt.Errorf("it needs a target, the path at which the command sees it")
	case !path.IsAbs(at) || path.Clean(at) != at || strings.ContainsRune(at, 0):
		return fmt.Errorf("the target %q is no absolute path", at)
	case len(at) >= maxPath:
		return fmt.Errorf("its target is a path of %d bytes, and the kernel takes %d", len(at), maxPath-1)
	}
	return mount.CheckTarget(at)
}

// checkShown refuses a choice of files that is not one file or directory, and what is for copies
// alone.
func (s *Source) checkShown() error {
	switch {
	case len(s.Patterns) > 1:
		return fmt.Errorf("it is of one file or directory, and %d are named: %q", len(s.Patterns), s.Patterns)
	case s.Chown != "" || s.Chmod != "" || s.Parents:
		return fmt.Errorf("chown, chmod and parents have no meaning for a mount, only for a copy")
	case len(s.Patterns) == 1 && !isName(s.Patterns[0]):
		return fmt.Errorf("it is of one file or directory, and %q may be several; put a backslash before a character of a name that is none of a pattern", s.Patterns[0])
	}
	return s.check()
}

// isName says that a pattern has no wildcards.
func isName(pattern string) bool {
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return false
		}
	}
	return true
}

// Selected is the name of the one file or directory that a Source for a mount has.
func (s *Source) Selected() string {
	if len(s.Patterns) == 0 {
		return "."
	}
	var name []byte
	for i, p := 0, s.Patterns[0]; i < len(p); i++ {
		if p[i] == '\\' && i+1 < len(p) {
			i++
		}
		name = append(name, p[i])
	}
	return cmp.Or(strings.TrimPrefix(path.Clean("/"+string(name)), "/"), ".")
}

func (m *Mount) checkCache() error {
	c := m.Cache
	if c == nil {
		return nil
	}
	switch c.Sharing {
	case mount.Shared, mount.Locked, mount.Private:
	default:
		return fmt.Errorf("its sharing is %q, and can be \"\", %q or %q", c.Sharing, mount.Locked, mount.Private)
	}
	if c.ID == "" {
		return fmt.Errorf("it needs an id")
	}
	return checkOwner(c.Mode, c.UID, c.GID)
}

// checkOwner checks what files that are made for a mount have.
func checkOwner(mode fs.FileMode, uid, gid int) error {
	if mode&^(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		return fmt.Errorf("its mode %#o has bits beside those of fs.ModePerm, fs.ModeSetuid, fs.ModeSetgid and fs.ModeSticky", uint32(mode))
	}
	for _, id := range []int{uid, gid} {
		if id < 0 || id >= math.MaxUint32 { // that is no id
			return fmt.Errorf("%d is not the id of a user or group", id)
		}
	}
	return nil
}

// MountOrder gives the numbers of mounts in the order in which they are mounted: those over
// directories before those over what is in them.
func MountOrder(mounts []Mount) []int {
	order := make([]int, len(mounts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return strings.Count(mounts[a].Target, "/") - strings.Count(mounts[b].Target, "/")
	})
	return order
}
