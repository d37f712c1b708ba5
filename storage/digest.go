//go:build linux

package storage

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	graphdriver "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/internal/layertar"
)

// digestLayer reads a finished upper directory once and gives what the store keeps of it as
// a tar stream.
func (s *Store) digestLayer(dir *os.File, parent *Layer) (graphdriver.DriverWithDifferOutput, error) {
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
	opaque := "trusted.overlay.opaque"
	if s.rootless {
		opaque = "user.overlay.opaque"
	}
	r, err := layertar.Digest(dir, lowers, opaque, buf)
	if err = errors.Join(err, buf.Flush()); err != nil {
		split.Close()
		return out, err
	}
	out.TarSplit, out.UncompressedDigest, out.Size, out.UIDs, out.GIDs = split, r.DiffID, r.Size, r.UIDs, r.GIDs
	return out, nil
}

func memfile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func statOwner(info fs.FileInfo) (*syscall.Stat_t, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s: no owner known", info.Name())
	}
	return st, nil
}
