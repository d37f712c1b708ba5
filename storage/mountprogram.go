//go:build linux

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Where storage.conf gives the overlay driver a mount program (fuse-overlayfs), Podman unpacks
// layers in that program's own form: a deleted file is a file .wh.NAME, and with force_mask the
// owner and mode of a file are in an attribute. The kernel's overlay does not know that
// form: it would show the files .wh.NAME, and the wrong owners. The driver marks a store that has
// such layers. In a marked store each layer that oakum has not made is looked through once
// before it is used.

// mountProgram is what a Store knows of that.
type mountProgram struct {
	suspect bool            // the store is marked
	plain   map[string]bool // layers found to be as the kernel wants them; uses.mu guards it
}

// filledByMountProgram reads the mark of the overlay driver.
func (s *Store) filledByMountProgram() bool {
	s.mountProgram.plain = map[string]bool{}
	if s.Driver() != DriverOverlay {
		return false
	}
	data, err := os.ReadFile(filepath.Join(s.catalog.GraphRoot(), "overlay", ".has-mount-program"))
	return err == nil && strings.TrimSpace(string(data)) == "true"
}

// checkPlain fails with a *FormatError when a layer or one below is not as the kernel's
// overlay wants it. The caller holds uses.mu.
func (s *Store) checkPlain(l *Layer) error {
	if !s.mountProgram.suspect {
		return nil
	}
	for ; l != nil; l = l.parent {
		if s.mountProgram.plain[l.id] || !l.registered() {
			continue
		}
		if err := s.lookThrough(l); err != nil {
			return err
		}
		s.mountProgram.plain[l.id] = true
	}
	return nil
}

// lookThrough looks through a layer, unless it has been done or the layer was made here.
func (s *Store) lookThrough(l *Layer) error {
	// The mark is good for this directory alone: when an image is removed and pulled again, its
	// layers get the same ids, but may be unpacked in another form.
	found, err := inodeOf(unix.AT_FDCWD, l.path, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return err
	}
	mark, is := "plain/"+l.id, fmt.Sprint(found)
	if data, err := s.private.ReadFile(mark); err == nil && string(data) == is {
		return nil
	}
	record, err := s.catalog.Layer(l.id)
	if err != nil {
		return err
	}
	if record.Flags[layerFlag] == nil {
		if err := lookThrough(l); err != nil {
			return err
		}
	}
	return s.private.WriteFile(mark, []byte(is), 0o600)
}

func lookThrough(l *Layer) error {
	root, err := os.OpenRoot(l.path)
	if err != nil {
		return fmt.Errorf("layer %.12s: %w", l.id, err)
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("layer %.12s: %w", l.id, err)
		}
		if strings.HasPrefix(d.Name(), ".wh.") {
			return &FormatError{l.id, "/" + name, "says that a file is deleted"}
		}
		if masked(root, name) {
			return &FormatError{l.id, "/" + name, "has its owner and mode in an attribute"}
		}
		return nil
	})
}

// masked says whether a file has the attribute that force_mask makes. A link has none.
func masked(root *os.Root, name string) bool {
	f, err := root.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), "user.containers.override_stat", nil)
	return err == nil || errors.Is(err, unix.ERANGE)
}
