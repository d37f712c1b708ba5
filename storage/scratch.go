//go:build linux

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/storage/pkg/stringid"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/remove"
)

// Each process has a scratch directory <id> in <root>/<driver>/tempdirs/oakum, and beside it the
// file <id>.lock. The process keeps that locked for as long as it lives, and writes its note
// into it (see use.go). A file that nobody has locked is of a process that was killed.
//
// The place is below <root>/overlay because layers are renamed from there into <root>/overlay,
// which containers/storage mounts over itself: between two mounts nothing can be renamed. It is
// in tempdirs because the library takes every other directory in <root>/overlay for a layer.

// openTemp makes and opens the directory of scratch directories, and sweeps it.
func (s *Store) openTemp() error {
	dir := s.tempDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var err error
	if s.temp, err = os.OpenRoot(dir); err != nil {
		return err
	}
	layers, err := os.OpenRoot(filepath.Join(s.layersRoot(), s.Driver()))
	if err != nil {
		return err
	}
	err = inheritNothing(layers, ".", "tempdirs", "tempdirs/oakum")
	if err := errors.Join(err, layers.Close()); err != nil {
		return err
	}
	return s.sweepScratch()
}

// tempDir is where the scratch directories are, beside the layers.
func (s *Store) tempDir() string {
	return filepath.Join(s.layersRoot(), s.Driver(), "tempdirs", "oakum")
}

// scratch is a process's locked file and scratch directory, once they are made.
type scratch struct {
	name string // of the directory in Store.temp
	lock *os.File
	made bool // the directory
}

// Scratch is a directory on the store's file system that goes when the Store is closed,
// or when the next one is opened after a crash. It is made when it is first asked for.
func (s *Store) Scratch() (string, error) {
	if _, err := s.owner(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.scratch.made {
		if err := s.temp.Mkdir(s.scratch.name, 0o700); err != nil {
			return "", fmt.Errorf("making a scratch directory: %w", err)
		}
		s.scratch.made = true
	}
	return filepath.Join(s.temp.Name(), s.scratch.name), nil
}

// ScratchDir makes a directory in Scratch whose name begins with a prefix. done removes it with
// all in it, whatever commands have put there.
func (s *Store) ScratchDir(prefix string) (dir string, done func() error, err error) {
	scratch, err := s.Scratch()
	if err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(scratch, prefix); err != nil {
		return "", nil, err
	}
	return dir, func() error { return remove.Path(dir) }, nil
}

// noteRoom is what a process's file has on the disk from the beginning: room for a note of some 900 layers.
const noteRoom = 64 << 10

// owner is the process's locked file, which is made when it is first asked for.
func (s *Store) owner() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scratch.lock == nil {
		if err := s.makeOwner(); err != nil {
			return nil, fmt.Errorf("making a scratch directory: %w", err)
		}
	}
	return s.scratch.lock, nil
}

// makeOwner makes the process's file and locks it. Another process that sweeps may see the file
// before it is locked, and remove it as one of a dead process: then another one is made.
func (s *Store) makeOwner() error {
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
			s.scratch = scratch{name: name, lock: lock}
			// So notes can be written when the disk is full later on. Where nothing can be set aside, it is told when one cannot be.
			_ = unix.Fallocate(int(lock.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, noteRoom)
			return putNote(lock, s.user)
		}
		lock.Close()
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// closeScratch removes the process's scratch directory and its file. If the directory or a hold cannot be
// removed, the file stays too, so that the next process finds them and tries again.
func (s *Store) closeScratch() error {
	if s.scratch.lock == nil {
		return nil
	}
	names := []string{s.scratch.name, s.scratch.name + ".lock"}
	if s.uses.left {
		names = names[:1]
	}
	return errors.Join(s.removeTemp(names...), closeLock(s.scratch.lock))
}

func (s *Store) removeScratch(name string) error { return s.removeTemp(name, name+".lock") }

// removeTemp removes what has some names, one after the other.
func (s *Store) removeTemp(names ...string) error {
	dir, err := s.temp.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range names {
		if err := remove.Force(dir, name); err != nil {
			return err
		}
	}
	return nil
}

// sweepScratch removes what processes that have died left. What cannot be removed is
// tried again by the next process, and is no reason not to work in this one.
func (s *Store) sweepScratch() error {
	entries, err := fs.ReadDir(s.temp.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		// The file is made before the directory and removed after it, so that none is half made.
		if _, err := s.temp.Stat(e.Name() + ".lock"); errors.Is(err, fs.ErrNotExist) {
			_ = s.removeScratch(e.Name())
		}
	}
	swept := false
	err = s.eachOwner(func(name string, f *os.File) error {
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			return nil
		}
		swept = true
		if s.sweepNote(f) == nil {
			_ = s.removeScratch(name)
		}
		return nil
	})
	if swept {
		s.releaseStray() // its note may not have been written to its end
	}
	return err
}

// sweepNote removes the holds of a process that has died.
func (s *Store) sweepNote(f *os.File) error {
	n, ok := readNote(f)
	if !ok {
		return f.Truncate(0) // lest others take it for one of a process that lives
	}
	if len(n.Holds) == 0 {
		return nil
	}
	n.Layers = nil // it uses nothing any more
	err := putNote(f, n)
	if err != nil {
		return err
	}
	for _, id := range n.Holds {
		err = errors.Join(err, s.release(id))
	}
	return err
}

func writeAt(f *os.File, data []byte) error {
	_, err := f.WriteAt(data, 0)
	return err
}
