//go:build linux

package builder_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

// build makes an image of every kind of step from a context.
func build(t testing.TB, b *builder.Builder, context string, opts builder.StageOptions) (img builder.Image, cached []bool) {
	t.Helper()
	s := stage(t, b, builder.Scratch, opts)
	defer s.Close()
	did := func(step builder.Step, err error) {
		t.Helper()
		ok(t, err)
		cached = append(cached, step.Cached)
	}
	did(s.Copy(t.Context(), "/", builder.Dir(baseDir)))
	did(s.Copy(t.Context(), "/src", builder.Dir(context)))
	did(s.Copy(t.Context(), "/embedded", builder.FS(embedded)))
	did(s.Workdir(t.Context(), "/work", ""))
	did(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "cat /src/f >out; cat /proc/sys/kernel/random/uuid >id"}}))
	did(s.Copy(t.Context(), "/again", s.Path("/work/out")))
	s.Configure("", func(c *builder.Config) { c.Cmd = []string{"/bin/sh"} })
	img, err := s.Commit(t.Context(), "cached", builder.CommitOptions{})
	ok(t, err)
	return img, cached
}

func all(t testing.TB, got []bool, want bool) {
	t.Helper()
	for i, v := range got {
		if v != want {
			t.Errorf("step %d: cached %v, want %v", i+1, v, want)
		}
	}
}

func TestCacheGivesTheSameImage(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "f", "d/g": "g"})
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	first, cached := build(t, b, context, builder.StageOptions{})
	all(t, cached, false)
	second, cached := build(t, b, context, builder.StageOptions{})
	all(t, cached, true)
	equal(t, second.ID, first.ID)
	equal(t, string(second.Digest), string(first.Digest))
	// Another Builder, once the first is closed and while it is open.
	for range 2 {
		other := openIn(t, builder.Options{Root: root})
		third, cached := build(t, other, context, builder.StageOptions{})
		all(t, cached, true)
		equal(t, third.ID, first.ID)
		ok(t, other.Close())
		ok(t, b.Close())
	}
	b = openIn(t, builder.Options{Root: root})
	fresh, cached := build(t, b, context, builder.StageOptions{NoCache: true})
	all(t, cached, false)
	if fresh.ID == first.ID {
		t.Error("without the cache the random file is the same")
	}
	// What ran without the cache is in it now.
	last, cached := build(t, b, context, builder.StageOptions{})
	all(t, cached, true)
	equal(t, last.ID, fresh.ID)
}

func TestCacheMisses(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "one", "d/g": "g", "l": "-> f", "h1": "h"})
	ok(t, os.Link(filepath.Join(context, "h1"), filepath.Join(context, "h2")))
	in := func(name string) string { return filepath.Join(context, name) }
	b := open(t)
	copied := func() bool {
		t.Helper()
		s := base(t, b)
		step, err := s.Copy(t.Context(), "/c", builder.Dir(context))
		ok(t, err)
		return step.Cached
	}
	if copied() {
		t.Fatal("the first copy was in the cache")
	}
	// A change goes unseen only when it keeps size and times, which takes an effort.
	for _, change := range []struct {
		name string
		do   func() error
		hit  bool
	}{
		{"nothing", func() error { return nil }, true},
		{"a time", func() error { return os.Chtimes(in("f"), time.Now(), time.Unix(1e9, 0)) }, true},
		{"a directory's time", func() error { return os.Chtimes(in("d"), time.Now(), time.Unix(1e9, 0)) }, true},
		{"a content of the same length", func() error { return os.WriteFile(in("f"), []byte("two"), 0) }, false},
		{"a content and its old time", func() error {
			return firstError(os.WriteFile(in("f"), []byte("six"), 0), os.Chtimes(in("f"), time.Now(), time.Unix(1e9, 0)))
		}, false},
		{"a mode", func() error { return os.Chmod(in("f"), 0o600) }, false},
		{"a directory's mode", func() error { return os.Chmod(in("d"), 0o700) }, false},
		{"an added file", func() error { return os.WriteFile(in("d/new"), nil, 0o644) }, false},
		{"a removed file", func() error { return os.Remove(in("d/g")) }, false},
		{"a renamed file", func() error { return os.Rename(in("d/new"), in("d/newer")) }, false},
		{"a link's target", func() error { return firstError(os.Remove(in("l")), os.Symlink("d", in("l"))) }, false},
		{"an empty directory", func() error { return os.Mkdir(in("e"), 0o755) }, false},
		{"an attribute", func() error { return unix.Setxattr(in("f"), "user.a", []byte("b"), 0) }, false},
		{"a hard link that is no more", func() error {
			return firstError(os.Remove(in("h2")), os.WriteFile(in("h2"), []byte("h"), 0o644))
		}, false},
		{"a file for a directory", func() error { return firstError(os.Remove(in("e")), os.WriteFile(in("e"), nil, 0o755)) }, false},
		{"nothing more", func() error { return nil }, true},
	} {
		ok(t, change.do())
		if got := copied(); got != change.hit {
			t.Errorf("%s changed: cached %v, want %v", change.name, got, change.hit)
		}
		if !copied() {
			t.Errorf("%s changed: the repeated copy was not in the cache", change.name)
		}
	}
	// A context elsewhere with the same files is the same.
	elsewhere := t.TempDir()
	ok(t, os.CopyFS(elsewhere, os.DirFS(tree(t, map[string]string{"x": "x"}))))
	for i, dir := range []string{tree(t, map[string]string{"x": "x"}), elsewhere} {
		s := base(t, b)
		step, err := s.Copy(t.Context(), "/e", builder.Dir(dir))
		ok(t, err)
		if step.Cached != (i == 1) {
			t.Errorf("copy %d: cached %v", i, step.Cached)
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestCacheKeys(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "f", "g": "f"})
	dir := builder.Dir(context)
	type step = func(*builder.Stage) (builder.Step, error)
	echo := func(change func(*builder.Cmd)) step {
		cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", "env >/env; pwd >/pwd; id >/tmp/id"}}
		change(&cmd)
		return func(s *builder.Stage) (builder.Step, error) { return s.Run(t.Context(), cmd) }
	}
	plain := echo(func(*builder.Cmd) {})
	cp := func(dest string, sources ...builder.Source) step {
		return func(s *builder.Stage) (builder.Step, error) { return s.Copy(t.Context(), dest, sources...) }
	}
	configured := func(change func(*builder.Config), then step) step {
		return func(s *builder.Stage) (builder.Step, error) { s.Configure("", change); return then(s) }
	}
	opened := func(s *builder.Stage) (builder.Step, error) {
		return s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/chmod", "777", "/"}})
	}
	tests := []struct {
		name string
		do   step
		hit  bool
	}{
		{"open", opened, false},
		{"run", plain, false},
		{"run again", plain, true},
		{"arguments", echo(func(c *builder.Cmd) { c.Args = append(c.Args, "x") }), false},
		{"environment", echo(func(c *builder.Cmd) { c.Env = []string{"A=1"} }), false},
		{"another environment", echo(func(c *builder.Cmd) { c.Env = []string{"A=2"} }), false},
		{"uncached environment", echo(func(c *builder.Cmd) { c.UncachedEnv = []string{"A=2"} }), true},
		{"directory", echo(func(c *builder.Cmd) { c.Dir = "/tmp" }), false},
		{"configured environment", configured(func(c *builder.Config) { c.Env = []string{"B=1"} }, plain), false},
		{"configured directory", configured(func(c *builder.Config) { c.WorkingDir = "/home" }, plain), false},
		{"configured user", configured(func(c *builder.Config) { c.User = "0" }, plain), false},
		{"configured label", configured(func(c *builder.Config) { c.Labels = map[string]string{"a": "b"} }, plain), true},
		{"copy", cp("/c/", dir.Select("f")), false},
		{"copy again", cp("/c/", dir.Select("f")), true},
		{"copy of another name", cp("/c/", dir.Select("g")), false},
		{"copy elsewhere", cp("/d/", dir.Select("f")), false},
		{"copy with an owner", cp("/c/", dir.Select("f").Chown("1")), false},
		{"copy with a mode", cp("/c/", dir.Select("f").Chmod("600")), false},
		{"copy without", cp("/c/", dir.Select("f").Exclude("x")), false},
		{"add", func(s *builder.Stage) (builder.Step, error) { return s.Add(t.Context(), "/c/", dir.Select("f")) }, false},
		{"workdir", func(s *builder.Stage) (builder.Step, error) {
			return s.Workdir(t.Context(), "/w", "")
		}, false},
		{"workdir of another user", configured(func(c *builder.Config) { c.User = "app" }, func(s *builder.Stage) (builder.Step, error) {
			return s.Workdir(t.Context(), "/w", "")
		}), false},
	}
	b := open(t)
	for _, test := range tests {
		s := base(t, b)
		if test.name != "open" {
			ok(t, errOf(opened(s)))
		}
		did, err := test.do(s)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := did.Cached; got != test.hit {
			t.Errorf("%s: cached %v, want %v", test.name, got, test.hit)
		}
	}
}

// A step depends on the files below it, not on how they came there.
func TestCacheIsOfALayer(t *testing.T) {
	t.Parallel()
	b := open(t)
	one, two, three := base(t, b), base(t, b), base(t, b)
	run(t, one, "echo 1 >/f")
	run(t, two, "sleep 1; echo 2 >/f") // so that its layers are held by now
	run(t, three, "echo 1 >/f")
	for i, s := range []*builder.Stage{one, two, three} {
		if got := run(t, s, "cat /f >/g").Cached; got != (i == 2) {
			t.Errorf("stage %d: cached %v", i+1, got)
		}
	}
	equal(t, sh(t, one, "cat /g")+sh(t, two, "cat /g")+sh(t, three, "cat /g"), "1\n2\n1\n")
	// A removed image takes its layers along, and the step is done again.
	img, err := two.Commit(t.Context(), "two", builder.CommitOptions{})
	ok(t, err)
	ok(t, two.Close())
	_, err = b.Remove(t.Context(), img.ID, builder.RemoveOptions{})
	ok(t, err)
	again := base(t, b)
	run(t, again, "sleep 1; echo 2 >/f")
	if run(t, again, "cat /f >/g").Cached {
		t.Error("the removed layer was in the cache")
	}
	equal(t, sh(t, again, "cat /g"), "2\n")
}

// A command that fails is not remembered.
func TestCacheForgetsFailures(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", "exit 3"}}
	exits(t, errOf(s.Run(t.Context(), cmd)), 3)
	exits(t, errOf(s.Run(t.Context(), cmd)), 3)
}

// Stages of one build that do not look into the cache do an equal step once, so that the
// next build, which finds it there, makes the same image.
func TestNoCacheDoesEqualStepsOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := open(t)
	first := base(t, b)
	context := tree(t, map[string]string{"f": "one"})
	build := func(opts builder.StageOptions) (ids string) {
		var wg sync.WaitGroup
		images := make([]string, 3)
		for i := range images {
			s, err := first.Fork(ctx, opts)
			ok(t, err)
			defer s.Close()
			wg.Go(func() {
				err := errors.Join(errOf(s.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", "cat /proc/sys/kernel/random/uuid >/id"}})),
					errOf(s.Copy(ctx, "/c/", builder.Dir(context))), errOf(s.Workdir(ctx, "/w", "")), errOf(s.CopyWith(ctx, builder.CopyOptions{Link: true}, "/l/", builder.Dir(context))))
				img, commitErr := s.Commit(ctx, "", builder.CommitOptions{})
				if images[i] = img.ID; errors.Join(err, commitErr) != nil {
					t.Error(err, commitErr)
				}
			})
		}
		wg.Wait()
		slices.Sort(images)
		return strings.Join(slices.Compact(images), " ")
	}
	cold := build(builder.StageOptions{})
	once := build(builder.StageOptions{NoCache: true, Build: "1"})
	if strings.Contains(once, " ") || once == cold {
		t.Errorf("first %s, without the cache %s", cold, once)
	}
	equal(t, build(builder.StageOptions{}), once)
	if again := build(builder.StageOptions{NoCache: true, Build: "1"}); strings.Contains(again, " ") || again == once {
		t.Errorf("another build of the same name: %s, after %s", again, once)
	}
	if each := build(builder.StageOptions{NoCache: true}); !strings.Contains(each, " ") {
		t.Errorf("stages by themselves: %s", each)
	}
	// Other content is another step.
	opts := builder.StageOptions{NoCache: true, Build: "2"}
	one, two := stage(t, b, builder.Scratch, opts), stage(t, b, builder.Scratch, opts)
	ok(t, errOf(one.Copy(ctx, "/", builder.Dir(context))))
	ok(t, os.WriteFile(filepath.Join(context, "f"), []byte("two"), 0o644))
	ok(t, errOf(two.Copy(ctx, "/", builder.Dir(context))))
	equal(t, entryOf(t, lastLayer(t, b, two), "f").content, "two")
}
