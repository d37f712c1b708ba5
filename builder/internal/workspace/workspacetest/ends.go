//go:build linux

package workspacetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/usage"
)

// all kinds of changes, as far as it matters to how they end.
var kinds = map[string]workspace.Change{
	"plain": {}, "apart": {Apart: true}, "mounts": {Mounts: points, Kept: []string{"/dev"}}, "discard": {Discard: true}, "discard mounts": {Discard: true, Mounts: points},
}

// discard makes no layer.
func discard(t *testing.T, open Implementation) {
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh(before))
	count, was := m.layers(t), m.see(t, below)
	for _, c := range []workspace.Change{{Discard: true}, {Discard: true, Mounts: points}, {Discard: true, Apart: true}} {
		for _, on := range []*storage.Layer{nil, below} {
			done := false
			l, err := m.Make(t.Context(), on, c, func(w workspace.Workspace) error {
				done = true
				return in(sh("rm -rf d e; mkdir new; chmod 700 new"))(w)
			})
			if err != nil || l != nil || !done {
				t.Errorf("%+v: layer %v, %v", c, l, err)
			}
			if _, err := m.Make(t.Context(), on, c, in(sh("touch d/.wh.x .wh.x || true"))); err != nil {
				t.Errorf("%+v: what no layer is made of: %v", c, err)
			}
		}
	}
	m.unchanged(t, below, count, was)
}

// unchanged checks that nothing is left of what was done.
func (m *machine) unchanged(t *testing.T, l *storage.Layer, count int, was files) {
	t.Helper()
	if now := m.layers(t); now != count {
		t.Errorf("%d layers instead of %d", now, count)
	}
	if left := m.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	same(t, "afterwards", m.see(t, l), was)
}

// failure is that of what was to be done.
func failure(t *testing.T, open Implementation) {
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh(before))
	count, was := m.layers(t), m.see(t, below)
	failed := errors.New("it fails")
	for name, c := range kinds {
		for _, on := range []*storage.Layer{nil, below} {
			l, err := m.Make(t.Context(), on, c, func(w workspace.Workspace) error {
				if _, err := w.Temp(); err != nil {
					return err
				}
				if err := in(sh("rm -rf d; mkdir -p n/o; chmod 0 n"))(w); err != nil {
					return err
				}
				return fmt.Errorf("as said, %w", failed)
			})
			if l != nil || !errors.Is(err, failed) {
				t.Errorf("%s: layer %v, %v", name, l, err)
			}
		}
	}
	m.unchanged(t, below, count, was)
}

// cancel ends before or during what is to be done.
func cancel(t *testing.T, open Implementation) {
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh(before))
	count, was := m.layers(t), m.see(t, below)
	for name, c := range kinds {
		for _, on := range []*storage.Layer{nil, below} {
			ctx, stop := context.WithCancel(t.Context())
			l, err := m.Make(ctx, on, c, func(w workspace.Workspace) error {
				err := in(sh("mkdir n; touch n/f"))(w)
				stop()
				return err
			})
			if l != nil || !errors.Is(err, context.Canceled) {
				t.Errorf("%s, during: layer %v, %v", name, l, err)
			}
			l, err = m.Make(ctx, on, c, func(workspace.Workspace) error {
				t.Errorf("%s is begun though it was cancelled", name)
				return nil
			})
			if l != nil || !errors.Is(err, context.Canceled) {
				t.Errorf("%s, before: layer %v, %v", name, l, err)
			}
		}
	}
	m.unchanged(t, below, count, was)
	// Once it was done, it is too late.
	ctx, stop := context.WithCancel(t.Context())
	l, err := m.Make(ctx, below, workspace.Change{}, in(sh("touch n")))
	stop()
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Error(err)
	}
}

// remove removes a layer, which nothing uses as far as the store knows, as another program would.
func (m *machine) remove(t *testing.T, l *storage.Layer) {
	t.Helper()
	m.image(t, l)
	images, err := m.store.Images()
	for _, img := range images {
		_, removed := m.store.Remove(img.ID, true, false)
		err = errors.Join(err, removed)
	}
	if err == nil {
		_, err = m.store.Prune(t.Context(), usage.Options{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.store.Layer(l.ID()); err == nil {
		t.Fatal("the layer is still there")
	}
}

// removed layers are not what was read or built on.
func removed(t *testing.T, open Implementation) {
	failed := errors.New("it fails for that")
	for name, c := range kinds {
		for _, result := range []error{nil, failed} {
			m := start(t, open)
			below := m.make(t, nil, workspace.Change{}, sh(before))
			top := m.make(t, below, workspace.Change{}, sh("touch top"))
			l, err := m.Make(t.Context(), top, c, func(w workspace.Workspace) error {
				m.remove(t, top)
				return errors.Join(in(sh("touch new"))(w), result)
			})
			if err == nil && l != nil {
				err = l.Wait(t.Context())
			}
			if !errors.Is(err, storage.ErrRemoved) && !c.Discard {
				t.Errorf("%s: layer %v, %v", name, l, err)
			}
			if now := m.layers(t); now != 0 {
				t.Errorf("%s: %d layers are left", name, now)
			}
			if _, err := m.Make(t.Context(), top, c, in(sh("touch new"))); !errors.Is(err, storage.ErrRemoved) && !c.Apart {
				t.Errorf("%s: made on what had gone: %v", name, err)
			}
		}
	}
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh(before))
	top := m.make(t, below, workspace.Change{}, sh("touch top"))
	v, err := m.View(top)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Intact(); err != nil {
		t.Error(err)
	}
	m.remove(t, top)
	if err := v.Intact(); !errors.Is(err, storage.ErrRemoved) {
		t.Errorf("it is intact: %v", err)
	}
	if err := v.Close(); !errors.Is(err, storage.ErrRemoved) {
		t.Errorf("it is closed: %v", err)
	}
	if v, err := m.View(top); !errors.Is(err, storage.ErrRemoved) {
		t.Errorf("it is seen: %v, %v", v, err)
	}
}

// concurrent views and changes of the same layers do not disturb each other.
func concurrent(t *testing.T, open Implementation) {
	m := start(t, open)
	layers := []*storage.Layer{nil}
	seen := []files{m.see(t, nil)}
	for i := range 3 {
		layers = append(layers, m.make(t, layers[i], workspace.Change{}, sh(fmt.Sprintf("mkdir -p d/%d; touch d/%[1]d/f f%[1]d; rm -f f%d", i, i-1))))
		seen = append(seen, m.see(t, layers[i+1]))
	}
	made := make([]*storage.Layer, 12)
	want := make([]files, len(made))
	var group sync.WaitGroup
	for i := range made {
		group.Go(func() {
			for n, l := range layers {
				v, err := m.View(l)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := describe(v)
				if err := errors.Join(err, v.Close()); err != nil {
					t.Error(err)
				}
				same(t, "a concurrent view", got, seen[n])
			}
			c := []workspace.Change{{}, {Mounts: points}, {Apart: true}}[i%3]
			var err error
			made[i], err = m.Make(t.Context(), layers[i%len(layers)], c, func(w workspace.Workspace) error {
				err := in(sh(fmt.Sprintf("mkdir -p d/0; touch d/0/new%d; rm -f f0 f1; touch mine%[1]d", i)))(w)
				if c.Mounts == nil && !c.Apart && err == nil {
					want[i], err = describe(w)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i, l := range made {
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := m.see(t, l)
		if want[i] != nil {
			same(t, "a concurrent change", got, want[i])
		}
		if mine := fmt.Sprintf("mine%d", i); got[mine] == "" || strings.Count(" "+got.names(), " mine") != 1 {
			t.Errorf("%s is not alone: %s", mine, got.names())
		}
	}
	for n, l := range layers {
		same(t, "afterwards", m.see(t, l), seen[n])
	}
}

// most is how many layers an image may have: containers/storage takes no more than 500.
const most = 490

// oneOfMany changes a file of the layer before and makes one; it removes the other one of the layer
// before, if it sees it. Without starting anything, for there are many.
func oneOfMany(i int) step {
	return func(dir string) error {
		d := dir + "/d"
		_ = os.Mkdir(d, 0o755)
		_ = os.Remove(fmt.Sprintf("%s/%d", d, i-1))
		return errors.Join(os.WriteFile(d+"/last", []byte(strconv.Itoa(i)), 0o644), os.WriteFile(fmt.Sprintf("%s/%d", d, i), nil, 0o644))
	}
}

// manyLayers are seen and built on.
func manyLayers(t *testing.T, open Implementation) {
	m := start(t, open)
	var l *storage.Layer
	for i := range most {
		c := workspace.Change{Apart: i%50 != 0}
		var err error
		if l, err = m.Make(t.Context(), l, c, in(oneOfMany(i))); err != nil {
			t.Fatalf("layer %d: %v", i, err)
		}
	}
	seen := m.see(t, l)
	if got := seen["d/last"]; !strings.HasSuffix(got, fmt.Sprintf("%q", strconv.Itoa(most-1))) {
		t.Errorf("the last file is %s", got)
	}
	// Each fiftieth layer has removed the file of the one before.
	if got, want := len(seen), 3+most-(most-1)/50; got != want {
		t.Errorf("%d files, want %d", got, want)
	}
	for _, c := range []workspace.Change{{}, {Mounts: points}} {
		now := m.see(t, m.make(t, l, c, sh("rm d/last; : >d/new")))
		if len(now) != len(seen) || now["d/last"] != "" || now["d/new"] == "" {
			t.Errorf("on %d layers: %s", most, now.names())
		}
	}
}
