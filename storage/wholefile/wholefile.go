// Package wholefile writes files that appear whole or not at all.
package wholefile

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
)

// Write writes a file that appears whole or not at all: what was there before stays until all is written.
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
	return f, func(path string) error { return os.Rename(name, path) }, err
}

// In is Write for a small file in a directory. What a process that is killed leaves is called as the file, with
// more after it.
func In(dir *os.Root, name string, data []byte, mode os.FileMode) error {
	temp := name + "." + rand.Text()
	err := dir.WriteFile(temp, data, mode)
	if err == nil {
		err = dir.Rename(temp, name)
	}
	if err != nil {
		_ = dir.Remove(temp) // the room that it takes may be what lacks
	}
	return err
}
