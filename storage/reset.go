//go:build linux

package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/lockfile"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/remove"
)

// What a store with the drivers overlay and tree consists of, in its root and in that of its
// run-time state. Locks come last: what has one is a store still.
var (
	storeNames = slices.Concat(namesOf(DriverOverlay), namesOf(DriverTree), []string{treeState, "userns.lock", storeLock})
	stateNames = slices.Concat(namesOf(DriverOverlay), namesOf(DriverTree))
)

// namesOf are the names of what is kept with a driver.
func namesOf(driver string) []string {
	return []string{privateDir(driver), driver, driver + "-layers", driver + "-images", driver + "-containers", driver + "-locks"}
}

const storeLock = "storage.lock"

// RemoveStore removes the store that opts name, with all images of either driver, and its root when nothing else
// is in it. The store need not be one that can be opened. What is not the store's stays: other
// files, such as Podman's volumes, what stores of Podman's other drivers have there, and run-time state
// outside of the root. It is no error when there is nothing. It fails with ErrNoStore for a
// directory that is no store, and with ErrInUse while another process has the store open or
// Podman or Buildah have containers in it.
func RemoveStore(opts Options) error {
	o, err := cs.DefaultStoreOptions()
	if err != nil {
		return fmt.Errorf("reading storage.conf: %w", err)
	}
	if _, err := override(&o, opts); err != nil {
		return err
	}
	root, err := os.Open(o.GraphRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if err := mustBeStore(root); err != nil {
		return err
	}
	unlock, err := lockWhole(root, o.RunRoot)
	if err != nil {
		return err
	}
	defer unlock()
	if state, err := filepath.Rel(o.GraphRoot, o.RunRoot); err == nil && filepath.IsLocal(state) && state != "." {
		if err := removeState(root, state); err != nil {
			return fmt.Errorf("removing the store %s: %w", root.Name(), err)
		}
	}
	if err := removeNames(root, storeNames); err != nil {
		return fmt.Errorf("removing the store %s: %w", root.Name(), err)
	}
	if err := unix.Rmdir(root.Name()); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("removing the store: %w", wrap("rmdir", root.Name(), err))
	}
	return nil
}

// mustBeStore gives an error for a directory that containers/storage has not made.
func mustBeStore(root *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(root.Fd()), storeLock, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s: %w: it has no file %s", root.Name(), ErrNoStore, storeLock)
	}
	return nil
}

// lockWhole keeps all others from the store, or says who uses it.
func lockWhole(root *os.File, runRoot string) (_ func(), err error) {
	var locks []func()
	unlock := func() {
		for _, unlock := range locks {
			unlock()
		}
	}
	defer func() {
		if err != nil {
			unlock()
		}
	}()
	for _, driver := range []string{DriverOverlay, DriverTree} {
		own, err := os.OpenFile(filepath.Join(root.Name(), privateDir(driver), "lock"), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		locks = append(locks, func() { _ = closeLock(own) })
		if unix.Flock(int(own.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			return nil, fmt.Errorf("%w: another process is using the store %s; try again when that has ended", ErrInUse, root.Name())
		}
	}
	lock, err := lockfile.GetLockFile(filepath.Join(root.Name(), storeLock))
	if err != nil {
		return nil, err
	}
	if lock.TryLock() != nil {
		return nil, fmt.Errorf("%w: another program is using the store %s at this moment; try again", ErrInUse, root.Name())
	}
	locks = append(locks, lock.Unlock)
	return unlock, noContainers(root.Name(), runRoot)
}

// noContainers gives an error when Podman or Buildah have containers in the store. A list that
// cannot be read is of no use to them either.
func noContainers(root, runRoot string) error {
	count := 0
	for _, list := range []string{
		filepath.Join(root, "overlay-containers", "containers.json"),
		filepath.Join(root, "overlay-containers", "volatile-containers.json"),    // of podman run --rm
		filepath.Join(runRoot, "overlay-containers", "volatile-containers.json"), // with transient_store
	} {
		data, err := os.ReadFile(list)
		var containers []json.RawMessage
		if err == nil && json.Unmarshal(data, &containers) == nil {
			count += len(containers)
		}
	}
	if count == 0 {
		return nil
	}
	return fmt.Errorf("%w: the store %s has %d containers of Podman or Buildah; remove them first (podman rm -a, buildah rm -a)", ErrInUse, root, count)
}

// removeState removes the run-time state that is inside of the store, and its directory when
// nothing else is in it.
func removeState(root *os.File, name string) error {
	dir, err := os.Open(filepath.Join(root.Name(), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := removeNames(dir, stateNames); err != nil {
		return err
	}
	if err := unix.Rmdir(dir.Name()); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return wrap("rmdir", dir.Name(), err)
	}
	return nil
}

func removeNames(dir *os.File, names []string) error {
	for _, name := range names {
		err := remove.Force(dir, name)
		if errors.Is(err, unix.EBUSY) {
			// The library of a Podman of root has mounted the driver's directory on itself. This
			// unmounts it in the worker's namespace alone; where it is mounted elsewhere, the
			// kernel does when the directory is removed.
			_ = unix.Unmount(filepath.Join(dir.Name(), name), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			err = remove.Force(dir, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
