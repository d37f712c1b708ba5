//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
)

//go:embed testdata
var testdata embed.FS

// What a Source has been made of wrongly is told by whoever gets it, before anything is read.
func TestRefusedSources(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	wrong := builder.Dir(t.TempDir()).Checksum("sha256:x")
	is(t, errOf(s.Copy(t.Context(), "/", builder.Bytes("a", nil), wrong)), builder.ErrInvalid)
	is(t, errOf(s.Add(t.Context(), "/", wrong)), builder.ErrInvalid)
	_, err := b.Stage(t.Context(), "oci-archive:x", builder.StageOptions{Below: &wrong})
	is(t, err, builder.ErrInvalid)
	for _, below := range []builder.Source{builder.Dir(".").Select("a"), s.Path("a"), builder.Dir(".").Chown("1"), builder.FS(testdata), builder.URL("http://127.0.0.1:1/a")} {
		_, err := b.Stage(t.Context(), "oci-archive:x", builder.StageOptions{Below: &below})
		is(t, err, builder.ErrInvalid)
	}
	for _, name := range []string{"", ".", "..", "a/b", "/a", "a\x00"} {
		is(t, errOf(s.Copy(t.Context(), "/", builder.Bytes(name, nil))), builder.ErrInvalid)
	}
}

// Bytes are one file.
func TestBytes(t *testing.T) {
	t.Parallel()
	b := open(t)
	for _, test := range []struct{ name, dest, want string }{
		{"motd", "/etc/motd", "etc/motd"}, {"motd", "/etc/", "etc/motd"}, {"*[a]?\\", "/x/", "x/*[a]?\\"}, {"a\xff", "/y/", "y/a\xff"},
	} {
		for _, again := range []bool{false, true} {
			s := scratch(t, b)
			step, err := s.Copy(t.Context(), test.dest, builder.Bytes(test.name, []byte("hello")).Chown("7:8"))
			ok(t, err)
			if step.Cached != again {
				t.Errorf("cached: %t", step.Cached)
			}
			found := false
			for _, e := range lastLayer(t, b, s) {
				if e.Name != test.want {
					continue
				}
				found = true
				equal(t, fmt.Sprintf("%o %d:%d %d %d", e.Mode, e.Uid, e.Gid, e.Size, e.ModTime.Unix()), "644 7:8 5 0")
			}
			if !found {
				t.Errorf("there is no %q", test.want)
			}
		}
	}
	big := bytes.Repeat([]byte("x"), 1<<20) // more than a pipe holds
	s := scratch(t, b)
	ok(t, errOf(s.Add(t.Context(), "/big", builder.Bytes("other", big), builder.Bytes("one", big))))
	names := ""
	for _, e := range lastLayer(t, b, s) {
		names += " " + strings.Trim(e.Name, "/")
	}
	equal(t, names, " big big/one big/other")
	// The last of a name wins, as when each is copied by itself.
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Bytes("a", []byte("first")), builder.Bytes("a", []byte("second one")))))
	data, err := s.ReadFile(t.Context(), "/a", 100)
	ok(t, err)
	equal(t, string(data), "second one")
}

// The files of an image are copied without a stage, and found in the cache without being mounted.
func TestImageFiles(t *testing.T) {
	t.Parallel()
	b := open(t)
	from := scratch(t, b)
	ok(t, errOf(from.Copy(t.Context(), "/dir/", file("f", "one").Chown("7:8"))))
	img, err := from.Commit(t.Context(), "localhost/files:1", builder.CommitOptions{})
	ok(t, err)
	owner := func(src builder.Source, cached bool) string {
		t.Helper()
		s := scratch(t, b)
		step, err := s.Copy(t.Context(), "/out", src.Select("dir/f"))
		ok(t, err)
		if step.Cached != cached {
			t.Errorf("cached: %t", step.Cached)
		}
		for _, e := range lastLayer(t, b, s) {
			if e.Name == "out" {
				return fmt.Sprintf("%d:%d", e.Uid, e.Gid)
			}
		}
		return "none"
	}
	for _, again := range []bool{false, true} {
		equal(t, owner(builder.ImageFiles("localhost/files:1").Pull("never"), again), "7:8")
		equal(t, owner(builder.ImageFiles(img.ID).OwnedByRoot(), again), "0:0")
	}
	// The same files of a stage are the same step.
	equal(t, owner(from.Path(), true), "7:8")
	s := scratch(t, b)
	is(t, errOf(s.Copy(t.Context(), "/", builder.ImageFiles("localhost/none:1").Pull("never"))), builder.ErrImageNotFound)
	is(t, errOf(s.Copy(t.Context(), "/", builder.ImageFiles("localhost/files:1").Pull("sometimes"))), builder.ErrInvalid)
	is(t, errOf(s.Copy(t.Context(), "/", builder.ImageFiles("localhost/files:1").Platform("x/y/z/w"))), builder.ErrInvalid)
	is(t, errOf(s.Copy(t.Context(), "/", builder.ImageFiles(""))), builder.ErrReference)
	is(t, errOf(s.Copy(t.Context(), "/", builder.ImageFiles("localhost/files:1").Select("none"))), builder.ErrNotFound)
	ok(t, s.Close())
	ok(t, from.Close())
	_, err = b.Remove(t.Context(), "localhost/files:1", builder.RemoveOptions{})
	ok(t, err)
	is(t, errOf(scratch(t, b).Copy(t.Context(), "/", builder.ImageFiles(img.ID).Pull("never"))), builder.ErrImageNotFound)
}

// A directory that is there gets the owner and the mode of one that is copied onto it, as it does
// from other builders; but a file system in a program has made up those of its directories.
func TestCopyOntoDirectories(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(dir, "sub/deep"), 0o755))
	ok(t, os.WriteFile(filepath.Join(dir, "sub/deep/f"), nil, 0o644))
	ok(t, os.Chmod(filepath.Join(dir, "sub"), 0o700))
	ok(t, os.Chmod(filepath.Join(dir, "sub/deep"), 0o711))
	tarred := func() builder.Source {
		return directories(t, tar.Header{Name: "sub", Mode: 0o700}, tar.Header{Name: "sub/deep", Mode: 0o711})
	}
	fsys := fstest.MapFS{
		"sub": {Mode: fs.ModeDir | 0o555}, "sub/deep": {Mode: fs.ModeDir | 0o555}, "sub/deep/f": {Mode: 0o444, ModTime: time.Unix(5, 0)},
	}
	for name, test := range map[string]struct {
		source func() builder.Source
		want   string // of /sub and of /sub/deep, which is not there before
	}{
		"Dir":       {func() builder.Source { return builder.Dir(dir) }, "700 0:0 711 0:0"},
		"Tar":       {tarred, "700 0:0 711 0:0"},
		"FS":        {func() builder.Source { return builder.FS(fsys) }, "1777 7:8 555 0:0"},
		"FS, owned": {func() builder.Source { return builder.FS(fsys).Chown("9:9") }, "1777 7:8 555 9:9"},
	} {
		s := scratch(t, b)
		ok(t, errOf(s.Copy(t.Context(), "/", directories(t, tar.Header{Name: "sub", Mode: 0o1777}).Chown("7:8"))))
		ok(t, errOf(s.Copy(t.Context(), "/", test.source())))
		got := map[string]string{}
		for _, e := range lastLayer(t, b, s) {
			got[strings.Trim(e.Name, "/")] = fmt.Sprintf("%o %d:%d", e.Mode, e.Uid, e.Gid)
		}
		if got := got["sub"] + " " + got["sub/deep"]; got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	// So that the same files of a directory are another step.
	closed := t.TempDir()
	ok(t, os.Mkdir(filepath.Join(closed, "sub"), 0o555))
	for _, source := range []builder.Source{builder.FS(fstest.MapFS{"sub": {Mode: fs.ModeDir | 0o555}}), builder.Dir(closed)} {
		s := scratch(t, b)
		ok(t, errOf(s.Copy(t.Context(), "/", directories(t, tar.Header{Name: "sub", Mode: 0o1777}))))
		step, err := s.Copy(t.Context(), "/", source)
		ok(t, err)
		if step.Cached {
			t.Error("the step of a file system in a program is that of a directory")
		}
	}
	// An embed.FS onto directories of an image.
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/etc/testdata/", file("keep", ""))))
	ok(t, errOf(s.Copy(t.Context(), "/etc", builder.FS(testdata))))
	for _, e := range lastLayer(t, b, s) {
		if name := strings.Trim(e.Name, "/"); (name == "etc" || name == "etc/testdata") && e.Mode&0o777 != 0o755 {
			t.Errorf("%s has the mode %o", name, e.Mode)
		}
	}
}

// directories is an archive of directories.
func directories(t testing.TB, headers ...tar.Header) builder.Source {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		h.Typeflag = tar.TypeDir
		ok(t, w.WriteHeader(&h))
	}
	ok(t, w.Close())
	return builder.Tar(&buf)
}
