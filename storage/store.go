//go:build linux

// Package storage keeps layers and images in a containers/storage store, and moves
// images in and out of it through containers/image.
//
// Default places, lock files, storage.conf, registries.conf, policy.json and auth
// files are those of the two libraries, so Podman, Buildah and Skopeo of the same
// user share the store.
//
// A build step's layer is made where it will stay: MakeLayer gives the step a
// directory of the store to write into, reads the result once to digest it,
// and renames it into place.
//
// The package must run as root of its user namespace (the worker's), for layers hold
// files of many owners. A Store is safe for many goroutines.
package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	cs "go.podman.io/storage"
	_ "go.podman.io/storage/drivers/register" // the overlay driver
)

// Options says which store to open. The zero value is storage.conf's.
type Options struct {
	Root          string
	RunRoot       string
	Driver        string
	DriverOptions []string
	// Rootless says that the process is root of a user namespace of an ordinary user.
	Rootless bool
	// PID and Program say to others who uses the store: of a worker, its parent.
	PID     int
	Program string
}

// Store is an open containers/storage store with an overlay driver.
type Store struct {
	cs       cs.Store
	private  *os.Root // <root>/oakum: what is ours alone
	temp     *os.Root // see scratch.go
	rootless bool     // overlay's attributes are in the "user." namespace
	stub     *os.File
	empty    *os.File
	lock     *os.File // held shared, see Prune
	user     note     // PID and Program
	instead  string   // see Store.Instead
	foreign  foreign
	uses     uses

	mu       sync.Mutex
	scratch  scratch
	bigFiles string               // see own.go
	records  map[string]*cs.Layer // all layers, when they were last read
	chains   map[string]*Layer    // those of them that were asked for
}

// Open opens a store, and makes it when it does not exist. A place on which no store with
// the overlay driver can be is a *PlaceError.
func Open(opts Options) (*Store, error) {
	o, err := cs.DefaultStoreOptions()
	if err != nil {
		return nil, fmt.Errorf("reading storage.conf: %w", err)
	}
	instead, err := override(&o, opts)
	if err != nil {
		return nil, err
	}
	sweepDeleted(o.GraphRoot)
	if o.ImageStore != "" {
		sweepDeleted(o.ImageStore)
	}
	st, err := cs.GetStore(o)
	if err != nil {
		return nil, placeError(o.GraphRoot, err)
	}
	s := &Store{cs: st, rootless: opts.Rootless, user: note{PID: opts.PID, Program: opts.Program}, instead: instead}
	if err := s.openPrivate(); err != nil {
		return nil, placeError(o.GraphRoot, err)
	}
	return s, nil
}

// openPrivate makes <root>/oakum with the directories that mounts need: "mnt", over
// which each worker mounts a tmpfs of its own; "empty"; and "stub", the lowest layer
// of every RUN, which holds the mount points that an image may lack, so that none is
// ever made in the layer itself.
func (s *Store) openPrivate() error {
	dir := filepath.Join(s.cs.GraphRoot(), "oakum")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	s.private = root
	if err := inheritNothing(root, "."); err != nil {
		return err
	}
	for _, d := range []string{"mnt", "empty", "steps", "contents", "files", "urls", "plain", "stub", "stub/dev", "stub/proc", "stub/sys", "stub/etc"} {
		if err := root.Mkdir(d, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := inheritNothing(root, "stub", "stub/dev", "stub/proc", "stub/sys", "stub/etc", "empty"); err != nil {
		return err
	}
	for _, f := range []string{"stub/etc/hosts", "stub/etc/resolv.conf"} {
		h, err := root.OpenFile(f, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		h.Close()
	}
	if err := s.openUses(); err != nil {
		return err
	}
	if err := s.openTemp(); err != nil {
		return fmt.Errorf("opening the directory for temporary files: %w", err)
	}
	if s.stub, err = root.Open("stub"); err != nil {
		return err
	}
	if s.empty, err = root.Open("empty"); err != nil {
		return err
	}
	s.foreign.suspect = s.filledByMountProgram()
	return s.hold()
}

// Close gives the store back. Layers being made must have been waited for.
func (s *Store) Close() error {
	err := s.closeUses()
	_, down := s.cs.Shutdown(false)
	return errors.Join(err, down, s.closeScratch(), s.closeBigFiles(), s.stub.Close(), s.empty.Close(), s.lock.Close(), s.temp.Close(), s.private.Close())
}

// Private is the directory of the store that is oakum's alone.
func (s *Store) Private() *os.Root { return s.private }

// MountPoint is an empty directory that nothing uses but to mount over it in a
// private mount namespace.
func (s *Store) MountPoint() string { return filepath.Join(s.private.Name(), "mnt") }

// Stub is the directory with the mount points that every RUN needs.
func (s *Store) Stub() *os.File { return s.stub }

// Empty is an empty directory.
func (s *Store) Empty() *os.File { return s.empty }

// Status describes the store for Builder.Info.
type Status struct {
	Root, RunRoot, Driver string
	DriverStatus          [][2]string
	Images, Layers        int
}

// Status reads the store's state.
func (s *Store) Status() (Status, error) {
	st := Status{Root: s.cs.GraphRoot(), RunRoot: s.cs.RunRoot(), Driver: s.cs.GraphDriverName()}
	status, err := s.cs.Status()
	if err != nil {
		return st, err
	}
	st.DriverStatus = status
	images, err := s.cs.Images()
	if err != nil {
		return st, err
	}
	layers, err := s.cs.Layers()
	st.Images, st.Layers = len(images), len(layers)
	return st, err
}
