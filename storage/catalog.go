//go:build linux

package storage

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/pkg/lockfile"
	storagetypes "go.podman.io/storage/types"
)

// catalog is what is read of a store's layers and images: containers/storage itself, or its files.
// The methods are those of cs.Store.
type catalog interface {
	GraphRoot() string
	RunRoot() string
	ImageStore() string
	GraphDriverName() string
	UIDMap() []idtools.IDMap
	GIDMap() []idtools.IDMap
	Layers() ([]cs.Layer, error)
	Layer(id string) (*cs.Layer, error)
	Image(id string) (*cs.Image, error)
	ImagesByDigest(d digest.Digest) ([]*cs.Image, error)
	ImageBigData(id, key string) ([]byte, error)
}

// errUnseen is of what cannot be told of a store by looking at its files, as long as they are as they are.
var errUnseen = errors.New("this cannot be told by looking at the files of the store")

// indexFiles reads the indexes of containers/storage in the root of a store, under the locks under which it reads them
// itself. It makes no file and waits for nobody: what is being written just now, or is in any way not as it should
// be, is errUnseen, for containers/storage would mend it.
type indexFiles struct {
	opts   storagetypes.StoreOptions
	dir    string // the root, with the name of the driver and a hyphen
	layers indexFile[cs.Layer]
	images indexFile[cs.Image]
}

func openFiles(opts storagetypes.StoreOptions) (*indexFiles, error) {
	if opts.ImageStore != "" || opts.TransientStore || len(opts.UIDMap) > 0 || len(opts.GIDMap) > 0 || strings.Contains(strings.Join(opts.GraphDriverOptions, " "), "store") {
		return nil, errUnseen // some of it is elsewhere, or has other owners
	}
	f := &indexFiles{opts: opts, dir: filepath.Join(opts.GraphRoot, opts.GraphDriverName+"-")}
	f.layers.paths = []string{f.dir + "layers/layers.json", f.dir + "layers/volatile-layers.json"}
	f.images.paths = []string{f.dir + "images/images.json"}
	f.layers.check, f.images.check = checkLayers, checkImages
	for path, lock := range map[string]**lockfile.LockFile{f.dir + "layers/layers.lock": &f.layers.lock, f.dir + "images/images.lock": &f.images.lock} {
		if _, err := os.Lstat(path); err != nil { // opening it would make it
			return nil, err
		}
		var err error
		if *lock, err = lockfile.GetLockFile(path); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *indexFiles) GraphRoot() string       { return f.opts.GraphRoot }
func (f *indexFiles) RunRoot() string         { return f.opts.RunRoot }
func (f *indexFiles) ImageStore() string      { return "" }
func (f *indexFiles) GraphDriverName() string { return f.opts.GraphDriverName }
func (f *indexFiles) UIDMap() []idtools.IDMap { return nil }
func (f *indexFiles) GIDMap() []idtools.IDMap { return nil }

func (f *indexFiles) Layers() ([]cs.Layer, error) { return f.layers.read() }

func (f *indexFiles) Layer(id string) (*cs.Layer, error) {
	all, err := f.layers.read()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == id {
			return &all[i], nil
		}
	}
	return nil, cs.ErrLayerUnknown
}

// Image finds an image by its id, a name, or the beginning of its id if no other has that.
func (f *indexFiles) Image(id string) (*cs.Image, error) {
	all, err := f.images.read()
	if err != nil {
		return nil, err
	}
	var named, begins *cs.Image
	several := false
	for i := range all {
		img := &all[i]
		if img.ID == id {
			return img, nil
		}
		for _, name := range img.Names {
			if name == id {
				named = img
			}
		}
		if strings.HasPrefix(img.ID, id) {
			begins, several = img, begins != nil
		}
	}
	switch {
	case named != nil:
		return named, nil
	case begins != nil && !several && id != "":
		return begins, nil
	}
	return nil, cs.ErrImageUnknown
}

func (f *indexFiles) ImagesByDigest(d digest.Digest) (found []*cs.Image, err error) {
	all, err := f.images.read()
	for i := range all {
		img := &all[i]
		is := img.Digest == d
		for name, of := range img.BigDataDigests {
			is = is || of == d && strings.HasPrefix(name, cs.ImageDigestManifestBigDataNamePrefix)
		}
		if is {
			found = append(found, img)
		}
	}
	return found, err
}

// ImageBigData reads what is kept beside an image, and compares it with the digest that the image has of it.
func (f *indexFiles) ImageBigData(id, key string) ([]byte, error) {
	img, err := f.Image(id)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(f.dir+"images", img.ID, bigDataName(key)))
	if err == nil && img.BigDataDigests[key] != digest.FromBytes(data) {
		err = errUnseen
	}
	return data, err
}

// bigDataName is the name of the file that has what an image keeps under a key, as containers/storage makes it.
func bigDataName(key string) string {
	if strings.Trim(key, ".0123456789abcdefghijklmnopqrstuvwxyz") == "" {
		return key
	}
	return "=" + base64.StdEncoding.EncodeToString([]byte(key))
}

// indexFile is one of the indexes: a list in some files, with a lock.
type indexFile[T any] struct {
	lock  *lockfile.LockFile
	paths []string // of which the first must be there
	check func([]T) bool

	mu    sync.Mutex
	wrote lockfile.LastWrite // who has written last, when it was read
	state []string           // of each file
	all   []T                // nobody changes it
}

// read gives the whole list, which is read anew when it has changed.
func (x *indexFile[T]) read() ([]T, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := patiently(x.lock.TryRLock); err != nil {
		return nil, err
	}
	defer x.lock.Unlock()
	changed := x.state == nil
	wrote, err := x.lock.GetLastWrite()
	if err == nil && !changed {
		wrote, changed, err = x.lock.ModifiedSince(x.wrote)
	}
	if err != nil {
		return nil, err
	}
	state := make([]string, len(x.paths))
	for i, path := range x.paths {
		if is, err := os.Stat(path); err == nil {
			state[i] = fmt.Sprint(is.ModTime().UnixNano(), is.Size())
		} else if i == 0 || !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		changed = changed || x.state[i] != state[i]
	}
	if !changed {
		return x.all, nil
	}
	var all []T
	for i, path := range x.paths {
		if state[i] == "" {
			continue
		}
		var some []T
		data, err := os.ReadFile(path)
		if err == nil && len(data) > 0 {
			err = json.Unmarshal(data, &some)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		all = append(all, some...)
	}
	if !x.check(all) {
		return nil, errUnseen
	}
	x.wrote, x.state, x.all = wrote, state, all
	return all, nil
}

// checkLayers says that there is nothing among layers for containers/storage to mend.
func checkLayers(all []cs.Layer) bool {
	seen := make(map[string]bool, len(all))
	for i := range all {
		l := &all[i]
		if seen[l.ID] || l.ID == "" || filepath.Base(l.ID) != l.ID || l.Flags["incomplete"] != nil {
			return false
		}
		seen[l.ID] = true
	}
	return true
}

// checkImages is checkLayers for images.
func checkImages(all []cs.Image) bool {
	seen := make(map[string]bool, len(all))
	for i := range all {
		img := &all[i]
		if img.ID == "" || filepath.Base(img.ID) != img.ID || img.Flags["incomplete"] != nil {
			return false
		}
		for _, name := range append([]string{img.ID}, img.Names...) {
			if seen[name] {
				return false
			}
			seen[name] = true
		}
	}
	return true
}

// patiently tries for a moment to get what others have.
func patiently(try func() error) (err error) {
	for range 20 {
		if err = try(); err == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return err
}
