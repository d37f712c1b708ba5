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

// A process's scratch directory is <root>/oakum/scratch/<id>, with the file <id>.lock
// beside it that the process has locked as long as it lives. What nobody has locked is
// of a process that was killed.

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
	return filepath.Join(s.private.Name(), s.scratch.name), nil
}

// scratch is a process's scratch directory, once it is made.
type scratch struct {
	name string // in Store.private
	lock *os.File
}

func (s *Store) makeScratch() error {
	name := "scratch/" + stringid.GenerateRandomID()[:16]
	lock, err := s.private.OpenFile(name+".lock", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	// A sweep that saw the file before it was locked has removed it.
	if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); err == nil {
		_, err = s.private.Stat(name + ".lock")
	}
	if err == nil {
		err = s.private.Mkdir(name, 0o700)
	}
	if err != nil {
		lock.Close()
		return err
	}
	s.scratch = scratch{name, lock}
	return nil
}

// closeScratch removes the process's scratch directory.
func (s *Store) closeScratch() error {
	if s.scratch.lock == nil {
		return nil
	}
	name := s.scratch.name
	return errors.Join(s.private.RemoveAll(name), s.private.Remove(name+".lock"), s.scratch.lock.Close())
}

// sweepScratch removes the directories of processes that have died.
func (s *Store) sweepScratch() error {
	entries, err := fs.ReadDir(s.private.FS(), "scratch")
	if err != nil {
		return err
	}
	for _, e := range entries {
		base, isLock := strings.CutSuffix(e.Name(), ".lock")
		if !isLock {
			continue // it goes with its lock
		}
		f, err := s.private.Open("scratch/" + e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = errors.Join(s.private.RemoveAll("scratch/"+base), s.private.Remove("scratch/"+e.Name()))
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
