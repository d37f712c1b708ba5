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

// digestLayer reads a finished upper directory once and gives what the store keeps of it as
// a tar stream. attrs are the attributes that it keeps.
func (s *Store) digestLayer(dir *os.File, parent *Layer, attrs layertar.Attributes) (graphdriver.DriverWithDifferOutput, error) {
	var out graphdriver.DriverWithDifferOutput
	lowers, err := parent.Lowers()
	if err != nil {
		return out, err
	}
	defer CloseAll(lowers)
	split, err := memfile("tar-split")
	if err != nil {
		return out, err
	}
	buf := bufio.NewWriterSize(split, 64<<10)
	r, err := layertar.Digest(dir, lowers, s.overlayAttr()+"opaque", attrs, buf)
	if err = errors.Join(err, buf.Flush()); err != nil {
		split.Close()
		return out, err
	}
	out.TarSplit, out.UncompressedDigest, out.Size, out.UIDs, out.GIDs = split, r.DiffID, r.Size, r.UIDs, r.GIDs
	return out, nil
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
