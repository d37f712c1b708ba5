//go:build linux

package imagetree

import (
	"archive/tar"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ReadDir reads the files of a directory, but for what Bare leaves out.
func ReadDir(root string) (Tree, error) {
	files, names := Tree{}, map[[2]uint64]*string{}
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil || rel == "." {
			return err
		}
		f, err := readFile(name, names)
		files[rel] = f
		return err
	})
	return files.Bare(), err
}

// readFile reads one file. names has the inodes that were seen.
func readFile(name string, names map[[2]uint64]*string) (*File, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return nil, err
	}
	inode := [2]uint64{uint64(st.Dev), st.Ino}
	if names[inode] == nil {
		names[inode] = &name
	}
	f := &File{Mode: int64(st.Mode & 0o7777), inode: names[inode]}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		var content []byte
		content, err = os.ReadFile(name)
		f.Type, f.Content = tar.TypeReg, ContentOf(string(content))
	case unix.S_IFLNK:
		f.Type = tar.TypeSymlink
		f.Target, err = os.Readlink(name)
	case unix.S_IFDIR:
		f.Type = tar.TypeDir
	case unix.S_IFIFO:
		f.Type = tar.TypeFifo
	}
	return f, err
}

// Bare are the files as a user has them who extracts them: without owners, set-id bits, attributes and devices.
func (files Tree) Bare() Tree {
	bare := maps.Clone(files)
	for name, f := range bare {
		if f.Type == tar.TypeChar || f.Type == tar.TypeBlock || name == "" {
			delete(bare, name)
			continue
		}
		kept := *f
		kept.Mode, kept.UID, kept.GID, kept.Xattrs = f.Mode&0o1777, 0, 0, nil
		bare[name] = &kept
	}
	return bare
}
