//go:build linux

package storage

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/ioutils"
	"go.podman.io/storage/pkg/lockfile"
	"golang.org/x/sys/unix"
)

// containers/storage makes an image step by step: it is listed, then each of its files is written and listed, then it
// gets the names that others have, and loses what stood in for them. That is a list with an image without a manifest, which
// Podman fails on, and up to nine times a wait for the disk. imageList writes the image's files side by side, and then the list
// once, under the locks of the library and with its types: an image is there as a whole or not at all.
type imageList struct {
	dir    string
	images *lockfile.LockFile // of the list
	layers *lockfile.LockFile // held, so that nobody removes the layer of an image before that is listed
	all    []*cs.Image
}

func (s *Store) imageList() (*imageList, error) {
	at := filepath.Join(s.layersRoot(), s.Driver()+"-")
	images, err1 := lockfile.GetLockFile(at + "images/images.lock")
	layers, err2 := lockfile.GetLockFile(at + "layers/layers.lock")
	return &imageList{dir: at + "images", images: images, layers: layers}, errors.Join(err1, err2)
}

// add writes a new image, with what is kept beside it, and takes its names from those that have them. files is where its
// layer has its files, "" without one. One that is there already is cs.ErrDuplicateID.
func (l *imageList) add(img *cs.Image, files string, data []cs.ImageBigDataOption) error {
	l.layers.RLock() // first, as containers/storage has it
	defer l.layers.Unlock()
	l.images.Lock()
	defer l.images.Unlock()
	if _, err := os.Lstat(files); files != "" && err != nil {
		return errors.Join(cs.ErrLayerUnknown, err)
	}
	if err := l.read(); err != nil {
		return err
	}
	for _, other := range l.all {
		if other.ID == img.ID {
			return fmt.Errorf("%w: the image %s", cs.ErrDuplicateID, img.ID)
		}
		other.Names = slices.DeleteFunc(other.Names, func(name string) bool { return slices.Contains(img.Names, name) })
	}
	if err := l.keep(img, data); err != nil {
		return err
	}
	l.all = append(l.all, img)
	return l.write()
}

func (l *imageList) path() string { return filepath.Join(l.dir, "images.json") }

func (l *imageList) read() error {
	data, err := os.ReadFile(l.path())
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &l.all)
	}
	return wrap("reading", l.path(), err)
}

// write puts the list in the place of the one before, which a power cut leaves otherwise.
func (l *imageList) write() error {
	data, err := json.Marshal(l.all)
	if err != nil {
		return err
	}
	if _, err := l.images.RecordWrite(); err != nil { // first: if this process is killed in between, others only read it once more
		return err
	}
	return ioutils.AtomicWriteFile(l.path(), data, 0o600)
}

// sweep removes what processes that were killed have left of images that they had not listed yet. Nobody is between the two
// while the list is locked.
func (l *imageList) sweep() error {
	l.images.Lock()
	defer l.images.Unlock()
	if err := l.read(); err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, img := range l.all {
		listed[img.ID] = true
	}
	entries, err := os.ReadDir(l.dir)
	for _, e := range entries {
		if id := e.Name(); e.IsDir() && wholeID(id) && !listed[id] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(l.dir, id)))
		}
	}
	return err
}

func (s *Store) sweepImages() error {
	list, err := s.imageList()
	if err != nil {
		return err
	}
	return list.sweep()
}

// keep writes what is kept beside an image. All waits for the disk at once. What a process that was killed has left there is
// written over.
func (l *imageList) keep(img *cs.Image, data []cs.ImageBigDataOption) error {
	dir := filepath.Join(l.dir, img.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	img.BigDataSizes, img.BigDataDigests = map[string]int64{}, map[string]digest.Digest{}
	errs := make([]error, len(data))
	var writing sync.WaitGroup
	for i, item := range data {
		img.BigDataNames = append(img.BigDataNames, item.Key)
		img.BigDataSizes[item.Key] = int64(len(item.Data))
		img.BigDataDigests[item.Key] = cmp.Or(item.Digest, digest.FromBytes(item.Data))
		writing.Go(func() { errs[i] = writeSynced(filepath.Join(dir, bigDataName(item.Key)), item.Data) })
	}
	writing.Wait()
	return errors.Join(errs...)
}

// writeSynced writes a file that is on the disk then.
func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = wrap("fdatasync", path, unix.Fdatasync(int(f.Fd())))
	}
	return errors.Join(err, f.Close())
}
