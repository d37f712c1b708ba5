//go:build linux

package storage

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/internal/layertar"
	"github.com/oakum-build/oakum/storage/openat2"
)

// splitTar opens the records of a layer's tar that containers/storage keeps (tar-split): all of it but
// the content of its files. nil is one that has none in this store.
func (s *Store) splitTar(layer string) (*os.File, error) {
	root := s.catalog.GraphRoot()
	if images := s.catalog.ImageStore(); images != "" {
		root = images // where layers are
	}
	f, err := os.Open(filepath.Join(root, s.Driver()+"-layers", layer+".tar-split.gz"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// assemble gives a layer's tar from its records and its files, each checked against the sum that the
// records have of it. Nothing is locked meanwhile: containers/storage would keep everybody from
// changing layers for as long as the tar is open, and those who wait for that keep others from reading. A
// layer does not change; when it is removed meanwhile, the tar ends with an error.
func assemble(records *os.File, files *os.File) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		defer files.Close()
		defer records.Close()
		z, err := gzip.NewReader(records)
		if err == nil {
			err = layertar.Assemble(z, layerFiles{files}, w)
		}
		_ = w.CloseWithError(err)
	}()
	return r
}

// layerFiles opens files of a layer's directory, out of which no path and no link leads.
type layerFiles struct{ dir *os.File }

func (l layerFiles) Get(name string) (io.ReadCloser, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	name = strings.TrimLeft(name, "/")
	fd, err := openat2.Open(int(l.dir.Fd()), name, &how)
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}
