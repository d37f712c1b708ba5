package builder

import (
	"cmp"
	"fmt"
	"path"

	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/mount"
)

// Mount is something that a command sees over a path of the stage: files of a Source (From), a
// directory that is kept (Cache), one in memory (Tmpfs), a secret, or an ssh agent. Exactly one of
// them is given, but that a Cache may have a From for its first content.
//
// A mount leaves no trace in the layer, and neither does the directory or file that is made where
// there is nothing at its Target. Of several that lie in each other, that of the directory comes
// first. Nothing can be mounted over /, /proc, /sys and /dev, or below these but in /dev/shm.
type Mount struct {
	// Target is the path: absolute, or relative to the command's working directory. Links in it are
	// followed inside the stage.
	Target string
	// From is whose files are seen: the one file or directory that Select names, or all. Links in
	// that name are followed inside the source. Their content is in the step's key. What the
	// command writes there is thrown away, and is an error with ReadOnly.
	From Source
	// ReadOnly is for From and Cache.
	ReadOnly bool

	Cache  *mount.Cache
	Tmpfs  *mount.Tmpfs
	Secret *mount.Secret
	SSH    *mount.SSH
}

// mounts names a command's mounts to the worker. Their files come after others of the call.
func (st *streams) mounts(b *Builder, dir string, mounts []Mount) ([]input.Mount, error) {
	var all []input.Mount
	agents := 0
	for _, m := range mounts {
		named := input.Mount{Target: m.Target, ReadOnly: m.ReadOnly, Cache: m.Cache, Tmpfs: m.Tmpfs, Secret: m.Secret, SSH: m.SSH}
		if err := m.checkGrant(); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, &named, err)
		}
		if m.SSH != nil {
			named.Target = cmp.Or(m.Target, fmt.Sprintf("/run/buildkit/ssh_agent.%d", agents))
			agents++
		}
		if named.Target != "" {
			named.Target = path.Clean(named.Target)
			if !path.IsAbs(named.Target) {
				named.Target = path.Join(dir, named.Target)
			}
		}
		if m.Cache != nil {
			cache := *m.Cache
			cache.ID = cmp.Or(cache.ID, named.Target)
			named.Cache = &cache
		}
		if m.From.kind != "" || m.From.err != nil {
			src, err := st.source(b, m.From)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", &named, err)
			}
			named.Bind = &src
		}
		if err := checkUTF8("target", named.Target); err != nil {
			return nil, err
		}
		all = append(all, named)
	}
	return all, input.CheckMounts(all)
}

// changing says that what mounts show may be other files from one call to the next, so that asking
// the cache first would read them twice.
func changing(mounts []input.Mount) bool {
	for _, m := range mounts {
		if m.IsBind() && (m.Bind.Dir != "" || m.Bind.Stream != nil) {
			return true
		}
	}
	return false
}
