package remotecache

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/wholefile"
)

// Layout is a Place in a directory: an OCI image layout (OCI image layout specification), of which the entry of
// index.json with a tag is the cache. Other entries, and their blobs, stay as they are.
type Layout struct {
	root *os.Root
	tag  string

	aside string // in the directory, for as long as it is open to be written to
	leave func() error
}

// maxManifest is what is read of a manifest or an index.json, as much as clients of registries read.
const maxManifest = 4 << 20

// OpenLayout opens the layout in a directory. With make the directory and the layout are made where they are not there.
// It must be closed.
func OpenLayout(dir, tag string, make bool) (*Layout, error) {
	if make {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() { // OpenRoot would wait for who writes to a pipe
		return nil, &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	l := &Layout{root: root, tag: At{Tag: tag}.tag(), leave: func() error { return nil }}
	if make {
		err = l.begin()
	} else {
		_, err = root.Stat(imgspec.ImageLayoutFile)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return l, nil
}

// begin prepares it for being written to. What blobs it has by then stay while it is open.
func (l *Layout) begin() error {
	if err := l.init(); err != nil {
		return err
	}
	aside, leave, err := announce(l.root)
	if err == nil {
		l.aside, l.leave = aside, leave
	}
	return err
}

// init makes an empty layout. A directory with other things in it is left alone.
func (l *Layout) init() error {
	if _, err := l.root.Stat(imgspec.ImageLayoutFile); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := l.root.Open(".")
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	if slices.ContainsFunc(names, func(name string) bool { return name != "blobs" && name != "index.json" }) {
		return fmt.Errorf("%w: %s is not empty, and no OCI image layout", ErrInvalid, l.root.Name())
	}
	if err := l.root.MkdirAll(blobsDir, 0o755); err != nil {
		return err
	}
	if !slices.Contains(names, "index.json") {
		if err := wholefile.InSynced(l.root, "index.json", []byte(`{"schemaVersion":2,"mediaType":"`+imgspec.MediaTypeImageIndex+`","manifests":[]}`), 0o644); err != nil {
			return err
		}
	}
	return wholefile.InSynced(l.root, imgspec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+imgspec.ImageLayoutVersion+`"}`), 0o644)
}

const blobsDir = "blobs/sha256"

// Close closes it.
func (l *Layout) Close() error { return errors.Join(l.leave(), l.root.Close()) }

// blob is the file of a name that is a digest.
func blob(name string) (string, error) {
	d := digest.Digest(name)
	if err := checkDigest(d); err != nil {
		return "", err
	}
	return path.Join(blobsDir, d.Encoded()), nil
}

// Get opens a blob, or the manifest.
func (l *Layout) Get(_ context.Context, name string) (io.ReadCloser, error) {
	if name == ManifestName {
		index, err := readIndex(l.root)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(index.Manifests, l.own)
		if at < 0 {
			return nil, fmt.Errorf("%s has nothing with the tag %q: %w", l.root.Name(), l.tag, fs.ErrNotExist)
		}
		name = index.Manifests[at].Digest.String()
	}
	file, err := blob(name)
	if err != nil {
		return nil, err
	}
	return openFile(l.root, file)
}

// openFile opens a file of a layout. What else may have its name is refused, and not waited for, as a pipe is that nobody
// writes to.
func openFile(layout *os.Root, name string) (*os.File, error) {
	f, err := layout.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.ENXIO) { // a socket, or a device that is not there
		return nil, fmt.Errorf("%w: %s is no file: %w", ErrInvalid, name, err)
	}
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, f.Close(), fmt.Errorf("%w: %s is no file", ErrInvalid, name))
	}
	return f, nil
}

func (l *Layout) own(m imgspec.Descriptor) bool {
	return m.Annotations[imgspec.AnnotationRefName] == l.tag
}

// Has says whether there is a blob, or the manifest.
func (l *Layout) Has(ctx context.Context, name string) (bool, error) {
	f, err := l.Get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// Put writes a blob, or the manifest.
func (l *Layout) Put(_ context.Context, name string, _ int64, content io.Reader) error {
	if name != ManifestName {
		if err := checkDigest(digest.Digest(name)); err != nil {
			return err
		}
		is, _, err := l.put(content)
		if err == nil && is.String() != name {
			err = fmt.Errorf("%w: what was to be %s is %s", ErrInvalid, name, is)
		}
		return err
	}
	raw, err := readAtMost(content, maxManifest)
	if err != nil {
		return err
	}
	d, size, err := l.put(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	var m imgspec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("%w: a manifest: %w", ErrInvalid, err)
	}
	return l.enter(imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, ArtifactType: m.ArtifactType, Digest: d, Size: size,
		Annotations: map[string]string{imgspec.AnnotationRefName: l.tag}})
}

// put writes a blob of which the digest is not known before.
func (l *Layout) put(content io.Reader) (d digest.Digest, size int64, err error) {
	if err := l.root.MkdirAll(blobsDir, 0o755); err != nil {
		return "", 0, err
	}
	temp := path.Join(blobsDir, ".part-"+rand.Text())
	f, err := l.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	size, err = io.Copy(io.MultiWriter(f, sum), content)
	d = digest.NewDigest(digest.SHA256, sum)
	if err = errors.Join(err, f.Close()); err == nil {
		err = l.root.Rename(temp, path.Join(blobsDir, d.Encoded()))
	}
	if err != nil {
		_ = l.root.Remove(temp)
	}
	return d, size, err
}

// readIndex reads index.json.
func readIndex(layout *os.Root) (index imgspec.Index, err error) {
	f, err := openFile(layout, "index.json")
	if err != nil {
		return index, err
	}
	defer f.Close()
	raw, err := readAtMost(f, maxManifest)
	if err == nil {
		if err = json.Unmarshal(raw, &index); err != nil {
			err = fmt.Errorf("%w: index.json: %w", ErrInvalid, err)
		}
	}
	return index, err
}

// enter puts a manifest into index.json in the place of the one with the tag.
func (l *Layout) enter(m imgspec.Descriptor) error {
	return changeIndex(l.root, func(index *imgspec.Index) (written func()) {
		old := slices.IndexFunc(index.Manifests, l.own)
		var before digest.Digest
		if old >= 0 {
			before = index.Manifests[old].Digest
		}
		index.Manifests = append(slices.DeleteFunc(index.Manifests, l.own), m)
		return func() {
			if before != "" && before != m.Digest {
				l.sweep(before, *index)
			}
		}
	})
}

// ChangeIndex changes the index.json of a layout, which is made if there is none. Programs that do so at the same time wait for
// each other.
func ChangeIndex(layout *os.Root, change func(index *imgspec.Index)) error {
	return changeIndex(layout, func(index *imgspec.Index) func() { change(index); return func() {} })
}

// changeIndex is ChangeIndex, and calls written before others may change it.
func changeIndex(layout *os.Root, change func(index *imgspec.Index) (written func())) error {
	return alone(layout, func() error {
		index, err := readIndex(layout)
		if errors.Is(err, fs.ErrNotExist) {
			index, err = imgspec.Index{MediaType: imgspec.MediaTypeImageIndex}, nil
		}
		if err != nil {
			return err
		}
		written := change(&index)
		index.Versioned = specs.Versioned{SchemaVersion: 2}
		raw, err := json.Marshal(index)
		if err == nil {
			err = wholefile.InSynced(layout, "index.json", raw, 0o644)
		}
		if err == nil {
			written()
		}
		return err
	})
}

// alone waits until nobody changes a layout, and keeps others from it while do runs.
func alone(layout *os.Root, do func() error) error {
	lock, err := layout.Open(".")
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return &fs.PathError{Op: "flock", Path: layout.Name(), Err: err}
	}
	defer func() { _ = unix.Flock(int(lock.Fd()), unix.LOCK_UN) }() // closing alone leaves it to a process that is just being started
	return do()
}

// LayoutAside is what the names of directories in that of a layout begin with that those have who write to it: in which images are
// put together, to be entered then, or with nothing in them.
const LayoutAside = ".oakum-layout-"

// sweep removes what the cache before had and nothing has now. Where it is not known what others have, as of an index
// within the index, or while others add images or caches, it removes nothing: blobs that stay cost room and nothing else.
func (l *Layout) sweep(before digest.Digest, index imgspec.Index) {
	writers, err := fs.Glob(l.root.FS(), LayoutAside+"*")
	if err != nil || slices.ContainsFunc(writers, func(name string) bool { return name != l.aside }) {
		return
	}
	used := map[digest.Digest]bool{}
	for _, m := range index.Manifests {
		all, err := l.blobsOf(m.Digest)
		if err != nil {
			return
		}
		for _, d := range all {
			used[d] = true
		}
	}
	gone, err := l.blobsOf(before)
	if err != nil {
		return
	}
	for _, d := range gone {
		if file, err := blob(d.String()); err == nil && !used[d] {
			_ = l.root.Remove(file)
		}
	}
}

// blobsOf are a manifest and its blobs.
func (l *Layout) blobsOf(d digest.Digest) ([]digest.Digest, error) {
	f, err := l.Get(context.Background(), d.String())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := readAtMost(f, maxManifest)
	if err != nil {
		return nil, err
	}
	var m imgspec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	if m.Config.Digest == "" {
		return nil, fmt.Errorf("%w: %s is not the manifest of an image", ErrInvalid, d)
	}
	all := []digest.Digest{d, m.Config.Digest}
	for _, b := range m.Layers {
		all = append(all, b.Digest)
	}
	return all, nil
}

func readAtMost(from io.Reader, most int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(from, most+1))
	if err == nil && int64(len(raw)) > most {
		err = fmt.Errorf("%w: it has more than the %d bytes that a manifest may have", ErrInvalid, most)
	}
	return raw, err
}
