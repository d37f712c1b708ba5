//go:build linux

// Package outdir puts files of an image into a directory of the user's. They are made beside what is there, in a
// directory of their own, and then renamed to their places one after the other, so that a
// failure before leaves all as it was, and one in between leaves each file whole. What is in the
// directory is walked by descriptor, and no link in it is followed: nothing outside
// of the directory is made, changed or removed.
package outdir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/storage/remove"
)

// prefix is that of the names of the directories in which files are made.
const prefix = ".oakum-output-"

// Dir is a directory that files are to be put into.
type Dir struct {
	path   string
	made   []string // the directories that Open has made, outermost first
	dir    *os.File
	name   string   // in dir, of the directory with what is to come into it
	staged *os.File // that directory, locked while it is of use
	placed bool     // something may be in its place
}

// Open opens a directory, which it makes when it is not there, with those above it.
func Open(path string) (_ *Dir, err error) {
	d := &Dir{path: path}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := d.makeAll(path); err != nil {
		return nil, err
	}
	if d.dir, err = os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return nil, err
	}
	if err := d.sweep(); err != nil {
		return nil, err
	}
	d.name = prefix + rand.Text()
	if err := unix.Mkdirat(int(d.dir.Fd()), d.name, 0o700); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: filepath.Join(path, d.name), Err: err}
	}
	if d.staged, err = openDir(d.dir, d.name); err != nil {
		return nil, err
	}
	return d, unix.Flock(int(d.staged.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// makeAll makes a directory and those above it, and notes which were not there.
func (d *Dir) makeAll(path string) error {
	switch info, err := os.Stat(path); {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%w: %s is not a directory", errdefs.ErrInvalid, path)
	case err == nil || !errors.Is(err, os.ErrNotExist):
		return err
	}
	if parent := filepath.Dir(path); parent != path {
		if err := d.makeAll(parent); err != nil {
			return err
		}
	}
	err := os.Mkdir(path, 0o777)
	if err == nil {
		d.made = append(d.made, path)
	}
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// sweep removes what a process that was killed has left.
func (d *Dir) sweep() error {
	names, err := names(d.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		old, err := openDir(d.dir, name)
		if err != nil {
			continue
		}
		if unix.Flock(int(old.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = remove.Tree(d.dir, name)
		}
		old.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Staged is the empty directory in which the files are to be made. It belongs to d.
func (d *Dir) Staged() *os.File { return d.staged }

// Place puts the files that were made into their places. A directory that is there already keeps its mode and times. With
// del all else in the directory is removed; without it a file does not take the place of a directory
// that has files: then nothing is done, and the error matches errdefs.ErrInvalid.
func (d *Dir) Place(del bool) error {
	p := &placing{del: del}
	if err := p.check(d.dir, d.staged, d.path); err != nil {
		return err
	}
	d.placed = true
	return p.place(d.dir, d.staged, d.path, true)
}

// Close removes what was not placed, and the directories that Open has made when nothing is in them.
func (d *Dir) Close() error {
	var err error
	if d.staged != nil {
		err = remove.Tree(d.dir, d.name)
		d.staged.Close()
	}
	if d.dir != nil {
		d.dir.Close()
	}
	for i := len(d.made) - 1; i >= 0 && !d.placed; i-- {
		_ = os.Remove(d.made[i]) // another may have put something there
	}
	return err
}
