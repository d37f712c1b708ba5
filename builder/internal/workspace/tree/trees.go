//go:build linux

package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/extract"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage"
)

// maxIdle is how many trees are kept that nobody uses: those of the stages that go on, and of what is
// copied from. A tree takes as much room as its image.
const maxIdle = 4

// A tree has the files of a layer, and of those below it, in a directory.
type tree struct {
	dir    string // with what else belongs to the tree
	gone   func() error
	root   *os.File
	clock  *os.File // see settle
	owners *owners.Owners

	// The driver's mutex guards these.
	layer *storage.Layer // whose files it has, or will have once it is ready
	users int            // those who read it, or taken
	ready chan struct{}  // closed when it has the files of layer, or failed

	failed error // before ready is closed

	// list has the files as they are in the layer, nil when it was not made yet. It belongs to who has
	// taken the tree.
	list *node
	sums map[uint64]sum // of the files with several names, by their inodes
}

// taken is the number of users of a tree that is being changed, or made for that.
const taken = -1

func (t *tree) path() string { return filepath.Join(t.dir, "root") }

// share gives the tree of a layer to one who only reads it.
func (d *Driver) share(ctx context.Context, l *storage.Layer) (*tree, error) {
	if err := d.store.Intact(l); err != nil {
		return nil, err
	}
	d.mu.Lock()
	if i := slices.IndexFunc(d.trees, func(t *tree) bool { return t.users != taken && t.layer.ID() == l.ID() }); i >= 0 {
		t := d.trees[i]
		t.users++
		d.mu.Unlock()
		<-t.ready
		if t.failed != nil {
			d.release(t)
			return nil, t.failed
		}
		return t, nil
	}
	return d.have(ctx, l, 1)
}

// take gives a tree of a layer to one who will change it.
func (d *Driver) take(ctx context.Context, l *storage.Layer) (*tree, error) {
	if err := d.store.Intact(l); err != nil {
		return nil, err
	}
	d.mu.Lock()
	return d.have(ctx, l, taken)
}

// have makes a tree for a layer, of one that nobody uses and that has the files of a layer below, or
// of nothing. The driver is locked, and unlocked meanwhile.
func (d *Driver) have(ctx context.Context, l *storage.Layer, users int) (*tree, error) {
	t := d.idle(l)
	var from *storage.Layer
	if t == nil {
		t = &tree{}
		d.trees = append(d.trees, t)
	} else {
		from = t.layer
	}
	t.users, t.layer, t.ready = users, l, make(chan struct{})
	d.mu.Unlock()
	if t.root == nil {
		t.failed = d.empty(t)
	}
	if t.failed == nil {
		t.failed = d.raise(ctx, t, from, l)
	}
	close(t.ready)
	if t.failed != nil {
		err := t.failed
		if users == taken {
			d.drop(t)
		} else {
			d.release(t)
		}
		if lost := d.store.Intact(l); lost != nil {
			return nil, lost
		}
		return nil, err
	}
	return t, nil
}

// idle is the tree that nobody uses which has most of a layer and of those below it, or nil.
func (d *Driver) idle(l *storage.Layer) *tree {
	for ; l != nil; l = l.Parent() {
		for _, t := range d.trees {
			if t.users == 0 && t.layer.ID() == l.ID() {
				return t
			}
		}
	}
	return nil
}

// empty makes the directory of a tree, with an empty root.
func (d *Driver) empty(t *tree) error {
	var err error
	if t.dir, t.gone, err = d.store.ScratchDir("tree-"); err != nil {
		return err
	}
	if err := os.Mkdir(t.path(), 0o755); err != nil {
		return err
	}
	if t.root, err = os.Open(t.path()); err != nil {
		return err
	}
	if t.clock, err = os.OpenFile(filepath.Join(t.dir, "clock"), os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	t.owners, t.list = owners.New(), &node{}
	return resetRoot(t)
}

// raise puts layers on top of the one that a tree has.
func (d *Driver) raise(ctx context.Context, t *tree, from, to *storage.Layer) error {
	var layers []*storage.Layer
	for l := to; l.ID() != from.ID(); l = l.Parent() {
		layers = append(layers, l)
	}
	if len(layers) > 0 {
		t.list = nil
	}
	for _, l := range slices.Backward(layers) {
		if err := d.apply(ctx, t, l); err != nil {
			return fmt.Errorf("unpacking the layer %.12s: %w", l.ID(), err)
		}
	}
	return nil
}

func (d *Driver) apply(ctx context.Context, t *tree, l *storage.Layer) error {
	tar, err := d.store.OpenTar(l)
	if err != nil {
		return err
	}
	defer tar.Close()
	o := extract.Options{Owners: t.owners}
	o.MaxBytes, o.MaxFiles = d.store.LayerLimits()
	return extract.Layer(ctx, t.root, tar, o)
}

// release ends the use of a tree.
func (d *Driver) release(t *tree) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t.users = max(0, t.users-1)
	if t.users > 0 {
		return
	}
	d.forget(t)
	if t.failed != nil {
		d.remove(t)
		return
	}
	d.trees = append(d.trees, t)
	idle := 0
	for _, t := range slices.Backward(slices.Clone(d.trees)) {
		if t.users != 0 {
			continue
		}
		if idle++; idle > maxIdle {
			d.forget(t)
			d.remove(t)
		}
	}
}

// drop ends the use of a tree that was taken, and removes it.
func (d *Driver) drop(t *tree) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(t)
	d.remove(t)
}

func (d *Driver) forget(t *tree) {
	d.trees = slices.DeleteFunc(d.trees, func(o *tree) bool { return o == t })
}

// remove removes a tree that nobody will use any more, beside what else is done. The driver is locked.
func (d *Driver) remove(t *tree) {
	if t.gone == nil {
		return // it was not made
	}
	d.removing.Go(func() {
		for _, f := range []*os.File{t.root, t.clock} {
			if f != nil {
				f.Close()
			}
		}
		err := t.gone()
		d.mu.Lock()
		d.removed = errors.Join(d.removed, err)
		d.mu.Unlock()
	})
}

// reopen opens a directory once more.
func reopen(dir *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), dir.Name()), nil
}
