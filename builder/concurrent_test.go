//go:build linux

package builder_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
)

// parallel calls f n times at once and fails the test at the first error.
func parallel(t testing.TB, n int, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}

func TestStagesSideBySide(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	running, most := 0, 0
	b := open(t)
	first := base(t, b)
	outs := make([]bytes.Buffer, 8)
	parallel(t, len(outs), func(i int) error {
		s, err := first.Fork(t.Context(), builder.StageOptions{Name: fmt.Sprint(i)})
		if err != nil {
			return err
		}
		defer s.Close()
		if _, err := s.Copy(t.Context(), "/x", builder.FS(embedded), first.Path("/etc/passwd")); err != nil {
			return err
		}
		enter := trigger(func() {
			mu.Lock()
			defer mu.Unlock()
			running++
			most = max(most, running)
		})
		if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", fmt.Sprintf("echo %d >/f; echo up; sleep 1", i)}, Stdout: enter}); err != nil {
			return err
		}
		mu.Lock()
		running--
		mu.Unlock()
		if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "cat /f; ls /x"}, Stdout: &outs[i], Ephemeral: true}); err != nil {
			return err
		}
		_, err = s.Commit(t.Context(), fmt.Sprintf("image%d", i), builder.CommitOptions{})
		return err
	})
	for i := range outs {
		equal(t, outs[i].String(), fmt.Sprintf("%d\ndoc.go\npasswd\nsource.go\n", i))
	}
	if most < 2 {
		t.Error("no two commands ran at the same time")
	}
	images, err := b.Images(t.Context())
	ok(t, err)
	if len(images) != len(outs) {
		t.Errorf("%d images of %d stages", len(images), len(outs))
	}
}

// A step that two stages want at once is done once.
func TestSameStepsAtOnce(t *testing.T) {
	t.Parallel()
	b := open(t)
	first := base(t, b)
	const n = 6
	outs, cached := make([]bytes.Buffer, n), make([]bool, n)
	parallel(t, n, func(i int) error {
		s, err := first.Fork(t.Context(), builder.StageOptions{})
		if err != nil {
			return err
		}
		defer s.Close()
		step, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "sleep 0.3; cat /proc/sys/kernel/random/uuid >/id"}})
		if err != nil {
			return err
		}
		cached[i] = step.Cached
		_, err = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/cat", "/id"}, Stdout: &outs[i], Ephemeral: true})
		return err
	})
	done := 0
	for i := range n {
		equal(t, outs[i].String(), outs[0].String())
		if !cached[i] {
			done++
		}
	}
	if done != 1 {
		t.Errorf("the step was done %d times", done)
	}
}

// One that fails is done by the next that wants it; one that is cancelled too.
func TestSameStepFails(t *testing.T) {
	t.Parallel()
	b := open(t)
	first := base(t, b)
	parallel(t, 3, func(int) error {
		s, err := first.Fork(t.Context(), builder.StageOptions{})
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "sleep 0.1; exit 9"}})
		if err == nil || !strings.Contains(err.Error(), "exit status 9") {
			return fmt.Errorf("got error %w", err)
		}
		return nil
	})
}

func TestBuilderOfManyGoroutines(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	img, err := s.Commit(t.Context(), "shared", builder.CommitOptions{})
	ok(t, err)
	parallel(t, 12, func(i int) error {
		name := fmt.Sprintf("tag%d", i)
		if err := b.Tag(t.Context(), "shared", name); err != nil {
			return err
		}
		d, err := b.Inspect(t.Context(), name)
		if err != nil || d.ID != img.ID {
			return fmt.Errorf("%s is %s: %w", name, d.ID, err)
		}
		if _, err := b.Images(t.Context()); err != nil {
			return err
		}
		if _, err := b.Info(t.Context()); err != nil {
			return err
		}
		own, err := b.Stage(t.Context(), "shared", builder.StageOptions{})
		if err != nil {
			return err
		}
		defer own.Close()
		_, err = b.Remove(t.Context(), name, builder.RemoveOptions{})
		return err
	})
	d, err := b.Inspect(t.Context(), "shared")
	ok(t, err)
	equal(t, strings.Join(d.Names, " "), "localhost/shared:latest")
}

// Two Builders, as of two programs, share a store.
func TestBuildersShareAStore(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	parallel(t, 4, func(i int) error {
		b, err := builder.Open(t.Context(), builder.Options{Root: root})
		if err != nil {
			return err
		}
		defer b.Close()
		s, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
		if err != nil {
			return err
		}
		if _, err := s.Copy(t.Context(), "/", builder.Dir(baseDir)); err != nil {
			return err
		}
		for n := range 3 {
			if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", fmt.Sprintf("echo %d >>/f", i*(n%2))}}); err != nil {
				return err
			}
		}
		_, err = s.Commit(t.Context(), fmt.Sprintf("of%d", i), builder.CommitOptions{})
		return err
	})
	b := openIn(t, builder.Options{Root: root})
	for i := range 4 {
		s := stage(t, b, fmt.Sprintf("of%d", i), builder.StageOptions{})
		equal(t, sh(t, s, "cat /f"), fmt.Sprintf("0\n%d\n0\n", i))
	}
}

// Events come one at a time, whatever goes on side by side.
func TestEventsOneAtATime(t *testing.T) {
	t.Parallel()
	var busy sync.Mutex
	overlaps := 0
	b := openIn(t, builder.Options{Root: tempDir(t), Events: func(event.Event) {
		if !busy.TryLock() {
			overlaps++
			return
		}
		defer busy.Unlock()
		time.Sleep(time.Millisecond)
	}})
	parallel(t, 8, func(i int) error {
		s, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
		if err != nil {
			return err
		}
		_, err = s.Copy(t.Context(), fmt.Sprint("/", i, "/"), file("f", "x"))
		return err
	})
	if overlaps > 0 {
		t.Errorf("%d events came during others", overlaps)
	}
}
