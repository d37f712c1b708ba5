//go:build linux

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/builder/internal/workspace/overlay"
	"github.com/oakum-build/oakum/builder/internal/workspace/workspacetest"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/records"
)

func TestMain(m *testing.M) { workspacetest.Main(m, os.Exit) }

// engine is one over an empty store, with records in memory.
func engine(t *testing.T) *Engine {
	t.Helper()
	spaces, store := workspacetest.Open(t, workspacetest.Implementation{Store: storage.DriverOverlay, New: func(s *storage.Store, dir string, rootless bool) workspace.Driver {
		return overlay.New(s, dir, rootless)
	}})
	e := New(store, spaces, &records.Memory{}, func(err error) { t.Error(err) })
	t.Cleanup(func() {
		e.Wait()
		if len(e.busy) > 0 || len(e.builds) > 0 {
			t.Errorf("claimed at the end: %v; builds: %v", e.busy, e.builds)
		}
	})
	return e
}

// counted is an operation that writes a file of a fixed time, and counts how often it is done.
type counted struct {
	Operation
	times atomic.Int32
}

func writing(name string, size int64) *counted {
	c := &counted{}
	c.Operation = Operation{
		Key: RunKey{Args: []string{name}},
		Do: func(_ context.Context, ws workspace.Workspace) (string, error) {
			c.times.Add(1)
			path := filepath.Join(ws.Path(), name)
			return "", errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, size), os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
		},
	}
	return c
}

func (c *counted) done(t *testing.T, want int32) {
	t.Helper()
	if got := c.times.Load(); got != want {
		t.Errorf("%v was done %d times, not %d", c.Key, got, want)
	}
}

func open(t *testing.T, e *Engine, base *storage.Layer, opts Options) *Stage {
	t.Helper()
	s := e.Open(base, opts)
	t.Cleanup(func() { s.Wait(); s.Close() })
	return s
}

func do(t *testing.T, s *Stage, op Operation, cached bool) *storage.Layer {
	t.Helper()
	before := s.Top()
	out, err := s.Do(t.Context(), op)
	if err != nil || out.Cached != cached || out.Changed != (s.Top() != before) {
		t.Fatalf("%v: %+v, %v", op.Key, out, err)
	}
	return s.Top()
}

// big is what takes a while to digest, so that a layer is pending.
const big = 256 << 20

// soonEnough tries again what only shows something while a layer is digested, which the machine may do first.
func soonEnough(t *testing.T, otherwise string, try func() bool) {
	t.Helper()
	for range 10 {
		if try() {
			return
		}
	}
	t.Fatal(otherwise)
}

// On a layer whose digest is still pending, a step is done without a look-up and recorded
// afterwards; and one that another stage is just doing is waited for.
func TestPending(t *testing.T) {
	t.Parallel()
	var e *Engine
	var first, second *counted
	var l *storage.Layer
	soonEnough(t, "the second step waited for the digest of the first", func() bool {
		e = engine(t)
		first, second = writing("big", big), writing("second", 0)
		s := open(t, e, nil, Options{})
		l = do(t, s, first.Operation, false)
		do(t, s, second.Operation, false)
		_, known := l.Chain()
		return !known
	})
	// All at once, on the layer and from the beginning.
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			base := l
			if i%2 == 0 {
				base = nil
			}
			other := e.Open(base, Options{})
			defer other.Close()
			if i%2 == 0 {
				if out, err := other.Do(t.Context(), first.Operation); err != nil || !out.Cached || other.Top().ID() != l.ID() {
					t.Errorf("%+v, %v", out, err)
				}
			}
			if out, err := other.Do(t.Context(), second.Operation); err != nil || !out.Cached {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
	wg.Wait()
	first.done(t, 1)
	second.done(t, 1)
}

// A step is found by what is below it, on whatever layer of the store that lies.
func TestFoundByChain(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a, b := writing("a", 0), writing("b", 0)
	s := open(t, e, nil, Options{})
	one, two := do(t, s, a.Operation, false), do(t, s, b.Operation, false)
	fresh := open(t, e, nil, Options{NoCache: true})
	same := do(t, fresh, a.Operation, false)
	if err := same.Wait(t.Context()); err != nil || same.ID() == one.ID() {
		t.Fatal(same, err)
	}
	other := open(t, e, same, Options{})
	e.Wait()
	if l := do(t, other, b.Operation, true); l.ID() != two.ID() {
		t.Errorf("found layer %s", l.ID())
	}
	b.done(t, 1)
	// Where it was made on the very layer, that is what is found.
	do(t, fresh, b.Operation, false)
	e.Wait()
	for base, want := range map[*storage.Layer]string{one: two.ID(), same: fresh.Top().ID()} {
		if l := do(t, open(t, e, base, Options{}), b.Operation, true); l.ID() != want {
			t.Errorf("on %.8s found %.8s, not %.8s", base.ID(), l.ID(), want)
		}
	}
}

// A record of another content, of another chain, or of a layer that is not there is a miss.
func TestMisses(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := writing("a", 0)
	a.Content = func(context.Context) (string, error) { return Sum("", URLKey{"one"}), nil }
	s := open(t, e, nil, Options{})
	l := do(t, s, a.Operation, false) // its own content is "", so each time another
	s.Wait()
	e.Wait()
	do(t, open(t, e, nil, Options{}), a.Operation, false)
	e.Wait()
	a.done(t, 2)

	b := writing("b", 0)
	chain, _ := l.Chain()
	for name, r := range map[string]records.Record{
		"a layer that is not there": {DiffID: "sha256:" + "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"},
		"another chain below":       {Below: chain, DiffID: l.DiffID()},
	} {
		r.Key, r.Chain = Sum("", b.Key), records.ChainID(r.Below, r.DiffID)
		if err := e.records.Put(t.Context(), r); err != nil {
			t.Fatal(name, err)
		}
	}
	do(t, open(t, e, nil, Options{}), b.Operation, false)
	e.Wait()
	do(t, open(t, e, nil, Options{}), b.Operation, true)
	b.done(t, 1)

	// What the store has no files of is found by who only looks up, and is no base for others.
	gone := writing("gone", 0)
	r := records.Record{Key: Sum("", gone.Key), DiffID: "sha256:" + "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", Size: 5}
	r.Chain = r.DiffID
	if err := e.records.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	look := open(t, e, nil, Options{Lookup: true})
	if l := do(t, look, gone.Operation, true); !l.Gone() || l.Size() != 5 {
		t.Errorf("%+v", l)
	}
	if _, err := look.Claimed(t.Context(), nil); !errors.Is(err, errdefs.ErrUncached) {
		t.Errorf("claimed: %v", err)
	}
	if _, err := look.Do(t.Context(), b.Operation); !errors.Is(err, errdefs.ErrUncached) {
		t.Errorf("a step that is not there: %v", err)
	}
	gone.done(t, 0)
}

// However a step ends, the next one can have it.
func TestReleases(t *testing.T) {
	t.Parallel()
	e := engine(t)
	broken := errors.New("broken")
	a := writing("a", 0)
	failing := func(change func(*Operation)) Operation {
		op := a.Operation
		change(&op)
		return op
	}
	fails := func(name string, s *Stage, op Operation, want error) {
		t.Helper()
		if _, err := s.Do(t.Context(), op); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, op := range map[string]Operation{
		"what it does": failing(func(op *Operation) {
			op.Do = func(context.Context, workspace.Workspace) (string, error) { return "", broken }
		}),
		"whether to skip it": failing(func(op *Operation) { op.Skip = func(*storage.Layer) (bool, error) { return false, broken } }),
	} {
		fails(name, open(t, e, nil, Options{}), op, broken)
	}
	fails("what is there no more", open(t, e, nil, Options{}), failing(func(op *Operation) {
		op.Do = func(context.Context, workspace.Workspace) (string, error) { return Sum("", op.Key), ErrFound }
	}), ErrFound)
	fails("a stage that only looks up", open(t, e, nil, Options{Lookup: true}), a.Operation, errdefs.ErrUncached)
	do(t, open(t, e, nil, Options{}), a.Operation, false)
	e.Wait()
	fails("its content", open(t, e, nil, Options{}), failing(func(op *Operation) {
		op.Content = func(context.Context) (string, error) { return "", broken }
	}), broken)
	do(t, open(t, e, nil, Options{}), a.Operation, true)

	// Who waits for another can give up.
	begun, end := make(chan struct{}), make(chan struct{})
	slow := writing("slow", 0)
	write := slow.Do
	slow.Do = func(ctx context.Context, ws workspace.Workspace) (string, error) {
		close(begun)
		<-end
		return write(ctx, ws)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := e.Open(nil, Options{}).Do(t.Context(), slow.Operation); err != nil {
			t.Error(err)
		}
	})
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := open(t, e, nil, Options{}).Do(ctx, slow.Operation); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting: %v", err)
	}
	close(end)
	wg.Wait()
	do(t, open(t, e, nil, Options{}), slow.Operation, true)
	slow.done(t, 1)
}

// A layer that cannot be registered is not recorded, and lets go of its step.
func TestNotRegistered(t *testing.T) {
	t.Parallel()
	var e *Engine
	var a *counted
	soonEnough(t, "it was registered before its files went", func() bool {
		e = engine(t)
		a = writing("a", big)
		s := open(t, e, nil, Options{})
		l := do(t, s, a.Operation, false)
		do(t, s, writing("b", 0).Operation, false)
		if err := os.RemoveAll(layerDir(t, l)); err != nil {
			t.Fatal(err)
		}
		return s.Top().Wait(t.Context()) != nil
	})
	e.Wait()
	if got, err := e.records.Get(t.Context(), Sum("", a.Key)); len(got) > 0 || err != nil {
		t.Errorf("recorded: %+v, %v", got, err)
	}
	do(t, open(t, e, nil, Options{}), a.Operation, false)
	a.done(t, 2)
}

// layerDir is where the files of a layer are now.
func layerDir(t *testing.T, l *storage.Layer) string {
	t.Helper()
	dirs, err := l.Lowers()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, dir := range dirs {
			dir.Close()
		}
	}()
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dirs[0].Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A linked step's layer is made once, whatever it goes on.
func TestLinked(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a, b, linked := writing("a", 0), writing("b", 0), writing("linked", 0)
	linked.Change.Apart = true
	var diffs []any
	for i, base := range []*counted{a, b, nil} {
		s := open(t, e, nil, Options{})
		if base != nil {
			do(t, s, base.Operation, false)
		}
		l := do(t, s, linked.Operation, i > 0)
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.Wait()
		diffs = append(diffs, l.DiffID())
	}
	if diffs[0] != diffs[1] || diffs[0] != diffs[2] {
		t.Errorf("digests %v", diffs)
	}
	linked.done(t, 1)
}

// A cache that cannot be read or written stops nothing.
func TestBrokenRecords(t *testing.T) {
	t.Parallel()
	e := engine(t)
	var told atomic.Int32
	e.warn = func(error) { told.Add(1) }
	dir := t.TempDir()
	d, err := records.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	e.records = d
	a := writing("a", 0)
	if err := os.Mkdir(filepath.Join(dir, Sum("", a.Key)), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		do(t, open(t, e, nil, Options{}), a.Operation, false)
		e.Wait()
	}
	if told.Load() == 0 {
		t.Error("nobody was told")
	}
	if _, err := os.Stat(filepath.Join(dir, Sum("", a.Key))); errors.Is(err, fs.ErrNotExist) {
		t.Error("the directory went")
	}
}
