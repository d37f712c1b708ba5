//go:build linux

package builder_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/builder/isolation"
)

// explained does steps in a stage, and gives what each told, in lines.
func explained(t *testing.T, b *builder.Builder, from string, opts builder.StageOptions, steps func(*builder.Stage)) []string {
	t.Helper()
	var told []string
	opts.Explain = func(s explain.Step) {
		var words []string
		if s.Cached {
			words = append(words, "hit", s.From)
		} else {
			words = append(words, string(s.Cause))
		}
		for _, c := range s.Changes {
			if c.Kind == explain.Parent && strings.HasPrefix(c.Name, "COPY") { // whose text has a path of this machine
				c.Name = ""
			}
			words = append(words, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", c.Kind, c.Name, c.How)), " "))
		}
		if s.Cached == s.Created.IsZero() && s.From != explain.Build && s.Size > 0 || s.Cause == explain.Changed && s.Since.IsZero() {
			t.Errorf("%+v lacks a time", s)
		}
		told = append(told, strings.Join(words, ", "))
	}
	s := stage(t, b, from, opts)
	steps(s)
	ok(t, s.Close())
	return told
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// manyTree is a directory of a number of files.
func manyTree(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		name := filepath.Join(dir, fmt.Sprintf("dir%02d/file%04d", i%20, i))
		ok(t, os.MkdirAll(filepath.Dir(name), 0o755))
		ok(t, os.WriteFile(name, []byte(name), 0o644))
	}
	return dir
}

// The one file that has changed among many is named, and how.
func TestExplainFiles(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	dir := manyTree(t, 1000)
	one := filepath.Join(dir, "dir07/file0007")
	copies := func(s *builder.Stage) {
		t.Helper()
		_, err := s.Copy(t.Context(), "/src", builder.Dir(dir))
		ok(t, err)
		_, err = s.Copy(t.Context(), "/some", builder.Dir(dir).Select("dir07/file*07*"))
		ok(t, err)
	}
	build := func() []string {
		t.Helper()
		return explained(t, b, builder.Scratch, builder.StageOptions{}, copies)
	}
	change := func(do func() error, want ...string) {
		t.Helper()
		ok(t, do())
		same(t, build(), want...)
	}
	// What is not asked to explain is remembered for who is.
	s := scratch(t, b)
	copies(s)
	ok(t, s.Close())
	same(t, build(), "hit, store", "hit, store")
	change(func() error { return os.WriteFile(one, []byte("changed"), 0o644) }, "changed, file dir07/file0007 content", "changed, parent, file dir07/file0007 content")
	change(func() error { return os.Chmod(one, 0o755) }, "changed, file dir07/file0007 mode", "changed, parent, file dir07/file0007 mode")
	change(func() error { return os.Rename(one, one+"-new") },
		"changed, file dir07/file0007 gone, file dir07/file0007-new new", "changed, parent, file dir07/file0007 gone, file dir07/file0007-new new")
}

// An argument, a command, and a base are named; values are not, nor are they anywhere in the store.
func TestExplainRun(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	commit := func(text string) {
		t.Helper()
		s := base(t, b)
		_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo " + text + " >/version"}})
		ok(t, err)
		_, err = s.Commit(t.Context(), "localhost/base", builder.CommitOptions{})
		ok(t, err)
		ok(t, s.Close())
	}
	commit("1")
	// Each time it makes another layer, also within one second.
	const makes = "read id </proc/sys/kernel/random/uuid; echo $id >/a"
	build := func(opts builder.StageOptions, version string, more ...string) []string {
		t.Helper()
		opts.Name = "app"
		return explained(t, b, "localhost/base", opts, func(s *builder.Stage) {
			_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", makes}, Env: append([]string{"VERSION=" + version}, more...)})
			ok(t, err)
			_, err = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo b >/b"}})
			ok(t, err)
		})
	}
	same(t, build(builder.StageOptions{}, "private-1"), "new", "new")
	same(t, build(builder.StageOptions{}, "private-1"), "hit, store", "hit, store")
	same(t, build(builder.StageOptions{}, "private-2"), "changed, variable VERSION", "changed, parent RUN /bin/sh -c "+makes)
	same(t, build(builder.StageOptions{}, "private-2", "MORE=1"), "changed, variable MORE new", "changed, parent RUN /bin/sh -c "+makes)
	same(t, build(builder.StageOptions{NoCache: true}, "private-2"), "no-cache", "no-cache")
	commit("2")
	same(t, build(builder.StageOptions{}, "private-2"), "changed, base localhost/base", "changed, parent RUN /bin/sh -c "+makes)

	ok(t, b.Close())
	ok(t, filepath.WalkDir(filepath.Join(root, "oakum", "fingerprints"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "private-") {
			t.Errorf("%s has a value: %s", path, text)
		}
		return err
	}))
}

// The event of the Builder tells the same between those of the step, and a pruned layer is named as that.
func TestExplainEvents(t *testing.T) {
	t.Parallel()
	var kinds []event.Kind
	b := openIn(t, builder.Options{Root: tempDir(t), Events: func(e event.Event) {
		kinds = append(kinds, e.Kind)
		if e.Kind == event.StepExplained && (e.Step != "COPY f /" || e.Explained == nil) {
			t.Errorf("%+v", e)
		}
	}})
	dir := tree(t, map[string]string{"f": "f"})
	build := func() []string {
		return explained(t, b, builder.Scratch, builder.StageOptions{}, func(s *builder.Stage) {
			_, err := s.CopyWith(t.Context(), builder.CopyOptions{History: "COPY f /"}, "/", builder.Dir(dir))
			ok(t, err)
		})
	}
	same(t, build(), "new")
	if want := []event.Kind{event.StepStarted, event.StepExplained, event.StepFinished}; !slices.Equal(kinds, want) {
		t.Errorf("events are %q", kinds)
	}
	same(t, build(), "hit, store")
}

// What another stage of the same build has just done is not what a step was like before.
func TestExplainBesideOthers(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := tree(t, map[string]string{"f": "f", "g": "g"})
	build := func(text string) (told []string) {
		t.Helper()
		options := func(name string) builder.StageOptions {
			return builder.StageOptions{Name: name, Explain: func(s explain.Step) {
				words := []string{name, string(s.Cause)}
				for _, c := range s.Changes {
					words = append(words, string(c.Kind), c.How)
				}
				told = append(told, strings.Join(words, " "))
			}}
		}
		for _, s := range []*builder.Stage{stage(t, b, builder.Scratch, options("one")), stage(t, b, builder.Scratch, options("two"))} {
			defer s.Close()
			_, err := s.Copy(t.Context(), "/first", builder.Bytes("first", []byte(text+s.ID())))
			ok(t, err)
			_, err = s.Copy(t.Context(), "/src", builder.Dir(dir))
			ok(t, err)
		}
		return told
	}
	build("1")
	ok(t, os.WriteFile(filepath.Join(dir, "f"), []byte("changed"), 0o644))
	got := build("2")
	if len(got) != 4 {
		t.Fatalf("got %q", got)
	}
	same(t, []string{got[1], got[3]}, "one changed parent  file content", "two changed parent  file content")
}

// Of a step that a cache of mode=min knows, of a stage that is only copied from, another machine is told that its layer is nowhere.
func TestExplainWithoutTheLayer(t *testing.T) {
	t.Parallel()
	one, two := newComputer(t, isolation.Choice{}.Most), newComputer(t, isolation.Choice{}.Most)
	at := cache.At{Layout: filepath.Join(t.TempDir(), "layout")}
	c := one.importing(t)
	made := stage(t, one.Builder, builder.Scratch, builder.StageOptions{Cache: c})
	ok(t, errOf(made.Copy(t.Context(), "/f", builder.Bytes("f", []byte("f")))))
	img := stage(t, one.Builder, builder.Scratch, builder.StageOptions{Cache: c})
	ok(t, errOf(img.Copy(t.Context(), "/g", made.Path("/f"))))
	_, err := img.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	one.exporting(t, c, cache.Target{At: at})
	var told []explain.Step
	again := stage(t, two.Builder, builder.Scratch, builder.StageOptions{Cache: two.importing(t, at), Explain: func(s explain.Step) { told = append(told, s) }})
	ok(t, errOf(again.Copy(t.Context(), "/f", builder.Bytes("f", []byte("f")))))
	if len(told) == 0 || told[0].Cause != explain.Removed || told[0].Since.IsZero() || told[0].Headline() != "not found: its layer is neither in the store nor in a cache" {
		t.Errorf("told %+v", told)
	}
	// Where steps are only looked up it is found, in that cache, also once the store has taken over its record.
	three := newComputer(t, isolation.Choice{}.Most)
	for range 2 {
		same(t, explained(t, three.Builder, builder.Scratch, builder.StageOptions{Cache: three.importing(t, at), Lookup: true}, func(s *builder.Stage) {
			ok(t, errOf(s.Copy(t.Context(), "/f", builder.Bytes("f", []byte("f")))))
		}), "hit, "+at.String())
	}
}
