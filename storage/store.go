//go:build linux

package storage

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	cs "go.podman.io/storage"
	_ "go.podman.io/storage/drivers/register" // the overlay driver

	"github.com/oakum-build/oakum/storage/fingerprints"
	"github.com/oakum-build/oakum/storage/internal/blobs"
	"github.com/oakum-build/oakum/storage/internal/treedriver"
	"github.com/oakum-build/oakum/storage/owndir"
	"github.com/oakum-build/oakum/storage/records"
)

// Store is an open containers/storage store with one of the drivers overlay and tree.
type Store struct {
	backend
	private      private  // what is ours alone, see privateDir
	temp         *os.Root // of scratch directories, see scratch.go
	rootless     bool     // overlay's attributes are in the "user." namespace
	lock         *os.File // held shared, see lockShared
	user         note     // who uses the store: PID and Program alone
	instead      string   // see Store.Instead
	mountProgram mountProgram
	disk         durability
	uses         uses
	memories

	mu       sync.Mutex
	scratch  scratch
	bigFiles *owndir.Dir // directory of temporary files, see own.go
	index    index
}

// backend is what layers and images are in.
type backend struct {
	cs      cs.Store // nil in a store that is only looked at, see Options.Look
	catalog catalog  // the same, for who only reads
}

// memories are what is known of steps and of layers' blobs, in directories beside the store.
type memories struct {
	records      *records.Dir
	blobs        *blobs.Dir
	fingerprints *fingerprints.Dir
}

// private is the directory that privateDir names.
type private struct {
	*os.Root
	reserveGone atomic.Bool // makeRoom has let go of it

	mountPoint int64 // what the directory MountPoint takes on disk, which is not seen once something is mounted there
}

// driverState guards what containers/storage and its overlay driver keep in variables of their
// packages, which are written when a store is opened and given back, and read for its status, so
// that stores may be opened side by side.
var driverState sync.Mutex

// Open opens a store, and makes it when it does not exist. A place on which no store with
// the driver can be is a *PlaceError.
func Open(opts Options) (*Store, error) {
	if opts.Look {
		return openToLook(opts)
	}
	if err := treedriver.Register(); err != nil {
		return nil, err
	}
	o, err := cs.DefaultStoreOptions()
	if err != nil {
		return nil, fmt.Errorf("reading storage.conf: %w", err)
	}
	syncs := wantsSync(o.GraphDriverOptions, opts)
	instead, err := override(&o, opts)
	if err != nil {
		return nil, err
	}
	sweepDeleted(o.GraphRoot)
	if o.ImageStore != "" {
		sweepDeleted(o.ImageStore)
	}
	if !lookedThrough(filepath.Join(o.GraphRoot, privateDir(o.GraphDriverName))) {
		mendLinks(cmp.Or(o.ImageStore, o.GraphRoot))
	}
	driverState.Lock()
	st, err := cs.GetStore(o)
	driverState.Unlock()
	if err != nil {
		return nil, placeError(o.GraphRoot, err)
	}
	s := &Store{backend: backend{st, st}, disk: durability{syncs: syncs}, rootless: opts.Rootless, user: note{PID: opts.PID, Program: opts.Program}, instead: instead}
	if err := s.openPrivate(); err != nil {
		return nil, placeError(o.GraphRoot, err)
	}
	if err := s.mend(); err != nil {
		return nil, errors.Join(fmt.Errorf("looking for what a power cut has left: %w", err), s.Close())
	}
	return s, nil
}

// privateDir is the name of what is ours alone in a store's root. What is remembered of layers, and
// the owners of files in caches, are another matter with each driver.
func privateDir(driver string) string {
	if driver == DriverTree {
		return "oakum-tree"
	}
	return "oakum"
}

// openPrivate makes the private directory with those of the cache, and "mnt", over which each
// worker mounts a tmpfs of its own.
func (s *Store) openPrivate() error {
	dir := filepath.Join(s.catalog.GraphRoot(), privateDir(s.Driver()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	s.private.Root = root
	s.makeRoom()
	if err := inheritNothing(root, "."); err != nil {
		return err
	}
	for _, d := range []string{"mnt", recordsDir, readsDir, blobsDir, fingerprintsDir, "files", "urls", "plain", cachesDir} {
		if err := root.Mkdir(d, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	mnt, err := root.Lstat("mnt")
	if err != nil {
		return err
	}
	if st, ok := mnt.Sys().(*syscall.Stat_t); ok {
		s.private.mountPoint = st.Blocks * 512
	}
	if err := s.openUses(flock); err != nil {
		return err
	}
	if err := s.openTemp(); err != nil {
		return fmt.Errorf("opening the directory for temporary files: %w", err)
	}
	if s.records, err = records.OpenDir(filepath.Join(dir, recordsDir)); err != nil {
		return err
	}
	if s.blobs, err = blobs.OpenDir(filepath.Join(dir, blobsDir)); err != nil {
		return err
	}
	if s.fingerprints, err = fingerprints.OpenDir(filepath.Join(dir, fingerprintsDir)); err != nil {
		return err
	}
	s.mountProgram.suspect = s.filledByMountProgram()
	s.keepReserve()
	return s.lockShared()
}

// Close gives the store back. Layers being made must have been waited for.
//
// It does not shut down the store as containers/storage does: with overlay's home never mounted
// over itself (driverOptions) nothing would be undone, and each other store on the same root, in
// this process and in others, would make its driver anew.
func (s *Store) Close() error {
	err := s.closeUses()
	if s.cs != nil {
		driverState.Lock()
		s.cs.Free()
		driverState.Unlock()
	}
	err = errors.Join(err, s.closeScratch())
	s.makeRoomEnds()
	return errors.Join(err, s.closeBigFiles(), closeLock(s.lock), s.records.Close(), s.blobs.Close(), s.fingerprints.Close(), s.temp.Close(), s.private.Close())
}

// Private is the directory of the store that is oakum's alone.
func (s *Store) Private() *os.Root { return s.private.Root }

// MountPoint is an empty directory that nothing uses but to mount over it in a
// private mount namespace.
func (s *Store) MountPoint() string { return filepath.Join(s.private.Name(), "mnt") }

// Driver is the store's driver: DriverOverlay or DriverTree.
func (s *Store) Driver() string { return s.catalog.GraphDriverName() }

// Status reads the store's state.
func (s *Store) Status() (Status, error) {
	st := Status{Root: s.cs.GraphRoot(), RunRoot: s.cs.RunRoot(), Driver: s.Driver()}
	driverState.Lock()
	status, err := s.cs.Status()
	driverState.Unlock()
	if err != nil {
		return st, err
	}
	st.DriverStatus = status
	images, err := s.cs.Images()
	if err != nil {
		return st, err
	}
	layers, err := s.cs.Layers()
	layers = slices.DeleteFunc(layers, isHold)
	st.Images, st.Layers = len(images), len(layers)
	return st, err
}
