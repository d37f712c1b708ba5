//go:build linux

package storage

import (
	"bufio"
	"errors"
	"os"

	graphdriver "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/internal/layertar"
)

// digest gives what the store keeps of a finished upper directory as a tar stream, which it reads unless
// that was made ahead. attrs are the attributes that it keeps.
func (m *making) digest(dir *os.File, attrs layertar.Attributes) (out graphdriver.DriverWithDifferOutput, err error) {
	lowers, err := m.layer.parent.Lowers()
	if err != nil {
		return out, err
	}
	defer closeAll(lowers)
	upper := layertar.Upper{Dir: dir, Lowers: lowers, Opaque: m.store.overlayAttr() + "opaque", Attrs: attrs}
	r, split, err := m.confirm(upper)
	if split == nil && err == nil {
		if split, err = newSplit(); err == nil {
			r, err = upper.Digest(split)
		}
	}
	if split != nil {
		err = errors.Join(err, split.Flush())
	}
	if err != nil {
		split.close()
		return out, err
	}
	out.TarSplit, out.UncompressedDigest, out.Size, out.UIDs, out.GIDs = split.file, r.DiffID, r.Size, r.UIDs, r.GIDs
	return out, nil
}

// confirm gives the stream that was made ahead, if there is one and it is that of the directory.
func (m *making) confirm(upper layertar.Upper) (layertar.Result, *split, error) {
	r, ok, err := m.ahead.Confirm(upper)
	if !ok || err != nil {
		return r, nil, err
	}
	made := m.split
	m.split, m.layer.ahead = nil, true
	return r, made, nil
}

// aheadNow begins to make the stream of the layer ahead, see Staging.Ahead.
func (m *making) aheadNow() *layertar.Ahead {
	if m.ahead == nil {
		split, err := newSplit()
		if err != nil {
			return nil // what is wrong is said when the directory is read
		}
		m.split, m.ahead = split, layertar.NewAhead(split)
	}
	return m.ahead
}

// giveUp ends what was made ahead, unless it has become the layer's.
func (m *making) giveUp() {
	m.ahead.GiveUp()
	m.split.close()
	m.ahead, m.split = nil, nil
}

// split is where tar-split records are written, in memory that is a file.
type split struct {
	*bufio.Writer
	file *os.File
}

func newSplit() (*split, error) {
	f, err := memfile("tar-split")
	if err != nil {
		return nil, err
	}
	return &split{bufio.NewWriterSize(f, 64<<10), f}, nil
}

func (s *split) close() {
	if s != nil {
		s.file.Close()
	}
}

// overlayAttr is how the names of the attributes begin in which the kernel's overlay keeps its
// marks.
func (s *Store) overlayAttr() string {
	if s.rootless {
		return "user.overlay."
	}
	return "trusted.overlay."
}

func memfile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
