//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

var linked = builder.CopyOptions{Link: true}

// A changed base keeps what --link made on another one, with its times: the layer is
// the same blob.
func TestLinkIsIndependentOfTheBase(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"d/f": "f", "d/l": "-> f", "e/": ""})
	ok(t, os.Link(filepath.Join(context, "d/f"), filepath.Join(context, "d/hard")))
	ok(t, unix.Chmod(filepath.Join(context, "e"), 0o1700))
	setxattr(t, filepath.Join(context, "d/f"), "user.colour", "blue")
	b := open(t)
	from := base(t, b)
	run(t, from, "mkdir /s && echo s >/s/s && chown 33:44 /s/s && chmod 6711 /s/s")
	layer := func(script string, opts builder.StageOptions) (string, bool) {
		t.Helper()
		s := stage(t, b, builder.Scratch, opts)
		ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(baseDir))))
		if script != "" {
			run(t, s, script)
		}
		step, err := s.CopyWith(t.Context(), linked, "/new/dir/", builder.Dir(context).Chown("7:8"), from.Path("/s"))
		ok(t, err)
		cached := step.Cached
		equal(t, find(t, s, "/new"), `d 755 7:8 dir
d 755 7:8 dir/d
f 644 7:8 dir/d/f
f 644 7:8 dir/d/hard
l 777 7:8 dir/d/l
d 1700 7:8 dir/e
f 6711 33:44 dir/s
`)
		equal(t, sh(t, s, "ls -d /bin/sh /kept 2>/dev/null; stat -c %h /new/dir/d/f"), "/bin/sh\n"+map[bool]string{true: "/kept\n"}[script == "touch /kept"]+"2\n")
		img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
		ok(t, err)
		detail, err := b.Inspect(t.Context(), img.ID)
		ok(t, err)
		return string(detail.Layers[len(detail.Layers)-1]), cached
	}
	first, cached := layer("", builder.StageOptions{})
	if cached {
		t.Error("the first copy was in the cache")
	}
	for _, script := range []string{"touch /kept", "mkdir -p /new/dir/d && rm -r /new", ""} {
		again, cached := layer(script, builder.StageOptions{})
		equal(t, again, first)
		if !cached {
			t.Errorf("after %q the copy was not in the cache", script)
		}
	}
	if _, cached := layer("", builder.StageOptions{NoCache: true}); cached {
		t.Error("without the cache the copy was in it")
	}
	ok(t, os.WriteFile(filepath.Join(context, "d/f"), []byte("other"), 0o644))
	if changed, cached := layer("touch /kept", builder.StageOptions{}); cached || changed == first {
		t.Errorf("changed files: cached %v, layer %s", cached, changed)
	}
}

// Links of the base are not followed: the destination's directories take their place.
func TestLinkDoesNotFollow(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	run(t, s, "mkdir -p /real /etc/sub && echo kept >/real/kept && ln -s /real /dir && ln -s f /file && echo f >/f && chmod 700 /etc")
	files := builder.FS(fstest.MapFS{"new": {Data: []byte("new"), Mode: 0o644}})
	ok(t, errOf(s.CopyWith(t.Context(), linked, "/dir/", files)))
	ok(t, errOf(s.CopyWith(t.Context(), linked, "/file", files.Select("new"))))
	ok(t, errOf(s.CopyWith(t.Context(), linked, "/etc/", files)))
	equal(t, sh(t, s, "ls /real /dir; cat /f; stat -c '%F %a' /dir /file /etc; ls -d /etc/passwd /etc/sub"),
		"/dir:\nnew\n\n/real:\nkept\nf\ndirectory 755\nregular file 644\ndirectory 755\n/etc/passwd\n/etc/sub\n")
	equal(t, names(lastLayer(t, b, s)), "etc/\netc/new")
	is(t, errOf(s.CopyWith(t.Context(), linked, "/x", files.Chown("app"))), builder.ErrUserNotFound)
	is(t, errOf(s.CopyWith(t.Context(), linked, "/x", files.Select("nope"))), builder.ErrNotFound)
	ok(t, errOf(s.CopyWith(t.Context(), linked, "/x/", files.Chown("5"))))
	equal(t, sh(t, s, "stat -c %u /x/new; cat /etc/new"), "5\nnew")
	ok(t, errOf(s.CopyWith(t.Context(), linked, "/etc/sub/", files.Chmod("600"))))
	equal(t, sh(t, s, "stat -c %a /etc /etc/sub /etc/sub/new"), "755\n755\n600\n")
}

// An archive is unpacked into the layer itself.
func TestLinkUnpacks(t *testing.T) {
	t.Parallel()
	context := t.TempDir()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	ok(t, w.AddFS(fstest.MapFS{"f": {Data: []byte("f"), Mode: 0o644}}))
	ok(t, w.Close())
	ok(t, os.WriteFile(filepath.Join(context, "a.tar"), archive.Bytes(), 0o644))
	b := open(t)
	s := base(t, b)
	ok(t, errOf(s.CopyWith(t.Context(), builder.CopyOptions{Link: true, Unpack: true}, "/bin/", builder.Dir(context).Select("a.tar"))))
	equal(t, names(lastLayer(t, b, s)), "bin/\nbin/f")
	equal(t, sh(t, s, "cat /bin/f"), "f")
}

func TestCopyModes(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"d/f": "f", "d/exe": "x", "d/sub/": ""})
	ok(t, os.Chmod(filepath.Join(context, "d/exe"), 0o700))
	ok(t, os.Chmod(filepath.Join(context, "d/sub"), 0o700))
	b := open(t)
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/out", builder.Dir(context).Chmod("u=rwX,go=rX"))))
	ok(t, errOf(s.Copy(t.Context(), "/group", builder.Dir(context).Select("d").Chmod("g=u,o=,+t"))))
	equal(t, find(t, s, "/out")+find(t, s, "/group"), `d 755 0:0 d
f 755 0:0 d/exe
f 644 0:0 d/f
d 755 0:0 d/sub
f 1770 0:0 exe
f 1660 0:0 f
d 1770 0:0 sub
`)
	is(t, errOf(s.Copy(t.Context(), "/x", builder.Dir(context).Chmod("u+q"))), builder.ErrInvalid)
}

func TestCopyParents(t *testing.T) {
	t.Parallel()
	b := open(t)
	from, to := base(t, b), base(t, b)
	run(t, from, "mkdir -p /a/b/c && echo f >/a/b/c/f && chown 33:44 /a/b && chmod 2750 /a/b && ln -s /a /l")
	ok(t, errOf(to.Copy(t.Context(), "/out", from.Path("/a/**/f").Parents())))
	ok(t, errOf(to.Copy(t.Context(), "/owned/", from.Path("/l/./b/c/f").Parents().Chown("app").Chmod("go="))))
	equal(t, find(t, to, "/out")+find(t, to, "/owned"), `d 755 0:0 a
d 2750 33:44 a/b
d 755 0:0 a/b/c
f 644 0:0 a/b/c/f
d 700 1000:1001 b
d 700 1000:1001 b/c
f 600 1000:1001 b/c/f
`)
	_, err := to.Copy(t.Context(), "/x", from.Path("/a/nope").Parents())
	if !errors.Is(err, builder.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	again := base(t, b)
	step, err := again.Copy(t.Context(), "/out", from.Path("/a/**/f").Parents())
	ok(t, err)
	if !step.Cached {
		t.Error("the repeated copy was not in the cache")
	}
	step, err = again.Copy(t.Context(), "/out", from.Path("/a/**/f"))
	ok(t, err)
	if step.Cached {
		t.Error("without parents, the copy was in the cache")
	}
}
