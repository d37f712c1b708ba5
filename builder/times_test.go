//go:build linux

package builder_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// The same steps done again, and not from the cache, give the same image when its
// times are given.
func TestTimes(t *testing.T) {
	t.Parallel()
	early, late := time.Unix(1000, 0), time.Unix(2000000000, 0)
	limit := time.Unix(1500000000, 5)
	b := open(t)
	image := func(opts builder.StageOptions) (builder.Image, []tarEntry) {
		t.Helper()
		first := stage(t, b, builder.Scratch, builder.StageOptions{NoCache: true})
		ok(t, errOf(first.Copy(t.Context(), "/", builder.Dir(baseDir))))
		_, err := first.Commit(t.Context(), "localhost/times-base", builder.CommitOptions{})
		ok(t, err)
		s := stage(t, b, "localhost/times-base", opts)
		defer s.Close()
		ok(t, errOf(s.Copy(t.Context(), "/d/", builder.FS(fstest.MapFS{
			"early": {ModTime: early, Mode: 0o644}, "late": {ModTime: late, Mode: 0o644}, "dir/in": {ModTime: late, Mode: 0o644},
		}))))
		run(t, s, "rm /d/dir/in && ln -s x /d/link && mkdir -p /d/new/er && chmod 000 /d/new")
		entries := lastLayer(t, b, s)
		s.Configure("", func(c *builder.Config) { c.Cmd = []string{"x"} })
		img, err := s.Commit(t.Context(), "", builder.CommitOptions{Created: &limit})
		ok(t, err)
		detail, err := b.Inspect(t.Context(), img.ID)
		ok(t, err)
		if !detail.Created.Equal(limit) {
			t.Errorf("created %v, want %v", detail.Created, limit)
		}
		for _, h := range detail.History {
			if h.Created == nil || !h.Created.Equal(limit) {
				t.Errorf("history %+v, want the time %v", h, limit)
			}
		}
		return img, entries
	}
	opts := builder.StageOptions{NoCache: true, LatestTime: &limit}
	_, layer := image(opts)
	for _, name := range []string{"d/dir/.wh.in", "d/link", "d/new", "d/new/er", "d/dir"} {
		if got := entryOf(t, layer, name).ModTime; got.Unix() != limit.Unix() {
			t.Errorf("%s has the time %v", name, got)
		}
	}
	files := builder.FS(fstest.MapFS{"early": {ModTime: early, Mode: 0o644}, "late": {ModTime: late, Mode: 0o644}})
	for _, all := range []bool{false, true} {
		s := stage(t, b, builder.Scratch, builder.StageOptions{LatestTime: &limit, AllTimes: all})
		step, err := s.Copy(t.Context(), "/", files)
		ok(t, err)
		if step.Cached {
			t.Errorf("all %v: the layer of other times was in the cache", all)
		}
		layer = lastLayer(t, b, s)
		want := map[bool]time.Time{false: early, true: limit}[all]
		if got := entryOf(t, layer, "early").ModTime; got.Unix() != want.Unix() {
			t.Errorf("all %v: the early file has the time %v", all, got)
		}
		if got := entryOf(t, layer, "late").ModTime; got.Unix() != limit.Unix() {
			t.Errorf("all %v: the late file has the time %v", all, got)
		}
	}
	// Twice the same, over a base that is twice the same too.
	twice := func() string {
		s := stage(t, b, builder.Scratch, opts)
		ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(baseDir))))
		run(t, s, "echo x >/x && sleep 0.01")
		img, err := s.Commit(t.Context(), "", builder.CommitOptions{Created: &limit})
		ok(t, err)
		return img.ID
	}
	equal(t, twice(), twice())
}

// Directories that Workdir makes can have a time of their own, and so be the same in
// every build.
func TestWorkdirTime(t *testing.T) {
	t.Parallel()
	b := open(t)
	limit := time.Unix(1500000000, 0)
	s := base(t, b)
	dated := stage(t, b, builder.Scratch, builder.StageOptions{NoCache: true, WorkdirTime: &limit})
	ok(t, errOf(dated.Workdir(t.Context(), "/a/b", "")))
	for _, e := range lastLayer(t, b, dated) {
		if !e.ModTime.Equal(limit) {
			t.Errorf("%s has the time %v", e.Name, e.ModTime)
		}
	}
	ok(t, errOf(s.Workdir(t.Context(), "/a/b", "")))
	if e := entryOf(t, lastLayer(t, b, s), "a"); time.Since(e.ModTime) > time.Hour {
		t.Errorf("without a time it has %v", e.ModTime)
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	s := base(t, open(t))
	for name, want := range map[string]string{"": "oakum", "builder7": "builder7"} {
		equal(t, output(t, s, builder.Cmd{Args: []string{"/bin/hostname"}, Isolation: isolation.Options{Network: isolation.Network{Hostname: name}}, Ephemeral: true}), want+"\n")
		equal(t, output(t, s, builder.Cmd{Args: []string{"/bin/sh", "-c", "tail -n 1 /etc/hosts"}, Isolation: isolation.Options{Network: isolation.Network{Hostname: name}}, Ephemeral: true}), "127.0.1.1\t"+want+"\n")
	}
	for _, bad := range []string{"a b", "a\n", strings.Repeat("a", 65)} {
		is(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/hostname"}, Isolation: isolation.Options{Network: isolation.Network{Hostname: bad}}})), builder.ErrInvalid)
	}
}
