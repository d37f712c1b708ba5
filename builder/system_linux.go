package builder

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/cgroup"
	"github.com/oakum-build/oakum/builder/internal/extract"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/outdir"
	"github.com/oakum-build/oakum/builder/isolation"
)

const (
	// unreadRequest asks how much in a pipe has not been read.
	unreadRequest = unix.TIOCINQ
	// closeOnExec keeps a socket from programs that are started.
	closeOnExec = unix.SOCK_CLOEXEC
)

// stepAside lets control groups be made for commands that need one.
func stepAside(l isolation.Limits) { cgroup.StepAside(l) }

// widen lets a pipe hold more, so that both sides wait less often for each other.
func widen(pipe *os.File) { _, _ = unix.FcntlInt(pipe.Fd(), unix.F_SETPIPE_SZ, 1<<20) }

// placeIn has a tar of our own unpacked, and puts the files into dir.
func placeIn(ctx context.Context, dir string, replace bool, send func(unpack func(io.Reader) error) error) (err error) {
	out, err := outdir.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	err = send(func(tar io.Reader) error {
		// To whom they belong does not change.
		return extract.Files(ctx, out.Staged(), tar, extract.Options{Owner: &filecopy.IDs{UID: -1, GID: -1}})
	})
	if err != nil {
		return err
	}
	return out.Place(replace)
}
