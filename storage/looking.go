//go:build linux

package storage

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/image/v5/pkg/sysregistriesv2"
	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"
	storagetypes "go.podman.io/storage/types"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/fingerprints"
	"github.com/oakum-build/oakum/storage/internal/blobs"
	"github.com/oakum-build/oakum/storage/records"
)

// openToLook is Open for Options.Look.
func openToLook(opts Options) (*Store, error) {
	if err := quietSettings(); err != nil {
		return nil, err
	}
	o, err := storagetypes.LoadStoreOptions(storagetypes.LoadOptions{}) // as they are now, not when this process has begun
	if err != nil {
		return nil, err
	}
	instead, err := override(&o, opts)
	if err == nil && (instead != "" || o.GraphDriverName != DriverOverlay) {
		err = errUnseen
	}
	if err != nil {
		return nil, err
	}
	found, err := openFiles(o)
	if err != nil {
		return nil, err
	}
	sysregistriesv2.InvalidateCache() // which this process may have had for long
	s := &Store{backend: backend{catalog: found}, rootless: opts.Rootless, user: note{PID: opts.PID, Program: opts.Program}}
	if err := s.openLooked(); err != nil {
		return nil, err
	}
	return s, nil
}

// quietSettings says that containers/storage has nothing to say about the user's settings: it would say it on this
// process's standard error, and not, as in a worker, where its owner wants it. Nor are there variables in them that a
// worker might not have.
func quietSettings() error {
	var c storagetypes.TomlConfig
	err := configfile.ParseTOML(&c, &configfile.File{Name: "storage", Extension: "conf", EnvironmentName: "CONTAINERS_STORAGE_CONF", UserId: unshare.GetRootlessUID()})
	names := strings.NewReplacer("$HOME", "", "$UID", "").Replace(c.Storage.GraphRoot + c.Storage.RunRoot + c.Storage.RootlessStoragePath)
	if err == nil && (strings.Contains(names, "$") || c.Storage.RootlessStoragePath != "" && c.Storage.GraphRoot != "" || cmp.Or(os.Getenv("STORAGE_DRIVER"), c.Storage.Driver) == "overlay2") {
		err = errUnseen
	}
	return err
}

// openLooked opens what is ours alone, which must be there.
func (s *Store) openLooked() (err error) {
	var opened []io.Closer
	defer func() {
		if err != nil {
			for _, f := range opened {
				f.Close()
			}
		}
	}()
	dir := filepath.Join(s.catalog.GraphRoot(), privateDir(s.Driver()))
	if s.private.Root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	opened = append(opened, s.private.Root)
	if _, err = s.private.Stat(openedFile); err != nil {
		return err
	}
	if s.temp, err = os.OpenRoot(s.tempDir()); err != nil {
		return err
	}
	opened = append(opened, s.temp)
	if !lookedThrough(dir) || s.filledByMountProgram() || !s.swept() {
		return errUnseen
	}
	if s.records, err = records.OpenDir(filepath.Join(dir, recordsDir)); err != nil {
		return err
	}
	opened = append(opened, s.records)
	if s.blobs, err = blobs.OpenDir(filepath.Join(dir, blobsDir)); err != nil {
		return err
	}
	opened = append(opened, s.blobs)
	if s.fingerprints, err = fingerprints.OpenDir(filepath.Join(dir, fingerprintsDir)); err != nil {
		return err
	}
	opened = append(opened, s.fingerprints)
	if err = s.openUses(tryFlock); err != nil {
		return err
	}
	opened = append(opened, s.uses.removal)
	if s.lock, err = s.private.OpenFile("lock", os.O_RDWR, 0); err != nil {
		return err
	}
	opened = append(opened, s.lock)
	return tryFlock(s.lock, unix.LOCK_SH)
}

// swept says that processes that have died have left nothing, which who opens the store in full removes.
func (s *Store) swept() bool {
	others, err := os.ReadDir(filepath.Dir(s.temp.Name()))
	if err != nil || len(others) > 1 {
		return false // containers/storage removes layers there, or has begun to
	}
	entries, err := fs.ReadDir(s.temp.FS(), ".")
	if err != nil {
		return false
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if _, err := s.temp.Lstat(e.Name() + ".lock"); err == nil {
			continue
		}
		if _, err := s.temp.Lstat(e.Name()); err == nil { // it goes before its file does
			return false
		}
	}
	return s.eachOwner(func(_ string, f *os.File) error { return patiently(func() error { return owned(f) }) }) == nil
}

// owned fails for a file of an owner that has died. One that lives locks its file a moment after it has made it, and
// unlocks it a moment after it has removed it.
func owned(f *os.File) error {
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
		return nil
	}
	var st unix.Stat_t
	if err := errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), unix.Fstat(int(f.Fd()), &st)); err != nil {
		return err
	}
	if st.Nlink == 0 {
		return nil
	}
	return errUnseen
}

// tryFlock locks a file unless somebody has it for longer than a moment.
func tryFlock(f *os.File, how int) error {
	err := patiently(func() error { return unix.Flock(int(f.Fd()), how|unix.LOCK_NB) })
	return wrap("flock", f.Name(), err)
}

// flock locks a file, and waits until nobody else has it.
func flock(f *os.File, how int) error {
	return wrap("flock", f.Name(), unix.Flock(int(f.Fd()), how))
}

// openedFile has what RememberOpened was told.
const openedFile = "opened"

// Opened is what RememberOpened was told last, by whoever had the store open.
func (s *Store) Opened() ([]byte, error) { return s.private.ReadFile(openedFile) }

// RememberOpened remembers, for who opens the store to look, something about how it was opened.
func (s *Store) RememberOpened(what []byte) error {
	if before, err := s.private.ReadFile(openedFile); err == nil && bytes.Equal(before, what) {
		return nil
	}
	owner, err := s.owner()
	if err != nil {
		return err
	}
	part := openedFile + "." + filepath.Base(owner.Name())
	if err := s.private.WriteFile(part, what, 0o600); err != nil {
		return err
	}
	return s.private.Rename(part, openedFile)
}

// Committed finds the image that CommitImage would write, if it is there with all the names. Then there is nothing to
// write.
func (s *Store) Committed(ctx context.Context, c Commit) (Image, error) {
	p, err := planImage(ctx, c)
	if err != nil {
		return Image{}, err
	}
	img, err := s.committed(p)
	if err != nil {
		return Image{}, err
	}
	return s.image(img)
}

func (s *Store) committed(p plannedImage) (*cs.Image, error) {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	if err := s.lockRemoval(unix.LOCK_SH); err != nil {
		return nil, err
	}
	defer s.unlockRemoval()
	img, err := s.catalog.Image(p.id())
	if err != nil {
		return nil, err
	}
	lacks := func(name string) bool { return !slices.Contains(img.Names, name) }
	if !p.is(img) || slices.ContainsFunc(p.names, lacks) {
		return nil, fmt.Errorf("%w: the image %s", ErrNotFound, p.id())
	}
	return img, nil
}
