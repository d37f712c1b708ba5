//go:build linux

package treedriver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	graphdriver "go.podman.io/storage/drivers"
)

// A layer's tar may take minutes to come and to be decompressed. Until it is whole it is a file beside the layers
// that is locked by its process, so that nobody has to wait for it who uses other layers, and what a killed process
// has left is known and removed.

const stagedPrefix = "staged-"

// staged is a tar that is no layer's yet.
type staged struct{ *os.File }

// newStaged makes one. Another process that sweeps may see the file before it is locked, and remove it.
func newStaged(home string) (*staged, error) {
	for {
		f, err := os.CreateTemp(home, stagedPrefix)
		if err != nil {
			return nil, err
		}
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			_, err = os.Lstat(f.Name())
		}
		if err == nil {
			return &staged{f}, nil
		}
		f.Close()
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("staging a layer: %w", err)
		}
	}
}

// remove removes it, if it has not become a layer's.
func (s *staged) remove() error {
	err := os.Remove(s.Name())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.Close())
}

// Sweep removes from the directory of a store what processes have left that were killed.
func Sweep(home string) error {
	entries, err := os.ReadDir(home)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), stagedPrefix) {
			continue
		}
		f, err := os.OpenFile(filepath.Join(home, e.Name()), os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue // somebody else was faster
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = os.Remove(f.Name())
		}
		f.Close()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// StartStagingDiffToApply takes a layer's tar, for CommitStagedLayer. The library has locked nothing.
func (d *driver[C, S]) StartStagingDiffToApply(_ string, o graphdriver.ApplyDiffOpts) (cleanup C, commit *S, size int64, err error) {
	s, err := newStaged(d.home)
	if err != nil {
		return nil, nil, 0, err
	}
	commit = new(S)
	cleanup = func() error {
		d.mu.Lock()
		delete(d.staged, commit)
		d.mu.Unlock()
		return s.remove()
	}
	if size, err = d.limits.copyWithin(s, o.Diff); err != nil {
		// At once: on a full volume others need the room.
		return cleanup, nil, 0, errors.Join(err, os.Remove(s.Name()))
	}
	d.mu.Lock()
	d.staged[commit] = s
	d.mu.Unlock()
	return cleanup, commit, size, nil
}

// CommitStagedLayer makes a tar that was staged a layer's.
func (d *driver[C, S]) CommitStagedLayer(id string, commit *S) error {
	d.mu.Lock()
	s := d.staged[commit]
	d.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%w: the layer %.12s was not staged", graphdriver.ErrLayerUnknown, id)
	}
	return os.Rename(s.Name(), d.blob(id))
}
