//go:build linux

package storage

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// syncOption is containers/storage's "overlay.sync=filesystem". The library would write all that is not on the disk twice for
// each layer; it is enough to do so once for an image, before that is in the list.
const syncOption = "sync"

// wantsSync says whether options ask for that: those of storage.conf, or those of the caller.
func wantsSync(conf []string, opts Options) bool {
	if len(opts.DriverOptions) > 0 || opts.Driver != "" {
		conf = opts.DriverOptions
	}
	return slices.ContainsFunc(conf, func(option string) bool {
		key, value := optionOf(option)
		return key == syncOption && value == "filesystem"
	})
}

// syncFiles writes the files of all layers to the disk, if that is asked for.
func (s *Store) syncFiles() error {
	return s.synced(cmp.Or(s.cs.ImageStore(), s.cs.GraphRoot()), unix.Syncfs)
}

// syncImages does the same for the list of images. Its content is there, but not that it has taken the place of the one before.
func (s *Store) syncImages() error {
	return s.synced(filepath.Join(cmp.Or(s.cs.ImageStore(), s.cs.GraphRoot()), s.Driver()+"-images"), unix.Fsync)
}

func (s *Store) synced(path string, sync func(int) error) error {
	if !s.disk.syncs {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(wrap("sync", path, sync(int(dir.Fd()))), dir.Close())
}
