//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/stringid"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/internal/layertar"
	"github.com/oakum-build/oakum/storage/remove"
)

// Layer is a layer of the store, or one that is being registered in it. Its files can
// be mounted before that has finished. The nil Layer is the empty root.
type Layer struct {
	stream
	id      string
	parent  *Layer
	gone    absence    // see Gone
	mu      sync.Mutex // guards the following three
	dir     *os.File   // O_PATH: survives the rename into place; nil when the path is known
	path    string
	found   inode         // of the directory, once it was opened
	notices []string      // set before MakeLayer returns
	done    chan struct{} // closed when registered or failed
	err     error
	created time.Time
	chain   digest.Digest // see Chain
	dated   bool          // created, or that of a layer below, is not the store's: see LayerOf
}

// stream is what a layer is as a tar.
type stream struct {
	diffID digest.Digest
	size   int64
	ahead  bool // see Layer.Ahead
}

// ID is the layer's id in the store, "" for the nil Layer.
func (l *Layer) ID() string {
	if l == nil {
		return ""
	}
	return l.id
}

// Parent is the layer below.
func (l *Layer) Parent() *Layer {
	if l == nil {
		return nil
	}
	return l.parent
}

// failed is the error of a layer that was filled: that of the one below, if that has failed.
func (l *Layer) failed(err error) error {
	var below *LayerError
	if parent := l.parent.Wait(context.Background()); errors.As(parent, &below) {
		return parent
	}
	return &LayerError{l.id, err}
}

// Wait waits until the layer and those below are registered in the store.
func (l *Layer) Wait(ctx context.Context) error {
	if l == nil {
		return nil
	}
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// DiffID is the digest of the layer as an uncompressed tar. It, Size and Created are
// known after Wait.
func (l *Layer) DiffID() digest.Digest { return l.diffID }

// Size is the length in bytes of the layer as an uncompressed tar.
func (l *Layer) Size() int64 { return l.size }

// Created is when the layer was registered.
func (l *Layer) Created() time.Time { return l.created }

// Ahead says whether the layer's tar was digested while its files were written, see Staging.Ahead. It is known
// after Wait.
func (l *Layer) Ahead() bool { return l.ahead }

// Notices say what the files of a layer that MakeLayer made lost, for layers do not hold it.
func (l *Layer) Notices() []string { return l.notices }

// Lowers opens the layer's directories, the topmost first, as overlay's lower
// directories. The caller closes them.
func (l *Layer) Lowers() ([]*os.File, error) {
	var dirs []*os.File
	for ; l != nil; l = l.parent {
		f, err := l.open()
		if err != nil {
			closeAll(dirs)
			return nil, err
		}
		dirs = append(dirs, f)
	}
	return dirs, nil
}

func (l *Layer) open() (*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir != nil {
		fd, err := unix.FcntlInt(l.dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		return os.NewFile(uintptr(fd), l.dir.Name()), nil
	}
	f, err := openPath(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, l.removed()
	}
	if err != nil {
		return nil, fmt.Errorf("layer %.12s: %w", l.id, err)
	}
	if err := l.know(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// inode tells a directory from another that was made later in its place, also with the
// same number: the layers of an image that is pulled again have the ids that they had.
type inode struct {
	major, minor uint32
	ino          uint64
	born         unix.StatxTimestamp // zero where the file system does not know it
}

func inodeOf(dir int, path string, flags int) (inode, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, path, flags, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return inode{}, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return inode{st.Dev_major, st.Dev_minor, st.Ino, st.Btime}, nil
}

// know remembers the layer's directory. The caller holds l.mu.
func (l *Layer) know(f *os.File) error {
	is, err := inodeOf(int(f.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	if l.found == (inode{}) {
		l.found = is
	} else if l.found != is {
		return l.removed()
	}
	return nil
}

// present says whether the layer's files are where they were found.
func (l *Layer) present() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir != nil || l.path == "" {
		return true // it is being made
	}
	is, err := inodeOf(unix.AT_FDCWD, l.path, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && (l.found == inode{} || l.found == is)
}

// registered says whether the store has the layer.
func (l *Layer) registered() bool {
	select {
	case <-l.done:
		return l.err == nil
	default:
		return false
	}
}

func openPath(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// diffDir is where a layer's files are. The driver is asked itself, for the store's
// method would lock the store for writing.
func (s *Store) diffDir(id string) (string, error) {
	if s.cs == nil {
		return filepath.Join(s.layersHome(), id, "diff"), nil
	}
	driver, err := s.cs.GraphDriver()
	if err != nil {
		return "", err
	}
	d, ok := driver.(graphdriver.DriverWithDiffer)
	if !ok {
		return "", ErrDriver
	}
	return d.DifferTarget(id)
}

// Staging is where a step makes its layer: Upper is the layer's root and Work a
// directory for overlay beside it, on the same file system.
type Staging struct {
	Upper, Work string

	making *making
}

// Plain says that Upper is filled as it stands, not through an overlay mount: nothing in it is a
// mark of overlay's, whatever it looks like.
func (s Staging) Plain() { s.making.plain = true }

// Ahead is told what is written below Upper, in the order of the layer's tar (each directory before what is in it,
// names sorted), so that the layer's files need not be read again for its digest. It need not be told all, and
// may be told what is not so: if in the end the directory is another, it is read.
// It is nil, which takes nothing, where it cannot be made.
func (s Staging) Ahead() *layertar.Ahead { return s.making.aheadNow() }

// Temp makes a directory beside Upper, which goes as soon as the layer is registered or given up.
func (s Staging) Temp() (string, error) { return os.MkdirTemp(filepath.Dir(s.Upper), "temp-") }

// MakeLayer makes a layer on top of parent. It calls fill with a fresh staging
// directory, and returns as soon as fill has; the digest and the registration go on
// beside what the caller does next (Layer.Wait). When fill fails, or registering
// does, nothing is left. When parent or a layer below has been removed meanwhile, it fails
// with ErrRemoved, whatever fill says, for fill has not seen what it should.
// Nobody removes the layer before a Use of it has ended, or the Store is closed.
// What fill made is what every reader of the layer will see: a
// file that a layer cannot hold is tarfilter.ErrUnfit, and what layers do not hold of a file is
// undone and told by Layer.Notices.
func (s *Store) MakeLayer(ctx context.Context, parent *Layer, fill func(Staging) error) (*Layer, error) {
	if s.Driver() != DriverOverlay {
		return nil, fmt.Errorf("%w: a layer is made as a directory with the driver overlay alone, not with %s", ErrDriver, s.Driver())
	}
	m := s.making(parent)
	m.fill = fill
	return s.makeLayer(m, m.make)
}

func (s *Store) making(parent *Layer) *making {
	l := &Layer{id: stringid.GenerateRandomID(), parent: parent, done: make(chan struct{})}
	return &making{store: s, layer: l, filled: make(chan error, 1)}
}

// makeLayer calls create for a fresh directory, and returns when that has called m.hasFilled.
func (s *Store) makeLayer(m *making, create makeFunc) (*Layer, error) {
	l := m.layer
	s.made(l)
	go func() {
		defer close(l.done)
		if l.err = s.register(l, create); l.err != nil {
			s.notMade(l)
		}
		if l.err != nil && m.isFilled {
			l.err = l.failed(l.err)
		}
		select {
		case m.filled <- l.err:
		default:
		}
	}()
	if err := <-m.filled; err != nil {
		<-l.done
		l.settle("")
		if lost := s.Intact(l.parent); lost != nil {
			return nil, lost // and so the rest
		}
		return nil, err
	}
	return l, nil
}

// settle takes the path in place of the open directory, of which a store has more than
// a process may have files open.
func (l *Layer) settle(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir != nil {
		_ = l.know(l.dir)
		l.dir.Close()
		l.dir, l.path = nil, path
	}
}

// makeFunc fills a directory and gives what containers/storage needs to take over what is in it.
type makeFunc func(dir string) (*graphdriver.DriverWithDifferOutput, error)

func (s *Store) register(l *Layer, create makeFunc) error {
	scratch, err := s.Scratch()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(scratch, "layer-")
	if err != nil {
		return err
	}
	defer func() { _ = remove.Path(dir) }() // or Close does
	out, err := create(dir)
	if err != nil {
		return err
	}
	if err = l.parent.Wait(context.Background()); err == nil {
		err = s.noteMade(l)
	}
	if err != nil {
		if out.TarSplit != nil {
			err = errors.Join(err, out.TarSplit.Close())
		}
		return err
	}
	got, err := s.cs.ApplyStagedLayer(cs.ApplyStagedLayerOptions{
		ID: l.id, ParentLayer: l.parent.ID(), DiffOutput: out, DiffOptions: &graphdriver.ApplyDiffWithDifferOpts{},
		LayerOptions: &cs.LayerOptions{Flags: map[string]any{layerFlag: true}},
	})
	if err != nil {
		if lost := s.Intact(l.parent); lost != nil {
			return lost
		}
		return fmt.Errorf("registering the layer: %w", err)
	}
	l.created, l.diffID, l.size = got.Created, out.UncompressedDigest, out.Size
	l.chain = chainOf(l.parent, l.id, l.diffID)
	path, err := s.diffDir(l.id)
	if err != nil {
		return err
	}
	l.settle(path)
	s.indexMade(got)
	return nil
}

// making makes a build step's changes in the process's scratch directory. The overlay
// driver has a staging directory for such, but older releases of containers/storage,
// such as Debian 12's, remove all that is in it, also what is in use, whenever a podman
// or buildah ends.
type making struct {
	store    *Store
	layer    *Layer
	fill     func(Staging) error
	filled   chan error
	isFilled bool // of register's goroutine
	plain    bool // see Staging.Plain
	ahead    *layertar.Ahead
	split    *split // of ahead
}

// make fills dir/diff and gives what containers/storage needs to take it over.
func (m *making) make(dir string) (*graphdriver.DriverWithDifferOutput, error) {
	upper, work := filepath.Join(dir, "diff"), filepath.Join(dir, "work")
	if err := errors.Join(os.Mkdir(upper, rootMode), os.Mkdir(work, 0o700)); err != nil {
		return nil, err
	}
	defer m.giveUp()
	fill := m.fill
	m.fill = nil // with all that it holds: layers can wait long to be registered
	if err := fill(Staging{Upper: upper, Work: work, making: m}); err != nil {
		return nil, err
	}
	opened, err := openPath(upper)
	if err != nil {
		return nil, err
	}
	attrs, err := m.guard(opened)
	if err != nil {
		opened.Close()
		return nil, err
	}
	m.hasFilled(opened)
	if err := remove.Path(work); err != nil {
		return nil, err
	}
	out, err := m.digest(opened, attrs)
	if err != nil {
		return nil, fmt.Errorf("digesting the layer: %w", err)
	}
	mode := rootMode
	out.Target, out.RootDirMode = upper, &mode
	return &out, nil
}

// hasFilled lets the caller of MakeLayer go on with the layer, whose directory is dir.
func (m *making) hasFilled(dir *os.File) {
	m.layer.mu.Lock()
	m.layer.dir = dir
	m.layer.mu.Unlock()
	m.isFilled = true
	m.filled <- nil
}
