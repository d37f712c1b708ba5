//go:build linux

package builder_test

import (
	"archive/tar"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

// A file that layers cannot hold is refused with its name, whatever brings it: who pulls the
// image would find another file removed.
func TestNamesOfWhiteoutsAreRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }))
	defer server.Close()
	b := open(t)
	context := builder.Dir(tree(t, map[string]string{".wh.passwd": "x", "d/.wh..wh..opq": "", "e/.wh.dir/f": "x", "f": "f"}))
	shell := func(script string) func(*builder.Stage) error {
		return func(s *builder.Stage) error {
			_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", script}})
			return err
		}
	}
	copied := func(dest string, source builder.Source) func(*builder.Stage) error {
		return func(s *builder.Stage) error { _, err := s.Copy(t.Context(), dest, source); return err }
	}
	for name, test := range map[string]struct {
		do   func(*builder.Stage) error
		path string
	}{
		"context":               {copied("/etc/", context.Select(".wh.passwd")), "/etc/.wh.passwd"},
		"directory":             {copied("/etc", context.Select("d")), "/etc/.wh..wh..opq"},
		"directory's name":      {copied("/etc", context.Select("e")), "/etc/.wh.dir"},
		"destination":           {copied("/etc/.wh.hosts", context.Select("f")), "/etc/.wh.hosts"},
		"destination directory": {copied("/.wh.etc/", context.Select("f")), "/.wh.etc"},
		"fs.FS":                 {copied("/", builder.FS(fstest.MapFS{"x/.wh.y": {Mode: 0o644}})), "/x/.wh.y"},
		"url": {func(s *builder.Stage) error {
			_, err := s.Add(t.Context(), "/etc/", builder.URL(server.URL+"/.wh.group"))
			return err
		}, ".wh.group"},
		"archive": {func(s *builder.Stage) error {
			_, err := s.Add(t.Context(), "/etc/", archive(t, tar.Header{Name: "./.wh.passwd", Typeflag: tar.TypeReg}))
			return err
		}, ".wh.passwd"},
		"archive's link": {func(s *builder.Stage) error {
			_, err := s.Add(t.Context(), "/etc/", archive(t, tar.Header{Name: "a/.wh..wh.aufs/x", Typeflag: tar.TypeSymlink, Linkname: "x"}))
			return err
		}, ".wh..wh.aufs"},
		"workdir": {func(s *builder.Stage) error {
			_, err := s.Workdir(t.Context(), "/var/.wh.tmp", "")
			return err
		}, "/var/.wh.tmp"},
		"run":           {shell("mkdir -p /a/b; echo >/a/b/.wh.c"), "/a/b/.wh.c"},
		"run's opaque":  {shell("echo >/etc/.wh..wh..opq"), "/etc/.wh..wh..opq"},
		"run's fifo":    {shell("mkfifo /etc/.wh.x"), "/etc/.wh.x"},
		"run's link":    {shell("ln -s x /etc/.wh.x"), "/etc/.wh.x"},
		"run's rename":  {shell("mv /etc/passwd /etc/.wh.passwd"), "/etc/.wh.passwd"},
		"run's new dir": {shell("mkdir /etc/.wh."), "/etc/.wh."},
	} {
		t.Run(name, func(t *testing.T) {
			s := base(t, b)
			err := test.do(s)
			is(t, err, builder.ErrUnfit)
			if err != nil && !strings.Contains(err.Error(), test.path) {
				t.Errorf("%v does not name %s", err, test.path)
			}
			equal(t, sh(t, s, "cat /etc/passwd"), passwd) // the stage is as before
		})
	}
	// Only the beginning of the name counts, and what is not kept may be called so.
	s := base(t, b)
	run(t, s, "echo >/x.wh.y; echo >/.whx; echo >/.wh.gone; rm /.wh.gone; echo >/tmp/..wh.z")
	ok(t, errOf(s.Copy(t.Context(), "/d/", context.Exclude("**/.wh.*"))))
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/touch", "/.wh.x"}, Ephemeral: true})))
}

// A path that nobody could open again.
func TestTooLongAPathIsRefused(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := t.TempDir()
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	ok(t, err)
	for range 25 {
		name := strings.Repeat("d", 200)
		ok(t, unix.Mkdirat(at, name, 0o755))
		next, err := unix.Openat(at, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		ok(t, err)
		ok(t, unix.Close(at))
		at = next
	}
	ok(t, unix.Close(at))
	is(t, errOf(base(t, b).Copy(t.Context(), "/x", builder.Dir(dir))), builder.ErrUnfit)
}
