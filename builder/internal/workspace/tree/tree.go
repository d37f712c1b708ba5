//go:build linux

// Package tree makes workspaces where nothing can be mounted: a root file system is a plain directory in
// the store's scratch directory, made of the layers when it is first needed, and changed in
// place by the steps that follow. What a step has changed is found by a list of the files as they were,
// without reading them. The layers lie in the store as tar files (storage.DriverTree).
package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
)

// Driver is a workspace.Driver.
type Driver struct {
	store *storage.Store

	mu       sync.Mutex
	trees    []*tree // in the order of their last use
	removing sync.WaitGroup
	removed  error // of what could not be removed
}

// New makes a driver for the layers of a store with the driver tree.
func New(store *storage.Store) *Driver { return &Driver{store: store} }

// Close removes the trees.
func (d *Driver) Close() error {
	d.mu.Lock()
	for _, t := range d.trees {
		d.remove(t)
	}
	d.trees = nil
	d.mu.Unlock()
	d.removing.Wait()
	return d.removed
}

// View is workspace.Driver's. Views of the same layer share a tree.
func (d *Driver) View(l *storage.Layer) (workspace.View, error) {
	t, err := d.share(context.Background(), l)
	if err != nil {
		return nil, err
	}
	root, err := reopen(t.root)
	if err != nil {
		d.release(t)
		return nil, err
	}
	return &view{driver: d, tree: t, root: root, layer: l}, nil
}

// view is a workspace.View.
type view struct {
	driver *Driver
	tree   *tree
	root   *os.File
	layer  *storage.Layer
}

func (v *view) Root() *os.File         { return v.root }
func (v *view) Owners() *owners.Owners { return v.tree.owners }
func (v *view) Intact() error          { return v.driver.store.Intact(v.layer) }

func (v *view) Close() error {
	err := v.root.Close()
	v.driver.release(v.tree)
	return errors.Join(err, v.Intact())
}

// space is a workspace.Workspace.
type space struct {
	driver *Driver
	tree   *tree
	ends   []func() error
}

func (s *space) Root() *os.File         { return s.tree.root }
func (s *space) Owners() *owners.Owners { return s.tree.owners }
func (s *space) Ahead() filecopy.Ahead  { return nil }
func (s *space) Path() string           { return s.tree.path() }

func (s *space) Temp() (string, error) {
	dir, remove, err := s.driver.store.ScratchDir("temp-")
	if err == nil {
		s.ends = append(s.ends, remove)
	}
	return dir, err
}

func (s *space) end() (err error) {
	for _, end := range s.ends {
		err = errors.Join(err, end())
	}
	return err
}

// Make is workspace.Driver's.
func (d *Driver) Make(ctx context.Context, below *storage.Layer, c workspace.Change, do func(workspace.Workspace) error) (*storage.Layer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	on := below
	if c.Apart {
		on = nil
	}
	t, err := d.take(ctx, on)
	if err != nil {
		return nil, err
	}
	l, err := d.make(ctx, t, below, c, do)
	if l == nil || c.Apart && below != nil {
		d.drop(t)
		return l, err
	}
	d.mu.Lock()
	t.layer = l
	d.mu.Unlock()
	d.release(t)
	return l, nil
}

// make changes a tree that was taken.
func (d *Driver) make(ctx context.Context, t *tree, below *storage.Layer, c workspace.Change, do func(workspace.Workspace) error) (*storage.Layer, error) {
	m := &making{tree: t, change: c}
	fill := func(tar io.Writer) ([]string, error) {
		s := &space{driver: d, tree: t}
		err := m.run(func() error { return do(s) })
		if ended := s.end(); err == nil {
			err = ended
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || c.Discard {
			return nil, err
		}
		return m.pack(tar)
	}
	if !c.Discard {
		return d.store.MakeTar(ctx, below, fill)
	}
	_, err := fill(nil)
	if lost := d.store.Intact(below); lost != nil {
		err = lost
	}
	return nil, err
}

// Repeat is workspace.Driver's: it copies the layer's tar.
func (d *Driver) Repeat(ctx context.Context, below, made *storage.Layer) (*storage.Layer, error) {
	use := d.store.Use(made)
	defer use.Close()
	if err := use.Claim(); err != nil {
		return nil, err
	}
	return d.store.MakeTar(ctx, below, func(tar io.Writer) (_ []string, err error) {
		from, err := d.store.OpenTar(made)
		if err != nil {
			return nil, err
		}
		defer from.Close()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := io.Copy(tar, from); err != nil {
			return nil, fmt.Errorf("copying a layer: %w", err)
		}
		return nil, d.store.Intact(made)
	})
}
