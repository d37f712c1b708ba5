//go:build linux

package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/internal/treedriver"
)

// OpenTar opens a layer, without those below it, as its uncompressed tar: the bytes that its diff ID
// is the digest of. It fails with ErrRemoved when the layer is not there any more. With the driver
// tree the tar can be read while the layer is still being registered. With overlay OpenTar waits for
// that. A layer of another store that this one reads too is locked until the tar is closed.
func (s *Store) OpenTar(l *Layer) (io.ReadCloser, error) {
	if tar, err := s.openOwnTar(l); tar != nil || err != nil {
		return tar, err
	}
	plain := archive.Uncompressed
	tar, err := s.cs.Diff("", l.id, &cs.DiffOptions{Compression: &plain})
	if errors.Is(err, cs.ErrLayerUnknown) {
		return nil, l.removed()
	}
	if err != nil {
		return nil, fmt.Errorf("layer %.12s: %w", l.id, err)
	}
	return tar, nil
}

// openOwnTar is OpenTar of a layer of this store itself, for which nothing is locked, and nil for others.
func (s *Store) openOwnTar(l *Layer) (io.ReadCloser, error) {
	if s.Driver() == DriverTree {
		return l.openBlob()
	}
	if err := l.Wait(context.Background()); err != nil {
		return nil, err
	}
	records, err := s.splitTar(l.id)
	if err != nil {
		return nil, fmt.Errorf("layer %.12s: %w", l.id, err)
	}
	if records == nil {
		return nil, nil
	}
	files, err := l.open()
	if err != nil {
		records.Close()
		return nil, err
	}
	return assemble(records, files), nil
}

// LayerLimits are how large a layer that comes from elsewhere may be with the driver tree, all its
// files together, and how many files it may have (Options.DriverOptions: tree.layer_size and
// tree.layer_files). Who unpacks one stops there.
func (s *Store) LayerLimits() (bytes, files int64) {
	limits, _ := treedriver.ParseLimits(s.cs.GraphOptions()) // they were good when it was opened
	return limits.Bytes, limits.Files
}

func (l *Layer) openBlob() (*os.File, error) {
	dir, err := l.open()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), treedriver.Blob, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, l.removed()
	}
	if err != nil {
		return nil, fmt.Errorf("layer %.12s: %w", l.id, wrap("open", treedriver.Blob, err))
	}
	return os.NewFile(uintptr(fd), treedriver.Blob), nil
}

// MakeTar is MakeLayer in a store with the driver tree. fill writes the layer as its uncompressed
// tar, whose digest is made beside that, and gives what Layer.Notices says. Its entries must be what
// every reader of the layer may see. Where it finds a file that a layer cannot hold it fails with
// tarfilter.ErrUnfit.
func (s *Store) MakeTar(_ context.Context, parent *Layer, fill func(tar io.Writer) (notices []string, err error)) (*Layer, error) {
	if s.Driver() != DriverTree {
		return nil, fmt.Errorf("%w: a layer is made as a tar with the driver tree alone, not with %s", ErrDriver, s.Driver())
	}
	m := s.making(parent)
	return s.makeLayer(m, func(dir string) (*graphdriver.DriverWithDifferOutput, error) { return m.makeTar(dir, fill) })
}

func (m *making) makeTar(dir string, fill func(io.Writer) ([]string, error)) (_ *graphdriver.DriverWithDifferOutput, err error) {
	target := filepath.Join(dir, "diff")
	if err := os.Mkdir(target, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(target, treedriver.Blob), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	w := newDigester(f)
	notices, err := fill(w)
	sum, size, failed := w.finish()
	if err := errors.Join(err, failed, f.Close()); err != nil {
		return nil, err
	}
	opened, err := openPath(target)
	if err != nil {
		return nil, err
	}
	m.layer.notices = notices
	m.hasFilled(opened)
	// Below it, a layer of the same id may lie in the place of the one that fill has seen.
	if err := m.store.Intact(m.layer.parent); err != nil {
		return nil, err
	}
	return &graphdriver.DriverWithDifferOutput{Target: target, UncompressedDigest: sum, Size: size}, nil
}

// A digester writes a stream to a file, and makes its digest beside that.
type digester struct {
	to     io.Writer
	block  []byte      // what has not been written yet
	blocks chan []byte // written, and to be digested
	free   chan []byte
	sum    chan hash.Hash
	size   int64
	err    error // of a write; the stream has ended with it
}

const digesterBlock = 1 << 20

func newDigester(to io.Writer) *digester {
	const count = 3 // one is filled, one waits, one is digested
	d := &digester{to: to, blocks: make(chan []byte, count), free: make(chan []byte, count), sum: make(chan hash.Hash, 1)}
	for range count - 1 {
		d.free <- nil // made when it is needed
	}
	go func() {
		h := sha256.New()
		for b := range d.blocks {
			h.Write(b)
			d.free <- b[:0]
		}
		d.sum <- h
	}()
	return d
}

// Write takes a piece of the stream.
func (d *digester) Write(p []byte) (n int, err error) {
	for n < len(p) && d.err == nil {
		if d.block == nil {
			d.block = make([]byte, 0, digesterBlock)
		}
		some := min(len(p)-n, cap(d.block)-len(d.block))
		d.block = append(d.block, p[n:n+some]...)
		n += some
		if len(d.block) == cap(d.block) {
			d.flush()
		}
	}
	return n, d.err
}

func (d *digester) flush() {
	var n int
	n, d.err = d.to.Write(d.block)
	d.size += int64(n)
	d.blocks <- d.block
	d.block = <-d.free
}

// finish ends the stream and gives its digest and length.
func (d *digester) finish() (digest.Digest, int64, error) {
	if d.err == nil && len(d.block) > 0 {
		d.flush()
	}
	close(d.blocks)
	return digest.NewDigest(digest.SHA256, <-d.sum), d.size, d.err
}
