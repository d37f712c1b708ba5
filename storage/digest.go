//go:build linux

package storage

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	digest "github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/archive/tar"
	"github.com/vbatts/tar-split/tar/asm"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/tarlog"
	"golang.org/x/sys/unix"
)

// digest reads a finished upper directory once, as the tar stream that the layer is
// elsewhere: it gives the stream's SHA-256 and length, and the tar-split data from
// which containers/storage can make the same stream again.
func (s *Store) digest(dir string, parent *Layer) (graphdriver.DriverWithDifferOutput, error) {
	var out graphdriver.DriverWithDifferOutput
	lowers, err := parent.Lowers()
	if err != nil {
		return out, err
	}
	defer CloseAll(lowers)
	paths := make([]string, len(lowers))
	for i, f := range lowers {
		paths[i] = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	}
	stream, err := archive.TarWithOptions(dir, &archive.TarOptions{
		Compression:    archive.Uncompressed,
		WhiteoutFormat: archive.OverlayWhiteoutFormat,
		WhiteoutData:   paths,
	})
	if err != nil {
		return out, err
	}
	defer stream.Close()
	split, err := memfile("tar-split")
	if err != nil {
		return out, err
	}
	if err := digestStream(stream, split, &out); err != nil {
		split.Close()
		return out, err
	}
	out.TarSplit = split
	return out, nil
}

func memfile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func digestStream(stream io.Reader, split io.Writer, out *graphdriver.DriverWithDifferOutput) error {
	uids, gids := map[uint32]struct{}{}, map[uint32]struct{}{}
	ids, err := tarlog.NewLogger(func(h *tar.Header) {
		if !strings.HasPrefix(path.Base(h.Name), archive.WhiteoutPrefix) {
			uids[uint32(h.Uid)] = struct{}{}
			gids[uint32(h.Gid)] = struct{}{}
		}
	})
	if err != nil {
		return err
	}
	buf := bufio.NewWriter(split)
	sum := sha256.New()
	payload, done, err := asm.NewInputTarStreamWithDone(stream, tarsplit.NewJSONPacker(buf), tarsplit.NewDiscardFilePutter())
	if err != nil {
		ids.Close()
		return err
	}
	size, err := io.CopyBuffer(io.MultiWriter(sum, ids), payload, make([]byte, 1<<20))
	payload.Close()
	if doneErr := <-done; err == nil {
		err = doneErr
	}
	ids.Close()
	if err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	out.Size = size
	out.UncompressedDigest = digest.NewDigest(digest.SHA256, sum)
	out.UIDs, out.GIDs = slices.Sorted(maps.Keys(uids)), slices.Sorted(maps.Keys(gids))
	return nil
}

func statOwner(info fs.FileInfo) (*syscall.Stat_t, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s: no owner known", info.Name())
	}
	return st, nil
}
