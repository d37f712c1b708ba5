//go:build linux

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage/pkg/stringid"
	"golang.org/x/sys/unix"
)

// A process's scratch directory is <id> in <root>/overlay/tempdirs/oakum, with the file
// <id>.lock beside it that the process has locked as long as it lives. What nobody has
// locked is of a process that was killed. It is there because layers are renamed from
// it: containers/storage mounts <root>/overlay over itself, and takes what it does not
// know in there for layers.

// openTemp makes and opens the directory of scratch directories, and sweeps it.
func (s *Store) openTemp() error {
	root := s.cs.GraphRoot()
	if images := s.cs.ImageStore(); images != "" {
		root = images // where layers are
	}
	dir := filepath.Join(root, "overlay", "tempdirs", "oakum")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var err error
	if s.temp, err = os.OpenRoot(dir); err != nil {
		return err
	}
	return s.sweepScratch()
}

// Scratch is a directory on the store's file system that goes when the Store is closed,
// or when the next one is opened after a crash. It is made when it is first asked for.
func (s *Store) Scratch() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scratch.lock == nil {
		if err := s.makeScratch(); err != nil {
			return "", fmt.Errorf("making a scratch directory: %w", err)
		}
	}
	return filepath.Join(s.temp.Name(), s.scratch.name), nil
}

// scratch is a process's scratch directory, once it is made.
type scratch struct {
	name string // in Store.temp
	lock *os.File
}

// makeScratch tries again when a sweep saw the lock file before it was locked and removed it.
func (s *Store) makeScratch() error {
	for {
		name := stringid.GenerateRandomID()[:16]
		lock, err := s.temp.OpenFile(name+".lock", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); err == nil {
			_, err = s.temp.Stat(name + ".lock")
		}
		if err == nil {
			err = s.temp.Mkdir(name, 0o700)
		}
		if err == nil {
			s.scratch = scratch{name, lock}
			return nil
		}
		lock.Close()
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// closeScratch removes the process's scratch directory.
func (s *Store) closeScratch() error {
	if s.scratch.lock == nil {
		return nil
	}
	name := s.scratch.name
	return errors.Join(s.temp.RemoveAll(name), s.temp.Remove(name+".lock"), s.scratch.lock.Close())
}

// sweepScratch removes the directories of processes that have died.
func (s *Store) sweepScratch() error {
	entries, err := fs.ReadDir(s.temp.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		base, isLock := strings.CutSuffix(e.Name(), ".lock")
		if !isLock {
			continue // it goes with its lock
		}
		f, err := s.temp.Open(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = errors.Join(s.temp.RemoveAll(base), s.temp.Remove(e.Name()))
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
