//go:build linux

// Package overlay makes workspaces of the kernel's overlay: the layers of a
// containers/storage store are its lower directories, and the upper one is where the store
// will have the new layer. It is used in the mount namespace of a worker alone.
package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/mountpoint"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
)

// Driver is a workspace.Driver.
type Driver struct {
	store    *storage.Store
	dir      string
	rootless bool

	mu     sync.Mutex
	serial int
	spare  map[string]*os.File // see spare.go
}

// New makes a driver for the layers of a store. It mounts in dir, a directory that nobody else
// sees or uses. rootless says that this process is not root of the machine.
func New(store *storage.Store, dir string, rootless bool) *Driver {
	return &Driver{store: store, dir: dir, rootless: rootless, spare: map[string]*os.File{}}
}

// Close lets go of the directories that the driver has made.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for _, f := range d.spare {
		err = errors.Join(err, f.Close())
	}
	clear(d.spare)
	return err
}

// View is workspace.Driver's.
func (d *Driver) View(l *storage.Layer) (workspace.View, error) {
	lowers, err := l.Lowers()
	if err != nil {
		return nil, err
	}
	defer closeAll(lowers)
	empty, err := d.empty()
	if err != nil {
		return nil, err
	}
	if len(lowers) == 0 {
		root, err := reopen(empty)
		if err != nil {
			return nil, err
		}
		return &view{root: root, driver: d}, nil
	}
	dirs := lowers
	if len(dirs) == 1 { // overlay wants two when there is no upper one
		dirs = append(dirs[:1:1], empty)
	}
	m, err := d.mount(dirs, nil)
	if err != nil {
		return nil, err
	}
	return &view{root: m.root, mounted: m, layer: l, driver: d}, nil
}

// view is a workspace.View.
type view struct {
	root    *os.File
	mounted *mounted // nil for that of nothing
	layer   *storage.Layer
	driver  *Driver
}

func (v *view) Root() *os.File         { return v.root }
func (v *view) Owners() *owners.Owners { return nil }
func (v *view) Intact() error          { return v.driver.store.Intact(v.layer) }

func (v *view) Close() error {
	if v.mounted == nil {
		return v.root.Close()
	}
	return errors.Join(v.mounted.close(), v.Intact())
}

// errDiscard makes MakeLayer throw away a layer that was made.
var errDiscard = errors.New("discarded")

// Make is workspace.Driver's.
func (d *Driver) Make(ctx context.Context, below *storage.Layer, c workspace.Change, do func(workspace.Workspace) error) (*storage.Layer, error) {
	if c.Fill {
		return nil, errors.New("mount points of an overlay are not filled, but mounted over")
	}
	l, err := d.store.MakeLayer(ctx, below, func(staging storage.Staging) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		on := below
		if c.Apart {
			on = nil
		}
		var err error
		if on == nil && len(c.Mounts) == 0 {
			err = d.plain(staging, c.Times, do)
		} else {
			err = d.overlaid(on, staging, c, do)
		}
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil:
			return err
		case c.Discard:
			return errDiscard
		}
		return limitTimes(staging.Upper, c.Times)
	})
	if errors.Is(err, errDiscard) {
		return nil, nil
	}
	return l, err
}

// space is a workspace.Workspace.
type space struct {
	root    *os.File
	path    string
	staging storage.Staging
	times   []workspace.Times
}

func (s *space) Root() *os.File         { return s.root }
func (s *space) Owners() *owners.Owners { return nil }
func (s *space) Path() string           { return s.path }
func (s *space) Temp() (string, error)  { return s.staging.Temp() }

// Ahead is workspace.Workspace's. It is asked for once.
func (s *space) Ahead() filecopy.Ahead {
	a := s.staging.Ahead()
	for _, t := range s.times {
		ts, err := unix.TimeToTimespec(t.Limit)
		if err != nil {
			return nil // limitTimes says it
		}
		a.LimitTimes(ts, t.All)
	}
	return a
}

// plain does without a mount where there is nothing below: the upper directory itself is the
// root. So a layer that is made apart has no marks that would hide what it is put on.
func (d *Driver) plain(staging storage.Staging, times []workspace.Times, do func(workspace.Workspace) error) error {
	staging.Plain()
	root, err := os.Open(staging.Upper)
	if err != nil {
		return err
	}
	return errors.Join(do(&space{root, staging.Upper, staging, times}), root.Close())
}

// overlaid mounts the layers with the staging directory above them. Where a sandbox will
// mount, a stub goes below all.
func (d *Driver) overlaid(below *storage.Layer, staging storage.Staging, c workspace.Change, do func(workspace.Workspace) error) (err error) {
	lowers, err := below.Lowers()
	if err != nil {
		return err
	}
	defer closeAll(lowers)
	if err := keep(lowers, staging.Upper, c.Kept); err != nil {
		return err
	}
	under, err := d.under(c.Mounts)
	if err != nil {
		return err
	}
	dirs := append(lowers[:len(lowers):len(lowers)], under...)
	m, err := d.mount(dirs, &staging)
	if err != nil {
		return err
	}
	t := mountpoint.Make(m.root, nil, c.Mounts)
	defer func() {
		err = errors.Join(err, m.close())
		prune(staging.Upper, t)
	}()
	if err := do(&space{m.root, m.path, staging, c.Times}); err != nil {
		return err
	}
	return t.Remove()
}

// limitTimes sets the times of an upper directory's files.
func limitTimes(upper string, times []workspace.Times) error {
	for _, t := range times {
		dir, err := os.Open(upper)
		if err != nil {
			return err
		}
		if err := errors.Join(filecopy.LimitTimes(dir, t.Limit, t.All), dir.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Repeat is workspace.Driver's: it copies the layer's files, with their times.
func (d *Driver) Repeat(ctx context.Context, below, made *storage.Layer) (*storage.Layer, error) {
	use := d.store.Use(made)
	defer use.Close()
	if err := use.Claim(); err != nil {
		return nil, err
	}
	return d.store.MakeLayer(ctx, below, func(staging storage.Staging) (err error) {
		staging.Plain()
		dirs, err := made.Lowers()
		if err != nil {
			return err
		}
		defer closeAll(dirs)
		root, err := os.Open(staging.Upper)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(d.store.Intact(made), err, root.Close()) }()
		_, err = filecopy.Copy(ctx, filecopy.Target{Root: root, Dest: "/"}, []filecopy.Tree{{Root: dirs[0]}})
		return err
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

// place is a new name in the directory for mounts.
func (d *Driver) place() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serial++
	return filepath.Join(d.dir, fmt.Sprintf("m%d", d.serial))
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
