//go:build linux

package worker

import (
	"context"
	"errors"
	"os"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/userns"
)

// showBind shows what is selected of an input: as it lies where that cannot change, else a copy. What
// the command writes reaches neither.
func (m *mounts) showBind(ctx context.Context, one *input.Mount, in *input.Input) (shown, error) {
	files, err := m.selected(ctx, in)
	if err != nil {
		return shown{}, err
	}
	defer files.Close()
	info, err := files.Stat()
	if err != nil {
		return shown{}, errors.Join(err, files.done())
	}
	points := m.inside(one.Target)
	switch {
	case m.w.kind == userns.Plain: // the sandbox makes a copy, to which the command may write
	case info.IsDir() && (!one.ReadOnly || lacks(files.File, points)):
		root, release, err := m.w.spaces.Over(files.File, points)
		if err != nil {
			return shown{}, errors.Join(err, files.done())
		}
		return m.w.showFixed(root, func() error { return errors.Join(release(), files.done()) })
	case !info.IsDir() && !one.ReadOnly:
		own, err := m.copyOf(ctx, files.tree)
		if err := errors.Join(err, files.done()); err != nil {
			return shown{}, err
		}
		f, err := own.open(files.Name())
		if err != nil {
			return shown{}, errors.Join(err, own.remove())
		}
		defer f.Close()
		return m.w.showFixed(f, own.remove)
	}
	return m.w.showFixed(files.File, files.done)
}

// lacks says that a directory lacks one of the mount points.
func lacks(dir *os.File, points []string) bool {
	for _, p := range points {
		f, err := filecopy.OpenShown(dir, p, p)
		if err != nil {
			return true
		}
		f.Close()
	}
	return false
}

// selected is the one directory or file that is selected of an input, open as a mere path. Nobody
// changes it until done, whose caller has closed it.
type selected struct {
	*os.File
	tree filecopy.Tree // that selects the same
	done func() error
}

func (m *mounts) selected(ctx context.Context, in *input.Input) (s selected, err error) {
	s.done = func() error { return nil }
	if in.Fixed() {
		if _, err := in.Digest(ctx); err != nil {
			return s, err
		}
		if s.tree, err = in.Open(ctx); err == nil {
			s.File, err = in.OpenSelected(ctx)
		}
		return s, err
	}
	c, err := m.w.copies.take(ctx, m, in)
	if err != nil {
		return s, err
	}
	s.done = func() error { return m.w.copies.leave(c) }
	s.tree = filecopy.Tree{Root: c.dir, Owners: c.owners, Selection: filecopy.Selection{Patterns: []string{copiedName}}}
	src := in.Source()
	if s.File, err = c.open(src.Selected()); err != nil {
		return s, errors.Join(err, s.done())
	}
	return s, nil
}
