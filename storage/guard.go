//go:build linux

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/internal/layertar"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// rootMode is the mode of the root of every image, which belongs to 0:0: what a store shows
// of an image whose layers say nothing of it. No layer says anything of it, for those who
// unpack layers do not agree on what an entry for the root means
// (docs/decisions/0008-root-directory.md).
const rootMode fs.FileMode = 0o555

// guard looks at a finished upper directory before anything else is built on it, and gives the
// attributes that the layer keeps.
func (m *making) guard(upper *os.File) (layertar.Attributes, error) {
	found, err := layertar.Guard(upper, m.marks())
	if errors.Is(err, tarfilter.ErrUnfit) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("checking the layer's files: %w", err)
	}
	m.layer.notices = found.LeftOut.Notices()
	changed, err := m.resetRoot(upper)
	if changed {
		m.layer.notices = append(m.layer.notices, fmt.Sprintf("the owner, mode or attributes of / were changed, which images do not hold: it stays %#o of 0:0", rootMode))
	}
	return found.Attributes, err
}

// marks is how the names of overlay's marks begin in the upper directory, "" when there are none.
func (m *making) marks() string {
	if m.plain {
		return ""
	}
	return m.store.overlayAttr()
}

// resetRoot gives the root of an upper directory what all roots have, and says whether
// it had something else.
func (m *making) resetRoot(upper *os.File) (bool, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/.", upper.Fd())
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: "/", Err: err}
	}
	changed := false
	if st.Uid != 0 || st.Gid != 0 {
		changed = true
		if err := unix.Chown(path, 0, 0); err != nil {
			return true, &os.PathError{Op: "chown", Path: "/", Err: err}
		}
	}
	if fs.FileMode(st.Mode&0o7777) != rootMode {
		changed = true
		if err := unix.Chmod(path, uint32(rootMode)); err != nil {
			return true, &os.PathError{Op: "chmod", Path: "/", Err: err}
		}
	}
	attrs, err := layertar.Xattrs(path)
	if err != nil {
		return changed, &os.PathError{Op: "listxattr", Path: "/", Err: err}
	}
	for _, attr := range attrs {
		if layertar.IsMark(attr, m.marks()) || !tarfilter.Keeps(attr) && !tarfilter.StoresOwn(attr) {
			continue // overlay's own, and those of the host's security modules
		}
		changed = true
		if err := unix.Removexattr(path, attr); err != nil {
			return true, &os.PathError{Op: "removexattr " + attr, Path: "/", Err: err}
		}
	}
	return changed, nil
}
