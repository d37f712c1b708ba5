//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/chrootarchive"
	"go.podman.io/storage/pkg/idtools"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// stream unpacks a tar stream: one of a file system that the caller holds in memory, or
// a foreign one, which may be large and goes to disk.
func (t *trees) stream(n int, foreign bool) (*os.File, error) {
	if n > len(t.call.Files) {
		return nil, fmt.Errorf("%w: no file %d", errInvalid, n)
	}
	dir := t.w.mnt + "/trees"
	if foreign {
		var err error
		if dir, err = t.w.store.Scratch(); err != nil {
			return nil, err
		}
	}
	path := fmt.Sprintf("%s/%d", dir, t.w.next())
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	t.closers = append(t.closers, func() error { return os.RemoveAll(path) })
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t.closers = append(t.closers, f.Close)
	in := filecopy.Reader(t.ctx, t.call.Files[n-1])
	if !foreign {
		err = chrootarchive.UntarUncompressed(in, path, &archive.TarOptions{})
	} else {
		// What of it is taken is looked at when it is copied, and gets another owner.
		left := &tarfilter.LeftOut{}
		judge := &tarfilter.Archive{AnyName: true, Devices: storage.MayMakeDevices(), LeftOut: left}
		err = untar(in, f, judge, &idtools.IDPair{})
		tell(t.call, left.Notices())
	}
	if err != nil {
		return nil, fmt.Errorf("reading the source's files: %w", err)
	}
	return f, nil
}

// tell gives notices to the caller.
func tell(call *wire.Call, texts []string) {
	for _, text := range texts {
		call.Event(Event{Warning: text})
	}
}

// unpack extracts the tar archive f into dir. Owners are those of the archive without another. An
// entry for the archive's root does not change dir, as in BuildKit.
func unpack(ctx context.Context, left *tarfilter.LeftOut, f, dir *os.File, owner *filecopy.IDs) error {
	judge := &tarfilter.Archive{Devices: storage.MayMakeDevices(), LeftOut: left}
	var ids *idtools.IDPair
	if owner != nil {
		ids = &idtools.IDPair{UID: owner.UID, GID: owner.GID}
	} else {
		mapped, err := mappedIDs()
		if err != nil {
			return err
		}
		judge.Mapped = mapped
	}
	return untar(filecopy.Reader(ctx, f), dir, judge, ids)
}

// untar extracts a tar archive, compressed or not, into dir, in a process that has dir as its root.
func untar(in io.Reader, dir *os.File, judge *tarfilter.Archive, owner *idtools.IDPair) error {
	judge.Free = func() uint64 { return freeBytes(dir) }
	dest, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return err
	}
	plain, err := filecopy.Decompress(in)
	if err != nil {
		return fmt.Errorf("%w: unpacking: %w", errInvalid, err)
	}
	defer plain.Close()
	entries := tarfilter.NewEntries(plain, judge.Judge)
	err = chrootarchive.UntarUncompressed(entries, dest, &archive.TarOptions{ChownOpts: owner})
	cause := entries.Close()
	switch {
	case errors.Is(cause, storage.ErrUnfit):
		return cause
	case cause != nil:
		return fmt.Errorf("%w: unpacking: %w", errInvalid, cause)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("unpacking: %w", err)
	case err != nil && judge.Loose() != "":
		return fmt.Errorf("%w: unpacking: %s: %w", errInvalid, judge.Loose(), err)
	case err != nil:
		return fmt.Errorf("%w: unpacking: %w", errInvalid, err)
	}
	return nil
}

// freeBytes is how much room a file system has for this process.
func freeBytes(dir *os.File) uint64 {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return 0
	}
	return st.Bavail * uint64(st.Bsize)
}
