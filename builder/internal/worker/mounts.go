//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// mounts are what one command sees over its files. They are found before the step is looked up,
// for what a bind shows counts for it; shown when the step has to be done; and closed when the
// command has ended, or was found.
type mounts struct {
	w    *worker
	call *wire.Call
	list []input.Mount
	env  input.Env // where inputs are found
	// binds are those of the list, in its order, whose content counts.
	binds  input.Inputs
	caches caches
	shown  []shown
}

// shown is a mount that the sandbox can put in its place.
type shown struct {
	mount   sandbox.Mount // without a Target for what has no place, such as a variable
	env     []string      // variables that come with it
	release func() error  // once the command has ended; nil when nothing is to be undone
}

// findMounts finds what the binds of a command show. They must be closed.
func (w *worker) findMounts(ctx context.Context, call *wire.Call, list []input.Mount, of step.Options) (*mounts, error) {
	m := &mounts{w: w, call: call, list: list, env: w.inputsOf(call, of)}
	if err := input.CheckMounts(list); err != nil {
		return nil, err
	}
	for i := range list {
		if !list[i].IsBind() {
			continue
		}
		src := *list[i].Bind
		src.Shown = true
		in, err := input.Find(ctx, m.env, src)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", &list[i], err), m.close())
		}
		m.binds = append(m.binds, in)
	}
	return m, nil
}

// content is step.Operation.Content.
func (m *mounts) content() func(context.Context) (string, error) {
	if len(m.binds) == 0 {
		return nil
	}
	return m.binds.Digest
}

// show makes all that the command sees, its own files among them.
func (m *mounts) show(ctx context.Context, files map[string]string) error {
	if err := m.caches.take(ctx, m); err != nil {
		return err
	}
	if len(files) > 0 {
		scripts, err := m.w.showScripts(files)
		if err != nil {
			return err
		}
		m.shown = append(m.shown, scripts)
	}
	// Those that lie in others first, for which these may need mount points; they are mounted in the
	// order of m.shown.
	for _, i := range slices.Backward(input.MountOrder(m.list)) {
		s, err := m.showOne(ctx, i)
		if err != nil {
			return fmt.Errorf("%s: %w", &m.list[i], err)
		}
		s.mount.Target, s.mount.ReadOnly = m.list[i].Target, s.mount.ReadOnly || m.list[i].ReadOnly
		m.shown = slices.Insert(m.shown, 0, s)
	}
	return nil
}

// inside are the mount points of what is shown below a target, as paths in that, those of directories
// with a slash at the end.
func (m *mounts) inside(target string) []string {
	var points []string
	for _, s := range m.shown {
		at, in := strings.CutPrefix(s.mount.Target, target+"/")
		switch {
		case !in:
		case s.mount.Kind.IsFile():
			points = append(points, "/"+at)
		default:
			points = append(points, "/"+at+"/")
		}
	}
	return points
}

// showOne makes the mount of a number. When that fails, it leaves nothing.
func (m *mounts) showOne(ctx context.Context, i int) (shown, error) {
	switch one := &m.list[i]; {
	case one.Cache != nil:
		return m.caches.show(m, i)
	case one.Tmpfs != nil:
		return shown{mount: sandbox.Mount{Kind: sandbox.Tmpfs, Size: one.Tmpfs.Size, Mode: one.Tmpfs.Mode}}, nil
	case one.Secret != nil:
		return m.showSecret(ctx, i)
	case one.SSH != nil:
		return m.showAgent(ctx, i)
	}
	n := 0
	for _, before := range m.list[:i] {
		if before.IsBind() {
			n++
		}
	}
	return m.showBind(ctx, &m.list[i], m.binds[n])
}

// places are the mounts for the sandbox, in their order.
func (m *mounts) places() []sandbox.Mount {
	var all []sandbox.Mount
	for _, s := range m.shown {
		if s.mount.Target != "" {
			all = append(all, s.mount)
		}
	}
	return all
}

// variables are those that come with the mounts.
func (m *mounts) variables() []string {
	var all []string
	for _, s := range m.shown {
		all = append(all, s.env...)
	}
	return all
}

// close undoes what was shown, last first.
func (m *mounts) close() error {
	var err error
	for _, s := range slices.Backward(m.shown) {
		if s.release != nil {
			err = errors.Join(err, s.release())
		}
	}
	m.shown = nil
	return errors.Join(err, m.caches.close(), m.binds.Close())
}

// read is what the binds have shown, once the command has ended. It fails when that has gone away
// meanwhile.
func (m *mounts) read(ctx context.Context) (string, error) {
	if len(m.binds) == 0 {
		return "", nil
	}
	var digests []string
	for _, in := range m.binds {
		digest, err := in.Digest(ctx)
		if err != nil {
			return "", err
		}
		digests = append(digests, digest)
	}
	return m.binds.Read(digests, nil)
}

// showScripts shows a command's own files in /dev/pipes.
func (w *worker) showScripts(texts map[string]string) (shown, error) {
	dir := filepath.Join(w.mnt, "scripts", strconv.Itoa(w.next()))
	s := shown{
		mount:   sandbox.Mount{Kind: sandbox.BindDir, Source: dir, Target: "/dev/pipes", ReadOnly: true, Owned: true},
		release: func() error { return os.RemoveAll(dir) },
	}
	err := os.Mkdir(dir, 0o755)
	for name, text := range texts {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	if err != nil {
		return shown{}, errors.Join(err, s.release())
	}
	return s, nil
}
