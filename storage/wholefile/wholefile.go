// Package wholefile writes files that appear whole or not at all.
package wholefile

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
)

// Write writes a file that appears whole or not at all: what was there before stays until all is written, after a power cut too.
// Where there is something that is no file, as a pipe, it is written to.
func Write(path string, write func(*os.File) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a link stays one
	}
	name := filepath.Join(filepath.Dir(path), ".oakum-"+rand.Text())
	f, place, err := openNew(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return errors.Join(err, f.Close(), drop(name))
	}
	if err := errors.Join(place(path), f.Close()); err != nil {
		return errors.Join(err, drop(name))
	}
	return nil
}

// drop removes a file that need not be there.
func drop(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// openNamed opens a new file by a name that it has until place gives it its own.
func openNamed(name string) (f *os.File, place func(path string) error, err error) {
	f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	return f, func(path string) error {
		if _, err := os.Lstat(path); err == nil {
			if err := f.Sync(); err != nil { // see InSynced
				return err
			}
		}
		return os.Rename(name, path)
	}, err
}

// In is Write for a small file in a directory that can be made anew: after a power cut it may be empty, and what was there
// before gone. What a process that is killed leaves is called as the file, with more after it.
func In(dir *os.Root, name string, data []byte, mode os.FileMode) error {
	return in(dir, name, data, mode, func(*os.File) error { return nil })
}

// InSynced is In for what nobody has a second time. The file is on the disk before it takes the place of the one before:
// xfs, and ext4 with noauto_da_alloc, may write the name first.
func InSynced(dir *os.Root, name string, data []byte, mode os.FileMode) error {
	return in(dir, name, data, mode, (*os.File).Sync)
}

func in(dir *os.Root, name string, data []byte, mode os.FileMode, sync func(*os.File) error) error {
	temp := name + "." + rand.Text()
	f, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = dir.Rename(temp, name)
	}
	if err != nil {
		_ = dir.Remove(temp) // the room that it takes may be what lacks
	}
	return err
}
