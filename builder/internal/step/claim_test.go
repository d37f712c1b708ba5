//go:build linux

package step

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/builder/internal/workspace/overlay"
	"github.com/oakum-build/oakum/builder/internal/workspace/tree"
	"github.com/oakum-build/oakum/builder/internal/workspace/workspacetest"
	"github.com/oakum-build/oakum/storage"
)

// processes are engines that have one store each, at the same place, as so many processes.
func processes(t *testing.T, driver string, n int) []*Engine {
	t.Helper()
	var engines []*Engine
	_, first := workspacetest.Open(t, workspacetest.Implementation{Store: driver, New: spacesOf(driver)})
	status, err := first.Status()
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		s, err := storage.Open(storage.Options{Root: status.Root, Driver: driver, Rootless: workspacetest.Rootless()})
		if err != nil {
			t.Fatal(err)
		}
		spaces := spacesOf(driver)(s, t.TempDir(), workspacetest.Rootless())
		e := New(s, spaces, s.Records(), func(err error) { t.Error(err) })
		t.Cleanup(func() {
			e.Wait()
			if err := errors.Join(spaces.Close(), s.Close()); err != nil {
				t.Error(err)
			}
		})
		engines = append(engines, e)
	}
	return engines
}

func spacesOf(driver string) func(*storage.Store, string, bool) workspace.Driver {
	return func(s *storage.Store, dir string, rootless bool) workspace.Driver {
		if driver == storage.DriverTree {
			return tree.New(s)
		}
		return overlay.New(s, dir, rootless)
	}
}

// A step that several processes want at once is done by one of them, also the one after it, and the others have
// its layer.
func TestOnceInAllProcesses(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{storage.DriverOverlay, storage.DriverTree} {
		t.Run(driver, func(t *testing.T) {
			engines := processes(t, driver, 4)
			var asked atomic.Int32
			first, second := writing("first", 1<<20), writing("second", 0)
			first.Content = func(context.Context) (string, error) { asked.Add(1); return "", nil }
			ids := make([]string, len(engines))
			var all sync.WaitGroup
			for i, e := range engines {
				all.Go(func() {
					s := e.Open(nil, Options{})
					defer s.Close()
					for _, op := range []Operation{first.Operation, second.Operation} {
						if _, err := s.Do(t.Context(), op); err != nil {
							t.Error(err)
						}
					}
					s.Wait()
					ids[i] = s.Top().ID()
				})
			}
			all.Wait()
			first.done(t, 1)
			second.done(t, 1)
			for _, id := range ids {
				if id != ids[0] {
					t.Errorf("they have the layers %q", ids)
					break
				}
			}
			if n := asked.Load(); n > int32(len(engines)) {
				t.Errorf("what the step reads was digested %d times", n)
			}
			// Who wants no cache does it anew, and waits for nobody.
			fresh := open(t, engines[0], nil, Options{NoCache: true})
			do(t, fresh, first.Operation, false)
			first.done(t, 2)
		})
	}
}

// Who waits for another process gives up when its context ends, and does the step when the other one has failed.
func TestWaitForAnotherProcess(t *testing.T) {
	t.Parallel()
	engines := processes(t, storage.DriverOverlay, 3)
	broken := errors.New("broken")
	begun, end := make(chan struct{}), make(chan struct{})
	slow := writing("slow", 0)
	failing := slow.Operation
	failing.Do = func(context.Context, workspace.Workspace) (string, error) {
		close(begun)
		<-end
		return "", broken
	}
	var all sync.WaitGroup
	all.Go(func() {
		s := engines[0].Open(nil, Options{})
		defer s.Close()
		if _, err := s.Do(t.Context(), failing); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	var notes atomic.Int32
	waiting := slow.Operation
	waiting.Note = func(string) { notes.Add(1); cancel() }
	if _, err := open(t, engines[1], nil, Options{}).Do(ctx, waiting); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
	if notes.Load() != 1 {
		t.Errorf("it was told %d times that another process is waited for", notes.Load())
	}
	all.Go(func() { do(t, open(t, engines[2], nil, Options{}), slow.Operation, false) })
	close(end)
	all.Wait()
	slow.done(t, 1)
}

// A step that is done for content that has changed in between is not taken for the one that was found.
func TestContentIsAskedOnce(t *testing.T) {
	t.Parallel()
	e := engine(t)
	var asked int
	op := writing("f", 0)
	op.Content = func(context.Context) (string, error) { asked++; return "", nil }
	do(t, open(t, e, nil, Options{}), op.Operation, false)
	e.Wait()
	if asked != 0 {
		t.Errorf("nothing is recorded, and the content was asked for %d times", asked)
	}
	op.Content = func(context.Context) (string, error) { asked++; return Sum("", URLKey{"other"}), nil }
	do(t, open(t, e, nil, Options{}), op.Operation, false)
	if asked != 1 {
		t.Errorf("it was asked for %d times", asked)
	}
}

// A result that is older than the stage wants is none, and what is done anew is found by the next.
func TestTTL(t *testing.T) {
	t.Parallel()
	e := engine(t)
	op := writing("f", 0)
	do(t, open(t, e, nil, Options{}), op.Operation, false)
	e.Wait()
	do(t, open(t, e, nil, Options{TTL: time.Hour}), op.Operation, true)
	do(t, open(t, e, nil, Options{TTL: time.Nanosecond}), op.Operation, false)
	e.Wait()
	op.done(t, 2)
	linked := writing("linked", 0)
	linked.Change.Apart = true
	base := do(t, open(t, e, nil, Options{}), op.Operation, true)
	do(t, open(t, e, nil, Options{}), linked.Operation, false)
	e.Wait()
	do(t, open(t, e, base, Options{TTL: time.Nanosecond}), linked.Operation, false)
	e.Wait()
	linked.done(t, 2)
	nothing := writing("nothing", 0)
	nothing.Skip = func(*storage.Layer) (bool, error) { return true, nil }
	do(t, open(t, e, base, Options{}), nothing.Operation, false)
	e.Wait()
	do(t, open(t, e, base, Options{TTL: time.Nanosecond}), nothing.Operation, true) // what changes nothing has no age
}

// A layer that is removed while it is looked up is made again, and the stage is where it was.
func TestRemovedWhileFound(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a, b := writing("a", 0), writing("b", 0)
	s := open(t, e, nil, Options{})
	below := do(t, s, a.Operation, false)
	l := do(t, s, b.Operation, false)
	e.Wait()
	s.Wait()
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := layerDir(t, l)
	other := open(t, e, below, Options{})
	removing := b.Operation
	removing.Content = func(context.Context) (string, error) { return "", os.RemoveAll(filepath.Clean(dir)) }
	do(t, other, removing, false)
	b.done(t, 2)
	if other.Top().ID() == l.ID() {
		t.Error("it is on what is gone")
	}
}
