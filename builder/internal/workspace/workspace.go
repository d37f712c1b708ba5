//go:build linux

// Package workspace is the contract of what builds see of layers: root file systems that are read
// (View), and such as are changed, with the change as a new layer (Make). How that is done is
// known to its implementations alone: package overlay mounts the kernel's overlay; another
// may keep a plain directory tree and find out what has changed in it. Package workspacetest
// is the suite that each of them passes.
package workspace

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage"
)

// A Driver makes root file systems of a store's layers, and of other directories. It is safe for many goroutines. A layer
// that it is given must be claimed (storage.Use) until the call, or the View, has ended.
type Driver interface {
	// View opens the files of a layer to be read. The nil layer has an empty root.
	View(l *storage.Layer) (View, error)

	// Make calls do with a root file system that has the files of the layer below, and makes a
	// layer of what do has changed there. It returns as soon as do has and no more can be
	// changed; the digest and the registration of the layer go on (storage.Layer.Wait). Every
	// later reader of the layer sees what do left, but for what layers do not hold: a file of
	// which that is told apart is tarfilter.ErrUnfit, and what is dropped of one is told by
	// storage.Layer.Notices. What the layer says is in the form of the OCI image layer
	// specification ("Representing Changes"); the root itself belongs to 0:0 and has
	// the mode 0555, whatever do did to it.
	//
	// When do fails, or ctx ends before it has returned, Make fails with that error and nothing
	// is left. When the layer below, or one further down, is removed meanwhile, the error
	// is storage.ErrRemoved, whatever do says, for it has not seen what it should have.
	Make(ctx context.Context, below *storage.Layer, c Change, do func(Workspace) error) (*storage.Layer, error)

	// Repeat makes the layer made once more, byte for byte, on top of another one. It was made
	// Apart, or on nothing. It need not be claimed.
	Repeat(ctx context.Context, below, made *storage.Layer) (*storage.Layer, error)

	// Over shows the files of a directory, open for reading or as a mere path, in a root of their own
	// that can be changed. What is changed goes with release, which ends it, and the directory keeps
	// all as it is; nobody else may change it meanwhile. The mount points, as those of a Change, are
	// there at first.
	Over(dir *os.File, points []string) (root *os.File, release func() error, err error)

	// Close ends the driver, once all calls have returned and all Views are closed.
	Close() error
}

// View is a root file system that is only read.
type View interface {
	// Root is the root directory, which the View closes. Links in it are the image's:
	// resolve by descriptor (openat2 with RESOLVE_IN_ROOT).
	Root() *os.File

	// Owners has what of the files' owners, modes, types and attributes could not be set: ask it
	// instead of the system. It is nil where the files themselves have all.
	Owners() *owners.Owners

	// Intact fails with storage.ErrRemoved when a layer of the View was removed since it was
	// opened: what was read until now may not be all that was in it.
	Intact() error

	// Close ends the View, and fails as Intact does.
	Close() error
}

// Workspace is a root file system that is being changed. It ends when what Make called returns.
type Workspace interface {
	// Root is the root directory, as that of a View.
	Root() *os.File

	// Owners is as that of a View. Whoever changes the owner, mode or attributes of a file, or makes a
	// device, does so by it.
	Owners() *owners.Owners

	// Path is where a sandbox, and other programs, find the root: an absolute path of this
	// process's mount namespace, without links. What is below it is to be resolved inside the
	// root, for links may lead anywhere.
	Path() string

	// Temp makes a directory for files that are needed meanwhile. They go with the Workspace.
	// From there files can be renamed into a root that was made Apart or on nothing.
	Temp() (string, error)

	// Ahead is told what is written into the root, as storage.Staging.Ahead has it, so that it need not be
	// read again. It is nil where a layer is made otherwise.
	Ahead() filecopy.Ahead
}

// Change says how a layer is made.
type Change struct {
	// Apart makes the layer on nothing, so that it is the same on whatever it is put (Dockerfile
	// reference, COPY --link): the root is empty at first, and a file of the layer replaces what
	// it meets below, but that a directory that meets a directory adds to it.
	Apart bool

	// Discard makes no layer of the change: Make returns nil when do succeeds.
	Discard bool

	// Mounts are where a sandbox will mount something: paths as if the root were /, those of
	// directories with a slash at the end. They are there while do runs, and leave no trace in
	// the layer: a missing one is made for the time with its parents, wherever links lead. One
	// that cannot be made is left to the sandbox, which says why.
	Mounts []string

	// Fill is for sandboxes that cannot mount, and put files into the mount points themselves: each
	// of Mounts is an empty directory or file at first, what is there instead being set aside, and
	// afterwards what was put there goes and what was set aside is back. To the layer nothing has
	// changed there, whatever was put into the mount points or done to them. Where mounts are made,
	// as for package overlay, it is refused.
	Fill bool

	// Kept names those of Mounts that become part of the layer when the layers below lack them:
	// directories in the root itself.
	Kept []string

	// Times limits the times of the layer's files, one after the other.
	Times []Times
}

// Times gives files that have changed later than Limit, or all of them, that time.
type Times struct {
	Limit time.Time
	All   bool
}

// ErrTooMany is a root file system of more layers than a Driver can put on top of each other. It
// matches errdefs.ErrInvalid.
var ErrTooMany = fmt.Errorf("%w: too many layers", errdefs.ErrInvalid)
