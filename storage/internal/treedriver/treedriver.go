//go:build linux

// Package treedriver is the driver "tree" of containers/storage: it keeps each layer as its
// uncompressed tar, and no files. It needs nothing but a directory: no mount, no user namespace, no
// capability. Whoever wants a layer's files unpacks the tars of it and of those below it.
//
// In its directory "tree" of the store, layer ID is the file dir/ID/layer.tar.
package treedriver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	digest "github.com/opencontainers/go-digest"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/drivers/vfs"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/idtools"
)

// Name is the driver's, and that of its directory in a store.
const Name = "tree"

// Blob is the name of the file in a layer's directory, and in one that is taken over as a layer's.
const Blob = "layer.tar"

// Register makes the driver known to containers/storage. It may be called several times.
var Register = sync.OnceValue(func() error { return graphdriver.Register(Name, open) })

// driver keeps directories as the library's driver "vfs" does, one a layer; the library's
// interface of drivers has types that only its own can name. What is in them is another matter. For the same
// reason it has types of the library as parameters: see newDriver.
type driver[C ~func() error, S any] struct {
	graphdriver.Driver
	home   string
	limits Limits

	mu     sync.Mutex
	staged map[*S]*staged
}

func open(home string, options graphdriver.Options) (graphdriver.Driver, error) {
	limits, err := ParseLimits(options.DriverOptions)
	if err != nil {
		return nil, err
	}
	options.DriverOptions, options.ImageStore = nil, ""
	dirs, err := vfs.Init(home, options)
	if err != nil {
		return nil, err
	}
	if err := Sweep(home); err != nil {
		return nil, err
	}
	return newDriver(dirs, home, limits, graphdriver.ApplyDiffStaging.StartStagingDiffToApply), nil
}

// newDriver makes a driver. The last argument gives it the types of that method.
func newDriver[C ~func() error, S any](dirs graphdriver.Driver, home string, limits Limits,
	_ func(graphdriver.ApplyDiffStaging, string, graphdriver.ApplyDiffOpts) (C, *S, int64, error)) graphdriver.Driver {
	return &driver[C, S]{Driver: dirs, home: home, limits: limits, staged: map[*S]*staged{}}
}

func (d *driver[C, S]) String() string { return Name }

func (d *driver[C, S]) dir(id string) string { return filepath.Join(d.home, "dir", filepath.Base(id)) }

func (d *driver[C, S]) blob(id string) string { return filepath.Join(d.dir(id), Blob) }

// own are the ids of this process, the only ones that it may be able to give to a directory.
func own() *graphdriver.CreateOpts {
	uid := []idtools.IDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	gid := []idtools.IDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	return &graphdriver.CreateOpts{IDMappings: idtools.NewIDMappingsFromMaps(uid, gid)}
}

// Create makes a layer that has no tar yet. It holds no files of the one below.
func (d *driver[C, S]) Create(id, _ string, _ *graphdriver.CreateOpts) error {
	if err := d.Driver.Create(id, "", own()); err != nil {
		return err
	}
	return os.Chmod(d.dir(id), 0o700)
}

func (d *driver[C, S]) CreateReadWrite(id, parent string, opts *graphdriver.CreateOpts) error {
	return d.Create(id, parent, opts)
}

// ApplyDiff keeps a layer's tar. The library calls it where it does not stage the tar before.
func (d *driver[C, S]) ApplyDiff(id string, o graphdriver.ApplyDiffOpts) (size int64, err error) {
	f, err := os.OpenFile(d.blob(id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			// At once: on a full volume the library cannot write that the layer is not there.
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	return d.limits.copyWithin(f, o.Diff)
}

// ApplyDiffFromStagingDirectory takes over a directory that has a layer's tar.
func (d *driver[C, S]) ApplyDiffFromStagingDirectory(id, _ string, staged *graphdriver.DriverWithDifferOutput, _ *graphdriver.ApplyDiffWithDifferOpts) error {
	if err := os.Remove(d.dir(id)); err != nil {
		return err
	}
	return os.Rename(staged.Target, d.dir(id))
}

func (d *driver[C, S]) CleanupStagingDirectory(dir string) error { return os.RemoveAll(dir) }

func (d *driver[C, S]) DifferTarget(id string) (string, error) { return d.dir(id), nil }

// Diff gives a layer's tar. What is between other layers is never asked for.
func (d *driver[C, S]) Diff(id string, _ *idtools.IDMappings, _ string, _ *idtools.IDMappings, _ string) (io.ReadCloser, error) {
	return os.Open(d.blob(id))
}

func (d *driver[C, S]) DiffSize(id string, _ *idtools.IDMappings, _ string, _ *idtools.IDMappings, _ string) (int64, error) {
	st, err := os.Stat(d.blob(id))
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// LookupAdditionalLayerByID lets the library read a layer as the blob that it is, where it would
// else put it together from headers and files that it looks up by name. (That is what the
// interface of "additional layers" is for; this driver has none that come from elsewhere.)
func (d *driver[C, S]) LookupAdditionalLayerByID(id string) (graphdriver.AdditionalLayer, error) {
	if _, err := os.Stat(d.blob(id)); err != nil {
		return nil, graphdriver.ErrLayerUnknown
	}
	return blob(d.blob(id)), nil
}

func (d *driver[C, S]) LookupAdditionalLayer(digest.Digest, string) (graphdriver.AdditionalLayer, error) {
	return nil, graphdriver.ErrLayerUnknown
}

// SupportsShifting keeps the library from changing the owners of files.
func (d *driver[C, S]) SupportsShifting(_, _ []idtools.IDMap) bool { return true }

// The rest is for containers, which cannot be on layers of tars.

var errTars = fmt.Errorf("%w: layers of the driver tree are tars, not directories", graphdriver.ErrNotSupported)

func (d *driver[C, S]) Get(string, graphdriver.MountOpts) (string, error) { return "", errTars }

func (d *driver[C, S]) CreateFromTemplate(string, string, *idtools.IDMappings, string, *idtools.IDMappings, *graphdriver.CreateOpts, bool) error {
	return errTars
}

func (d *driver[C, S]) Changes(string, *idtools.IDMappings, string, *idtools.IDMappings, string) ([]archive.Change, error) {
	return nil, errTars
}

func (d *driver[C, S]) UpdateLayerIDMap(string, *idtools.IDMappings, *idtools.IDMappings, string) error {
	return errTars
}

// ApplyDiffWithDiffer is not supported either: layers come as tars (stagingDriver).
func (d *driver[C, S]) ApplyDiffWithDiffer(*graphdriver.ApplyDiffWithDifferOpts, graphdriver.Differ) (graphdriver.DriverWithDifferOutput, error) {
	return graphdriver.DriverWithDifferOutput{}, errTars
}
