//go:build linux

package builder_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/usage"
)

// withWorker has a program that can be a worker until it is taken away: while it is, whatever needs a worker fails.
type withWorker struct {
	t    testing.TB
	opts builder.Options
}

func newWithWorker(t testing.TB) withWorker {
	t.Helper()
	w := withWorker{t, builder.Options{Root: tempDir(t), Worker: filepath.Join(t.TempDir(), "worker")}}
	w.give()
	return w
}

func (w withWorker) give() {
	w.t.Helper()
	exe, err := os.Executable()
	ok(w.t, err)
	ok(w.t, os.Symlink(exe, w.opts.Worker))
}

// take takes it away, where none is started for what can be seen: a worker that lacks something is always started.
func (w withWorker) take() (taken bool) {
	w.t.Helper()
	if inChroot {
		return false
	}
	ok(w.t, os.Remove(w.opts.Worker))
	return true
}

// open opens the store once more. told gets what is told.
func (w withWorker) open(told *[]string) *builder.Builder {
	w.t.Helper()
	opts := w.opts
	if told != nil {
		opts.Events = func(e event.Event) {
			*told = append(*told, fmt.Sprint(e.Kind, " ", e.Stage, " ", e.Step, " ", e.Cached, " ", e.Text, " ", e.Ref))
		}
	}
	return openIn(w.t, opts)
}

// seen starts a stage with steps of which, once they were done, all can be found by looking.
func seen(t testing.TB, b *builder.Builder, context string) (s *builder.Stage, cached []bool) {
	t.Helper()
	did := func(step builder.Step, err error) {
		t.Helper()
		ok(t, err)
		cached = append(cached, step.Cached)
	}
	from := stage(t, b, builder.Scratch, builder.StageOptions{Name: "from"})
	did(from.Copy(t.Context(), "/", builder.Dir(baseDir)))
	did(from.Copy(t.Context(), "/src", builder.Dir(context)))
	did(from.Workdir(t.Context(), "/bin", "")) // which is there
	did(from.Workdir(t.Context(), "/work", ""))
	did(from.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "cat /src/f >out; cat /proc/sys/kernel/random/uuid >id"}}))
	did(from.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "cp /ctx/f /bound"}, Mounts: []builder.Mount{{Target: "/ctx", From: from.Path("/src")}}}))
	s, err := from.Fork(t.Context(), builder.StageOptions{Name: "to"})
	ok(t, err)
	t.Cleanup(func() { s.Close() })
	did(s.Copy(t.Context(), "/again", from.Path("/bound")))
	s.Configure("", func(c *builder.Config) { c.Cmd = []string{"/bin/sh"} })
	if problems, err := s.CheckCommand(t.Context()); err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	return s, cached
}

func commitSeen(t testing.TB, s *builder.Stage) builder.Image {
	t.Helper()
	img, err := s.Commit(t.Context(), "looked", builder.CommitOptions{})
	ok(t, err)
	return img
}

// made builds what seen sees, once, and gives the image.
func (w withWorker) made(context string) builder.Image {
	w.t.Helper()
	b := w.open(nil)
	s, cached := seen(w.t, b, context)
	all(w.t, cached[:2], false)
	img := commitSeen(w.t, s)
	ok(w.t, b.Close())
	return img
}

func TestLookingStartsNoWorker(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "f", "d/g": "g"})
	w := newWithWorker(t)
	first := w.made(context)
	var with, without []string
	b := w.open(&with)
	run(t, base(t, b), "echo a worker is needed")
	with = nil
	s, cached := seen(t, b, context)
	all(t, cached, true)
	equal(t, commitSeen(t, s).ID, first.ID)
	ok(t, b.Close())

	taken := w.take()
	b = w.open(&without)
	level, why := b.Isolation()
	if taken && why != nil {
		t.Errorf("isolation %v: %v", level, why)
	}
	s, cached = seen(t, b, context)
	all(t, cached, true)
	second := commitSeen(t, s)
	equal(t, fmt.Sprint(second), fmt.Sprint(first))
	equal(t, strings.Join(without, "\n"), strings.Join(with, "\n"))
	if taken {
		if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}}); err == nil {
			t.Error("a command has run, without a worker")
		}
		w.give()
	}
	equal(t, sh(t, s, "cat /again"), "f") // the stage is as it was
}

// What cannot be told by looking is done, on what was found.
func TestLookingGoesOn(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "f", "d/g": "g"})
	w := newWithWorker(t)
	first := w.made(context)
	for _, test := range []struct {
		name string
		do   func(t *testing.T, b *builder.Builder, s *builder.Stage)
	}{
		{"command", func(t *testing.T, _ *builder.Builder, s *builder.Stage) {
			if run(t, s, "cat /work/out /again >/both").Cached {
				t.Error("it was found")
			}
			equal(t, sh(t, s, "cat /both"), "ff")
		}},
		{"copy", func(t *testing.T, _ *builder.Builder, s *builder.Stage) {
			ok(t, errOf(s.Copy(t.Context(), "/more", builder.Dir(tree(t, map[string]string{"new": "new"})))))
			equal(t, sh(t, s, "cat /more/new"), "new")
		}},
		{"stream", func(t *testing.T, _ *builder.Builder, s *builder.Stage) {
			ok(t, errOf(s.Copy(t.Context(), "/embedded", builder.FS(embedded))))
			if sh(t, s, "ls /embedded") == "" {
				t.Error("nothing was copied")
			}
		}},
		{"directory", func(t *testing.T, _ *builder.Builder, s *builder.Stage) {
			ok(t, errOf(s.Workdir(t.Context(), "/made", "")))
			equal(t, sh(t, s, "pwd"), "/made\n")
		}},
		{"fresh stage", func(t *testing.T, b *builder.Builder, s *builder.Stage) {
			fresh, err := s.Fork(t.Context(), builder.StageOptions{NoCache: true})
			ok(t, err)
			defer fresh.Close()
			if run(t, fresh, "cat /work/out /again >/both").Cached {
				t.Error("it was found")
			}
			equal(t, sh(t, s, "cat /again"), "f")
		}},
		{"another name", func(t *testing.T, b *builder.Builder, s *builder.Stage) {
			img, err := s.Commit(t.Context(), "other", builder.CommitOptions{})
			ok(t, err)
			equal(t, img.ID, first.ID)
			named, err := b.Inspect(t.Context(), "other")
			ok(t, err)
			equal(t, named.ID, first.ID)
		}},
		{"another format", func(t *testing.T, _ *builder.Builder, s *builder.Stage) {
			img, err := s.Commit(t.Context(), "looked", builder.CommitOptions{Format: "docker"})
			ok(t, err)
			if img.ID == first.ID && img.Digest == first.Digest {
				t.Error("it is the image in OCI's format")
			}
		}},
		{"one layer", func(t *testing.T, _ *builder.Builder, s *builder.Stage) {
			img, err := s.Commit(t.Context(), "squashed", builder.CommitOptions{Squash: "all"})
			ok(t, err)
			if img.ID == first.ID {
				t.Error("it is the image with its layers")
			}
		}},
		{"missing file", func(t *testing.T, _ *builder.Builder, s *builder.Stage) {
			is(t, errOf(s.Copy(t.Context(), "/x", builder.Dir(context).Select("none"))), builder.ErrNotFound)
			equal(t, sh(t, s, "cat /again"), "f")
		}},
		{"missing image", func(t *testing.T, b *builder.Builder, s *builder.Stage) {
			_, err := b.Stage(t.Context(), "localhost/none", builder.StageOptions{Pull: "never"})
			is(t, err, builder.ErrImageNotFound)
			equal(t, sh(t, s, "cat /again"), "f")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var told []string
			b := withWorker{t, w.opts}.open(&told)
			s, cached := seen(t, b, context)
			all(t, cached, true)
			before := len(told)
			test.do(t, b, s)
			for _, again := range told[before:] {
				if slices.Contains(told[:before], again) {
					t.Errorf("this was told twice: %s", again)
				}
			}
		})
	}
}

// Stages of one Builder find at the same time that they need a worker.
func TestLookingSideBySide(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "f"})
	w := newWithWorker(t)
	w.made(context)
	b := w.open(nil)
	var stages []*builder.Stage
	for range 4 {
		s, cached := seen(t, b, context)
		all(t, cached, true)
		stages = append(stages, s)
	}
	errs := make([]error, len(stages))
	outputs := make([]bytes.Buffer, len(stages))
	var running sync.WaitGroup
	for i, s := range stages {
		running.Go(func() {
			if i%2 == 1 {
				_, errs[i] = s.Copy(t.Context(), "/src", builder.Dir(context)) // found, or done, on another layer
			}
			if errs[i] == nil {
				_, errs[i] = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", fmt.Sprintf("cat /again; echo %d", i)}, Stdout: &outputs[i]})
			}
		})
	}
	running.Wait()
	for i := range stages {
		ok(t, errs[i])
		equal(t, outputs[i].String(), fmt.Sprintf("f%d\n", i))
	}
}

// Who only looks uses layers, too.
func TestLookingKeepsLayers(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "f"})
	w := newWithWorker(t)
	w.made(context)
	b := w.open(nil)
	s, cached := seen(t, b, context)
	all(t, cached, true)
	other := openIn(t, builder.Options{Root: w.opts.Root})
	is(t, builder.RemoveStore(t.Context(), builder.Options{Root: w.opts.Root}), builder.ErrInUse)
	_, err := other.Remove(t.Context(), "looked", builder.RemoveOptions{})
	is(t, err, builder.ErrInUse)
	_, err = other.Prune(t.Context(), usage.Options{All: true})
	ok(t, err)
	equal(t, sh(t, s, "cat /again"), "f")
	commitSeen(t, s)
}

// Whatever is amiss in a store is seen by a worker, and what it says of that is said.
func TestLookingAtDamage(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "f"})
	for _, name := range []string{"oakum/opened", "overlay-layers/layers.lock", "overlay-images/images.lock", "overlay-layers/volatile-layers.json"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			w := newWithWorker(t)
			if inChroot {
				name = strings.NewReplacer("oakum/", "oakum-tree/", "overlay-", "tree-").Replace(name)
			}
			first := w.made(context)
			path := filepath.Join(w.opts.Root, name)
			ok(t, os.WriteFile(path, []byte("{"), 0o600))
			b, err := builder.Open(t.Context(), chosen(w.opts))
			if strings.HasSuffix(name, ".json") {
				if err == nil {
					defer b.Close()
					_, err = b.Stage(t.Context(), "looked", builder.StageOptions{Pull: "never"})
				}
				if err == nil {
					t.Error("a store with a damaged list of layers was built from")
				}
				return
			}
			ok(t, err)
			defer b.Close()
			s, cached := seen(t, b, context)
			all(t, cached, true)
			equal(t, commitSeen(t, s).ID, first.ID)
		})
	}
}
