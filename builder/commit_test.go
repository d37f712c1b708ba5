//go:build linux

package builder_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
)

func file(name, content string) builder.Source {
	return builder.FS(fstest.MapFS{name: {Data: []byte(content), Mode: 0o644}}).Select(name)
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := scratch(t, b)
	want := builder.Config{
		User: "app:extra", ExposedPorts: map[string]struct{}{"80/tcp": {}}, Env: []string{"A=1", "B=two words"},
		Entrypoint: []string{"/entry", "-x"}, Cmd: []string{"arg"}, Volumes: map[string]struct{}{"/data": {}}, WorkingDir: "/w",
		Labels: map[string]string{"org.example/key": "välue"}, StopSignal: "SIGINT",
		Healthcheck: &builder.Healthcheck{Test: []string{"CMD", "/ok"}, Interval: time.Minute, Timeout: time.Second, StartPeriod: 2 * time.Second, StartInterval: 3 * time.Second, Retries: 4},
		OnBuild:     []string{"RUN true"}, Shell: []string{"/bin/bash", "-c"},
	}
	s.Configure("CONFIGURED", func(c *builder.Config) { *c = want })
	s.Configure("", func(c *builder.Config) {}) // without a text: not in the history
	s.Config().Labels["org.example/key"] = "a copy's"
	ok(t, errOf(s.Copy(t.Context(), "/f", file("f", "x"))))
	for _, format := range []string{"oci", "docker"} {
		img, err := s.Commit(t.Context(), format, builder.CommitOptions{Format: format, Author: "me", Comment: "done"})
		ok(t, err)
		d, err := b.Inspect(t.Context(), img.ID)
		ok(t, err)
		if !reflect.DeepEqual(d.Config, want) {
			t.Errorf("%s: got %+v\nwant %+v", format, d.Config, want)
		}
		equal(t, d.Author+" "+d.OS+" "+d.History[1].Comment, "me linux done")
		equal(t, history(d), "(empty) CONFIGURED\nCOPY f /f\n")
	}
	// A stage on the image begins with all of it.
	next := stage(t, b, "oci", builder.StageOptions{})
	if got := next.Config(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	next.Configure("CHANGED", func(c *builder.Config) { c.Cmd = nil })
	img, err := next.Commit(t.Context(), "next", builder.CommitOptions{})
	ok(t, err)
	d, err := b.Inspect(t.Context(), img.ID)
	ok(t, err)
	equal(t, history(d), "(empty) CONFIGURED\nCOPY f /f\n(empty) CHANGED\n")
	if len(d.Config.Cmd) != 0 || len(d.Layers) != 1 {
		t.Errorf("command %q, %d layers", d.Config.Cmd, len(d.Layers))
	}
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := scratch(t, b)
	opts := builder.CommitOptions{Annotations: map[string]string{"org.example.key": "a=b, c"}}
	img, err := s.Commit(t.Context(), "annotated", opts)
	ok(t, err)
	dir := tempDir(t)
	_, err = b.Push(t.Context(), img.ID, "dir:"+dir, builder.PushOptions{})
	ok(t, err)
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	ok(t, err)
	if !strings.Contains(string(text), `"annotations":{"org.example.key":"a=b, c"}`) {
		t.Errorf("manifest %s", text)
	}
	// The same image without, by the same id, is another manifest.
	plain, err := s.Commit(t.Context(), "plain", builder.CommitOptions{})
	ok(t, err)
	if plain.ID != img.ID || plain.Digest == img.Digest {
		t.Errorf("got %+v and %+v", img, plain)
	}
	opts.Format = "docker"
	if _, err := s.Commit(t.Context(), "", opts); !errors.Is(err, builder.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// TestInheritAnnotations: annotations of the base are kept only when that is asked for, also over a Fork.
func TestInheritAnnotations(t *testing.T) {
	t.Parallel()
	b := open(t)
	_, err := scratch(t, b).Commit(t.Context(), "base", builder.CommitOptions{Annotations: map[string]string{"a": "base", "b": "base"}})
	ok(t, err)
	on := stage(t, b, "base", builder.StageOptions{})
	fork, err := on.Fork(t.Context(), builder.StageOptions{})
	ok(t, err)
	defer fork.Close()
	own := map[string]string{"b": "own", "c": "own"}
	for _, test := range []struct {
		opts builder.CommitOptions
		want map[string]string
	}{
		{builder.CommitOptions{}, nil},
		{builder.CommitOptions{Annotations: own}, own},
		{builder.CommitOptions{InheritAnnotations: true}, map[string]string{"a": "base", "b": "base"}},
		{builder.CommitOptions{InheritAnnotations: true, Annotations: own}, map[string]string{"a": "base", "b": "own", "c": "own"}},
		{builder.CommitOptions{InheritAnnotations: true, Annotations: own, UnsetAnnotations: []string{"a", "b", "x"}}, map[string]string{"c": "own"}},
		{builder.CommitOptions{InheritAnnotations: true, Format: "docker"}, nil},
	} {
		for _, s := range []*builder.Stage{on, fork} {
			img, err := s.Commit(t.Context(), "", test.opts)
			ok(t, err)
			d, err := b.Inspect(t.Context(), img.ID)
			ok(t, err)
			if !maps.Equal(d.Annotations, test.want) {
				t.Errorf("%+v: got %v, want %v", test.opts, d.Annotations, test.want)
			}
		}
	}
}

func TestOmitHistory(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := scratch(t, b)
	s.Configure("CONFIGURED", func(c *builder.Config) { c.Cmd = []string{"x"} })
	kept, err := s.Commit(t.Context(), "base", builder.CommitOptions{})
	ok(t, err)
	on := stage(t, b, "base", builder.StageOptions{})
	ok(t, errOf(on.Copy(t.Context(), "/", builder.Bytes("f", nil))))
	without, err := on.Commit(t.Context(), "", builder.CommitOptions{OmitHistory: true, Comment: "of nothing"})
	ok(t, err)
	for id, want := range map[string]int{kept.ID: 1, without.ID: 0} {
		d, err := b.Inspect(t.Context(), id)
		ok(t, err)
		if len(d.History) != want || len(d.Config.Cmd) != 1 {
			t.Errorf("got %+v, want %d entries of the history", d, want)
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	var events []event.Event
	b := openIn(t, builder.Options{Root: tempDir(t), Events: func(e event.Event) { events = append(events, e) }})
	s := stage(t, b, builder.Scratch, builder.StageOptions{Name: "named"})
	ok(t, errOf(s.CopyWith(t.Context(), builder.CopyOptions{History: "first"}, "/", builder.Dir(baseDir))))
	run(t, s, "true") // describes itself
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, History: "RUN second"})))
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, History: "not told", Ephemeral: true})))
	ok(t, errOf(s.Workdir(t.Context(), "/w", "third")))
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	d, err := b.Inspect(t.Context(), img.ID)
	ok(t, err)
	equal(t, history(d), "first\nRUN /bin/sh -c true\nRUN second\nthird\n")
	ok(t, b.Close())
	var got []string
	for _, e := range events {
		if e.Time.IsZero() || e.Err != nil || e.Cached || e.Stage != "named" {
			t.Errorf("event %+v", e)
		}
		got = append(got, strings.TrimSpace(string(e.Kind)+" "+e.Step))
	}
	equal(t, strings.Join(got, "\n"), `step-started first
step-finished first
step-started RUN /bin/sh -c true
step-finished RUN /bin/sh -c true
step-started RUN second
step-finished RUN second
step-started third
step-finished third
committed`)
}

func TestCommitFormats(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := scratch(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/f", file("f", "x"))))
	const oci, docker = "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"
	digests := map[string]string{}
	for _, test := range []struct{ format, mediaType string }{{"oci", oci}, {"docker", docker}, {"", oci}, {"oci", oci}, {"docker", docker}} {
		img, err := s.Commit(t.Context(), "format"+test.format, builder.CommitOptions{Format: test.format})
		ok(t, err)
		d, err := b.Inspect(t.Context(), img.ID)
		ok(t, err)
		equal(t, d.Manifest.MediaType, test.mediaType)
		equal(t, string(img.Digest), string(d.Digest))
		if first, known := digests[test.mediaType]; known {
			equal(t, string(d.Digest), first)
		}
		digests[test.mediaType] = string(d.Digest)
		equal(t, names(layers(t, b, "format"+test.format)[0]), "f")
	}
	if digests[oci] == digests[docker] {
		t.Error("two formats with one digest")
	}
	// One configuration in two manifests is one image, whose names all stay.
	for _, name := range []string{"format", "formatoci", "formatdocker"} {
		if _, err := b.Inspect(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := s.Commit(t.Context(), "x", builder.CommitOptions{Format: "zip"})
	is(t, err, builder.ErrInvalid)
}

func TestCommitNames(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := scratch(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/f", file("f", "x"))))
	for name, want := range map[string]string{
		"app": "localhost/app:latest", "app:v1": "localhost/app:v1", "team/app": "localhost/team/app:latest",
		"localhost/app:x": "localhost/app:x", "example.com/app": "example.com/app:latest", "example.com:5000/a/b:c": "example.com:5000/a/b:c",
		"docker.io/app": "docker.io/library/app:latest", "docker.io/team/app": "docker.io/team/app:latest",
	} {
		_, err := s.Commit(t.Context(), name, builder.CommitOptions{})
		ok(t, err)
		for _, ref := range []string{name, want} {
			d, err := b.Inspect(t.Context(), ref)
			ok(t, err)
			if !strings.Contains(" "+strings.Join(d.Names, " ")+" ", " "+want+" ") {
				t.Errorf("%s: names %q, want %s among them", name, d.Names, want)
			}
		}
	}
	for _, bad := range []string{"UPPER", "a b", "app:", ":v1", "a//b", "-", "app@sha256:" + strings.Repeat("0", 64), "a:b:c"} {
		if _, err := s.Commit(t.Context(), bad, builder.CommitOptions{}); err == nil {
			t.Errorf("%q is a name", bad)
		} else {
			is(t, err, builder.ErrReference)
		}
	}
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{Names: []string{"one", "two:2"}})
	ok(t, err)
	for _, name := range []string{"one", "two:2"} {
		d, err := b.Inspect(t.Context(), name)
		ok(t, err)
		equal(t, d.ID, img.ID)
	}
	// A name moves to the image that took it last.
	ok(t, errOf(s.Copy(t.Context(), "/g", file("g", "y"))))
	moved, err := s.Commit(t.Context(), "one", builder.CommitOptions{})
	ok(t, err)
	d, err := b.Inspect(t.Context(), "one")
	ok(t, err)
	equal(t, d.ID, moved.ID)
	d, err = b.Inspect(t.Context(), img.ID)
	ok(t, err)
	if strings.Contains(strings.Join(d.Names, " "), "/one:") {
		t.Errorf("the former image is still called %q", d.Names)
	}
}

func TestCommitTimes(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := scratch(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/f", file("f", "x"))))
	at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	img, err := s.Commit(t.Context(), "dated", builder.CommitOptions{Created: &at})
	ok(t, err)
	if !img.Created.Equal(at) {
		t.Errorf("created %v, want %v", img.Created, at)
	}
	img, err = s.Commit(t.Context(), "now", builder.CommitOptions{})
	ok(t, err)
	if since := time.Since(img.Created); since < 0 || since > time.Minute {
		t.Errorf("created %v ago", since)
	}
	d, err := b.Inspect(t.Context(), "now")
	ok(t, err)
	if !d.Created.Equal(*d.History[0].Created) {
		t.Errorf("image of %v with a layer of %v", d.Created, d.History[0].Created)
	}
}

func TestCommitNothing(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := scratch(t, b)
	s.Configure("LABEL a=b", func(c *builder.Config) { c.Labels = map[string]string{"a": "b"} })
	img, err := s.Commit(t.Context(), "empty", builder.CommitOptions{})
	ok(t, err)
	d, err := b.Inspect(t.Context(), img.ID)
	ok(t, err)
	if len(d.Layers) != 0 || d.Size != 0 || d.Config.Labels["a"] != "b" || history(d) != "(empty) LABEL a=b\n" {
		t.Errorf("%+v", d)
	}
	// It can be built upon.
	next := stage(t, b, "empty", builder.StageOptions{})
	ok(t, errOf(next.Copy(t.Context(), "/", builder.Dir(baseDir))))
	equal(t, sh(t, next, "echo works"), "works\n")
}

func TestStageGoesOnAfterCommit(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	one, err := s.Commit(t.Context(), "one", builder.CommitOptions{})
	ok(t, err)
	run(t, s, "echo 2 >/two")
	two, err := s.Commit(t.Context(), "two", builder.CommitOptions{})
	ok(t, err)
	if one.ID == two.ID || len(layers(t, b, "one")) != 1 || len(layers(t, b, "two")) != 2 {
		t.Errorf("%+v\n%+v", one, two)
	}
	if two.Size <= one.Size {
		t.Errorf("%d bytes with a file more, %d without", two.Size, one.Size)
	}
}

func TestFork(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	s.Configure("", func(c *builder.Config) { c.Env = []string{"A=1"}; c.Labels = map[string]string{"k": "v"} })
	run(t, s, "echo before >/f")
	fork, err := s.Fork(t.Context(), builder.StageOptions{Name: "fork"})
	ok(t, err)
	defer fork.Close()
	run(t, s, "echo after >/f")
	run(t, fork, "echo forked >>/f")
	fork.Configure("", func(c *builder.Config) { c.Env[0] = "A=2"; c.Labels["k"] = "w" })
	equal(t, sh(t, s, "cat /f; echo $A"), "after\n1\n")
	equal(t, sh(t, fork, "cat /f; echo $A"), "before\nforked\n2\n")
	equal(t, s.Config().Labels["k"], "v")
	ok(t, s.Close())
	equal(t, sh(t, fork, "head -n 1 /f"), "before\n")
	_, err = s.Fork(t.Context(), builder.StageOptions{})
	is(t, err, builder.ErrClosed)
}
