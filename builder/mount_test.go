//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/builder/usage"
)

// with runs a script as a step that sees mounts.
func with(t testing.TB, s *builder.Stage, script string, mounts ...builder.Mount) (string, builder.Step) {
	t.Helper()
	out, step, err := try(t, s, script, mounts...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out, step
}

func try(t testing.TB, s *builder.Stage, script string, mounts ...builder.Mount) (string, builder.Step, error) {
	t.Helper()
	var out bytes.Buffer
	step, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", script}, Mounts: mounts, Dir: "/w", Stdout: &out, Stderr: &out})
	return out.String(), step, err
}

const list = `find . -mindepth 1 -exec stat -c '%F %a %u:%g %n' {} + | sed 's/regular empty file/f/; s/regular file/f/; s/symbolic link/l/; s/directory/d/; s,\./,,' | sort -k 4`

// A bind shows the files of any Source, as root's where they come from a machine.
func TestMountBind(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := tree(t, map[string]string{"f": "file", "sub/g": "sub", "sub/deep/h": "deep", "link": "-> sub/g", "out": "-> ../../../../etc/passwd", "no/x": "ignored"})
	ok(t, os.Chmod(filepath.Join(dir, "f"), 0o751))
	other := base(t, b)
	run(t, other, "mkdir -p /o/p && echo stage >/o/f && echo deep >/o/p/g && ln -s /o/p /to && ln -s g /o/p/l && chown 7:8 /o/f /o/p && chmod 711 /o/p && touch /o/none")
	s := base(t, b)
	for _, test := range []struct {
		name   string
		from   builder.Source
		script string
		want   string
	}{
		{"a directory", builder.Dir(dir).Ignore("no"), list + "; cat f link sub/g; cat out", "f 751 0:0 f\nl 777 0:0 link\nl 777 0:0 out\nd 755 0:0 sub\nd 755 0:0 sub/deep\nf 644 0:0 sub/deep/h\nf 644 0:0 sub/g\nfilesubsub" + passwd},
		{"a part of one", builder.Dir(dir).Select("sub"), list, "d 755 0:0 deep\nf 644 0:0 deep/h\nf 644 0:0 g\n"},
		{"what is excluded", builder.Dir(dir).Exclude("no", "**/g", "out", "link"), "find . -type f | sort", "./f\n./sub/deep/h\n"},
		{"a file", builder.Dir(dir).Select("f"), "stat -c '%F %a %u:%g' . && cat .", "regular file 751 0:0\nfile"},
		{"a link to a file", builder.Dir(dir).Select("link"), "cat .", "sub"},
		{"bytes", builder.Bytes("a*b", []byte("bytes")), "cat .", "bytes"},
		{"a file system", builder.FS(fstest.MapFS{"d/f": {Data: []byte("fs"), Mode: 0o640}}), "su -s /bin/sh app -c 'ls' && cat d/f", "d\nfs"},
		{"a part of a file system", builder.FS(fstest.MapFS{"d/f": {Data: []byte("fs"), Mode: 0o640}}).Select("d"), "cat f", "fs"},
		{"an archive", builder.Tar(bytes.NewReader(packed(t))), "cat t", "of an archive"},
		{"a stage", other.Path("/o"), list + "; cat f p/l", "f 644 7:8 f\nf 644 0:0 none\nd 711 7:8 p\nf 644 0:0 p/g\nl 777 0:0 p/l\nstage\ndeep\n"},
		{"a stage's files as root's", other.Path("/o").OwnedByRoot(), list, "f 644 0:0 f\nf 644 0:0 none\nd 711 0:0 p\nf 644 0:0 p/g\nl 777 0:0 p/l\n"},
		{"a link of a stage", other.Path("/to"), "cat g l", "deep\ndeep\n"},
		{"a file of a stage", other.Path("/o/f"), "cat .", "stage\n"},
		{"a whole stage", other.Path("/"), "cat o/f bin/busybox | head -n 1", "stage\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := fork(t, s)
			// What is relative is relative to the command's directory.
			for _, target := range []string{"/m/n", "m"} {
				at := target
				if target == "m" {
					at = "/w/m"
				}
				script := strings.ReplaceAll("cd "+at+" && "+test.script, "cd "+at+" && cat .", "cat "+at)
				script = strings.ReplaceAll(script, "cd "+at+" && stat -c '%F %a %u:%g' . && cat .", "stat -c '%F %a %u:%g' "+at+" && cat "+at)
				if test.name == "an archive" && target == "m" {
					continue // it can be read once
				}
				got, _ := with(t, s, script, builder.Mount{Target: target, From: test.from, ReadOnly: true})
				equal(t, got, test.want)
			}
			if got := find(t, s, "/w"); got != "" {
				t.Errorf("the layer has\n%s", got)
			}
		})
	}
	_, _, err := try(t, s, "true", builder.Mount{Target: "/m", From: builder.Dir(dir).Ignore("no").Select("no")})
	is(t, err, builder.ErrNotFound)
	if !strings.Contains(err.Error(), "the bind mount on /m") {
		t.Error(err)
	}
	_, _, err = try(t, s, "true", builder.Mount{Target: "/m", From: other.Path("/none")})
	is(t, err, builder.ErrNotFound)
	_, _, err = try(t, s, "true", builder.Mount{Target: "/m", From: other.Path("/dev/null/x")})
	is(t, err, builder.ErrNotFound)
}

// What makes no sense is refused before anything is asked of the worker, and names the mount.
func TestMountInvalid(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	for want, mounts := range map[string][]builder.Mount{
		"the tmpfs mount on /w/x and the bind mount on /w/x": {{Target: "x", Tmpfs: &mount.Tmpfs{}}, {Target: "/w/./x", From: builder.Dir(".")}},
		"an empty Source":                              {{Target: "/m", Cache: &mount.Cache{}, From: builder.Source{}.Select("x").Chown("x")}, {Target: "/n", From: builder.Dir("")}},
		"nothing can be mounted over":                  {{Target: "../..", Tmpfs: &mount.Tmpfs{}}},
		"over /proc/self, for /proc shows the machine": {{Target: "../proc/self", Tmpfs: &mount.Tmpfs{}}},
		"OwnedByRoot has no meaning":                   {{Target: "/m", From: builder.Dir(".").OwnedByRoot()}},
		"not UTF-8":                                    {{Target: "/\xff", Tmpfs: &mount.Tmpfs{}}},
	} {
		_, _, err := try(t, s, "true", mounts...)
		if want == "an empty Source" {
			want = "it must be one of"
		}
		is(t, err, builder.ErrInvalid)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// packed is an archive of one file.
func packed(t testing.TB) []byte {
	t.Helper()
	return tarOf(t, tar.Header{Name: "t", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 5, Linkname: "of an archive"})
}

func fork(t testing.TB, s *builder.Stage) *builder.Stage {
	t.Helper()
	child, err := s.Fork(t.Context(), builder.StageOptions{})
	ok(t, err)
	t.Cleanup(func() { child.Close() })
	return child
}

// A cache keeps what commands leave in it, and is no part of a layer or a key.
func TestMountCache(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	id := func(c mount.Cache) builder.Mount { return builder.Mount{Target: "/c", Cache: &c} }
	got, _ := with(t, s, "stat -c '%a %u:%g' /c && echo one >/c/one && mkdir /c/sub && echo two >/c/sub/two && ln -s /sub /c/link && ln -s /etc /c/etc", id(mount.Cache{ID: "../x"}))
	equal(t, got, "755 0:0\n")
	equal(t, sh(t, s, "ls -d /c 2>&1; true"), "ls: /c: No such file or directory\n")
	got, _ = with(t, s, "cat /c/one /c/sub/two", id(mount.Cache{ID: "../x", Mode: 0o700, UID: 5, Sharing: mount.Locked}))
	equal(t, got, "one\ntwo\n")
	got, _ = with(t, s, "cat /c/two", id(mount.Cache{ID: "../x", Path: "link"}))
	equal(t, got, "two\n")
	got, _ = with(t, s, "cat /c", id(mount.Cache{ID: "../x", Path: "/sub/../link/two"}))
	equal(t, got, "two\n")
	for _, path := range []string{"none", "etc", "one/x", "../../../../etc"} {
		_, _, err := try(t, s, "cat /c/passwd", id(mount.Cache{ID: "../x", Path: path}))
		is(t, err, builder.ErrNotFound)
	}
	got, _ = with(t, s, "ls -A /c; echo x >/c/x", builder.Mount{Target: "/c", Cache: &mount.Cache{Mode: os.ModeSticky | 0o777, UID: 1000, GID: 7}})
	equal(t, got, "")
	got, _ = with(t, s, "stat -c '%a %u:%g' /c; cat /c/x; echo x >/c/y; true", builder.Mount{Target: "/c", Cache: &mount.Cache{}, ReadOnly: true})
	equal(t, strings.TrimSuffix(got, "/bin/sh: can't create /c/y: Read-only file system\n"), "1777 1000:7\nx\n")
	got, _ = with(t, s, "ls /c", builder.Mount{Target: "/c", Cache: &mount.Cache{}, ReadOnly: true})
	equal(t, got, "x\n") // in a chroot it was a copy

	// The same command on the same layers is found, whatever the cache has now.
	other := base(t, b)
	dated := func(m builder.Mount) bool {
		_, step := with(t, fork(t, other), "date +%N >>/c/dates; cp /c/dates /dates", m)
		return step.Cached
	}
	if dated(id(mount.Cache{ID: "d"})) || !dated(id(mount.Cache{ID: "d"})) {
		t.Error("the step is not found by its command")
	}
	for _, m := range []builder.Mount{id(mount.Cache{ID: "e"}), id(mount.Cache{ID: "d", Mode: 0o700})} {
		if dated(m) {
			t.Errorf("%+v: the step of another mount was found", m)
		}
	}

	// Another process has the same caches, and prune removes them.
	root := tempDir(t)
	for range 2 {
		b, err := builder.Open(t.Context(), chosen(builder.Options{Root: root}))
		ok(t, err)
		s := base(t, b)
		got, _ := with(t, s, "ls /c; touch /c/$(ls /c | wc -l)", id(mount.Cache{ID: "x"}))
		s.Close()
		p, err := b.Prune(t.Context(), usage.Options{})
		if err != nil || got != "" || p.Caches != 1 {
			t.Errorf("%q, %+v, %v", got, p, err)
		}
		ok(t, b.Close())
	}
}

// Commands with several caches in common wait for each other, and never for ever; one that has the
// same cache several times does not wait for itself.
func TestMountCacheLocks(t *testing.T) {
	t.Parallel()
	var warned atomic.Int32
	short, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	b := openIn(t, builder.Options{Root: tempDir(t), Events: func(e event.Event) {
		if e.Kind == event.Warning && strings.Contains(e.Text, `waiting for the cache "l"`) {
			warned.Add(1)
			giveUp()
		}
	}})
	s := base(t, b)
	cache := func(target, id string, how mount.Sharing) builder.Mount {
		return builder.Mount{Target: target, Cache: &mount.Cache{ID: id, Sharing: how}}
	}
	several := []builder.Mount{cache("/1", "x", mount.Private), cache("/2", "x", mount.Locked), cache("/3", "x", mount.Shared), cache("/4", "x", mount.Private), cache("/5", "x", mount.Locked)}
	got, _, err := try(t, s, "touch /1/a /3/p; ls /1 /2 /3 /4 /5", several...)
	var host *builder.HostError
	switch {
	case !inChroot:
		ok(t, err)
		equal(t, got, "/1:\na\n\n/2:\np\n\n/3:\np\n\n/4:\n\n/5:\np\n")
	case !errors.As(err, &host) || !strings.Contains(host.Missing, "in two places"):
		t.Errorf("a cache that is to be moved to two places: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			mounts := []builder.Mount{cache("/1", "a", mount.Locked), cache("/2", "b", mount.Locked), cache("/3", "c", mount.Shared)}
			if i%2 == 1 {
				mounts = []builder.Mount{cache("/2", "c", mount.Locked), cache("/1", "b", mount.Locked), cache("/3", "a", mount.Shared)}
			}
			s := fork(t, s)
			_, err := s.Run(ctx, builder.Cmd{Args: []string{"sh", "-c", fmt.Sprintf("mkdir /1/taken && : %d && rmdir /1/taken", i)}, Mounts: mounts})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// Who waits gives up when it is told to, and says that it waits.
	held, stop := context.WithCancel(t.Context())
	reads, writes, err := os.Pipe()
	ok(t, err)
	all.Go(func() {
		_, _ = fork(t, s).Run(held, builder.Cmd{Args: []string{"sh", "-c", "echo has; sleep 600"}, Mounts: []builder.Mount{cache("/1", "l", mount.Locked)}, Stdout: writes})
	})
	_, err = reads.Read(make([]byte, 1))
	ok(t, err)
	_, err = fork(t, s).Run(short, builder.Cmd{Args: []string{"true"}, Mounts: []builder.Mount{cache("/1", "l", mount.Locked)}})
	is(t, err, context.Canceled)
	if warned.Load() != 1 {
		t.Errorf("warned %d times", warned.Load())
	}
	with(t, s, "true", cache("/1", "l", mount.Private))
	stop()
	all.Wait()
	with(t, s, ": free", cache("/1", "l", mount.Locked))
}

// The first content of a cache comes from any source, and another one makes another cache.
func TestMountCacheFrom(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	dir := tree(t, map[string]string{"a/f": "of a directory", "b/x": "other"})
	other := base(t, b)
	run(t, other, "mkdir -p /o/sub && echo stage >/o/sub/f && chown 3:4 /o/sub/f")
	from := func(src builder.Source) builder.Mount {
		return builder.Mount{Target: "/c", From: src, Cache: &mount.Cache{ID: "x"}}
	}
	got, _ := with(t, fork(t, s), "cat /c/f; stat -c %u:%g /c/f /c; touch /c/new", from(other.Path("/o/sub")))
	equal(t, got, "stage\n3:4\n0:0\n")
	got, _ = with(t, fork(t, s), "cat /c/f; ls /c", from(other.Path("/o/sub")))
	equal(t, got, "stage\nf\nnew\n")
	got, _ = with(t, s, "cat /c/f", from(builder.Dir(dir).Select("a")))
	equal(t, got, "of a directory")
	ok(t, os.WriteFile(filepath.Join(dir, "a/f"), []byte("changed"), 0o644))
	got, _ = with(t, s, "cat /c/f; : again", from(builder.Dir(dir).Select("a")))
	equal(t, got, "changed")
	got, _ = with(t, s, "cat /c/d/f", from(builder.FS(fstest.MapFS{"d/f": {Data: []byte("fs")}})))
	equal(t, got, "fs")
	_, _, err := try(t, s, "cat /c", from(builder.Dir(dir).Select("a/f")))
	is(t, err, builder.ErrInvalid)
	_, _, err = try(t, s, "cat /c", from(other.Path("/none")))
	is(t, err, builder.ErrNotFound)
}

// What is written to a bind reaches nobody: not the source, not the next command, not the layer.
func TestMountBindWritten(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := tree(t, map[string]string{"f": "file", "sub/g": "sub"})
	other := base(t, b)
	run(t, other, "mkdir -p /o/sub && echo stage >/o/f && echo deep >/o/sub/g && chown -R 7:8 /o && chmod 1711 /o")
	s := base(t, b)
	before := sh(t, other, "find /o -exec stat -c '%n %a %u %Y' {} + | sort")
	for name, from := range map[string]builder.Source{
		"a directory": builder.Dir(dir), "a part of one": builder.Dir(dir).Ignore("x"), "a stage": other.Path("/o"), "a stage as root": other.Path("/o").OwnedByRoot(),
		"a file system": builder.FS(fstest.MapFS{"f": {Data: []byte("fs")}, "sub/g": {}}),
	} {
		for range 2 {
			got, _ := with(t, s, "cd /m && ls -A . sub && cat f >/dev/null && rm -r sub && echo new >>f && echo x >x && mkdir sub && mknod p p && echo x >sub/x && chmod 700 . && chown 9 . && rm -f /m/f; : "+name, builder.Mount{Target: "/m", From: from})
			equal(t, got, ".:\nf\nsub\n\nsub:\ng\n")
			_, _, err := try(t, s, "cd /m && echo x >x || echo x >>f || rm f", builder.Mount{Target: "/m", From: from, ReadOnly: true})
			if !inChroot { // where it is a copy
				exits(t, err, 1)
			}
			s = fork(t, s)
			s.Configure("", func(c *builder.Config) { c.Env = append(c.Env, "AGAIN="+name) })
		}
	}
	for name, from := range map[string]builder.Source{
		"a file": builder.Dir(dir).Select("f"), "a file of a stage": other.Path("/o/f"), "bytes": builder.Bytes("f", []byte("bytes")), "a file of a file system": builder.FS(fstest.MapFS{"f": {Data: []byte("fs")}}).Select("f"),
	} {
		with(t, s, "test -s /m && echo new >>/m && chmod 0 /m && chown 5 /m && truncate -s 0 /m; : "+name, builder.Mount{Target: "/m", From: from})
		_, _, err := try(t, s, "echo x >>/m", builder.Mount{Target: "/m", From: from, ReadOnly: true})
		if !inChroot {
			exits(t, err, 1)
		}
	}
	equal(t, find(t, s, "/w"), "")
	equal(t, sh(t, other, "find /o -exec stat -c '%n %a %u %Y' {} + | sort"), before)
	data, err := os.ReadFile(filepath.Join(dir, "f"))
	if entries, _ := os.ReadDir(dir); err != nil || string(data) != "file" || len(entries) != 2 {
		t.Errorf("the directory has %q, %v, %v", data, entries, err)
	}
}

// Mounts may lie in each other, in whatever order they are given.
func TestMountInMount(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := tree(t, map[string]string{"f": "file", "sub/g": "sub"})
	s := base(t, b)
	for _, readOnly := range []bool{true, false} {
		got, _ := with(t, s, "cat /m/f /m/sub/g /m/sub/more/f /m/new/x; ls /m /m/sub /m/cache; echo x >>/m/cache/x; ls /m/cache/in",
			builder.Mount{Target: "/m/sub/more/f", From: builder.Dir(dir).Select("f"), ReadOnly: readOnly},
			builder.Mount{Target: "/m/cache/in/here", From: builder.Dir(dir), ReadOnly: readOnly},
			builder.Mount{Target: "/m/new/x", From: builder.Bytes("x", []byte("bytes")), ReadOnly: readOnly},
			builder.Mount{Target: "/m/cache", Cache: &mount.Cache{ID: fmt.Sprint(readOnly)}},
			builder.Mount{Target: "/m", From: builder.Dir(dir), ReadOnly: readOnly},
		)
		equal(t, got, "filesubfilebytes/m:\ncache\nf\nnew\nsub\n\n/m/cache:\nin\n\n/m/sub:\ng\nmore\nhere\n")
	}
	equal(t, find(t, s, "/w"), "")
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("the source has a mount point")
	}
}

// A bind's content counts for the step, wherever it comes from; what is ignored does not.
func TestMountBindKey(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := tree(t, map[string]string{"f": "file", "no/x": "ignored"})
	other := base(t, b)
	run(t, other, "mkdir /o && printf file >/o/f")
	s := base(t, b)
	cached := func(from builder.Source, readOnly bool, opts builder.StageOptions) bool {
		t.Helper()
		s, err := s.Fork(t.Context(), opts)
		ok(t, err)
		defer s.Close()
		_, step := with(t, s, "cp -r /m /w/copy", builder.Mount{Target: "/m", From: from, ReadOnly: readOnly})
		return step.Cached
	}
	write := func(name, text string) { ok(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)) }
	src := builder.Dir(dir).Ignore("no")
	for i, test := range []struct {
		change   func()
		from     builder.Source
		readOnly bool
		want     bool
	}{
		{func() {}, src, true, false},
		{func() {}, src, true, true},
		{func() { write("no/y", "ignored, too") }, src, true, true},
		{func() {}, src, false, false}, // it might write
		{func() { write("f", "changed") }, src, true, false},
		{func() { write("f", "file") }, src, true, true},
		{func() { ok(t, os.Chmod(filepath.Join(dir, "f"), 0o755)) }, src, true, false},
		{func() { ok(t, os.Chmod(filepath.Join(dir, "f"), 0o644)) }, src, true, true},
		{func() {}, builder.Dir(dir), true, false},
		{func() {}, builder.FS(fstest.MapFS{"f": {Data: []byte("file"), Mode: 0o644}}), true, true},
		{func() {}, src.Select("f"), true, false},
		{func() {}, builder.Bytes("f", []byte("file")), true, true},
		{func() {}, builder.Bytes("g", []byte("file")), true, false},
		{func() {}, other.Path("/o"), true, false}, // with owners
		{func() {}, other.Path("/o"), true, true},
		{func() {}, other.Path("/o").OwnedByRoot(), true, true},
		{func() { run(t, other, "chown 3 /o/f") }, other.Path("/o"), true, false},
		{func() { run(t, other, "touch /elsewhere") }, other.Path("/o"), true, true},
		{func() { run(t, other, "chmod 711 /o") }, other.Path("/o"), true, false},
	} {
		test.change()
		if got := cached(test.from, test.readOnly, builder.StageOptions{}); got != test.want {
			t.Errorf("%d: cached: %t", i, got)
		}
	}
	if !cached(src, true, builder.StageOptions{Lookup: true}) {
		t.Error("not found by a lookup")
	}
	// Where a step is only looked up, what is read is what another stage has made.
	if s, err := s.Fork(t.Context(), builder.StageOptions{Lookup: true}); err != nil {
		t.Error(err)
	} else {
		_, _, err := try(t, s, "another", builder.Mount{Target: "/m", From: src})
		is(t, err, builder.ErrUncached)
		s.Close()
	}
}
