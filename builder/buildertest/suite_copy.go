package buildertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/oakum-build/oakum/builder"
)

func testCopy(t *testing.T, s suite) {
	files := fstest.MapFS{"a": {Data: []byte("A")}, "d/b": {Data: []byte("B")}, "d/e/c": {Data: []byte("C")}}
	for _, test := range []struct {
		dest    string
		sources []builder.Source
		want    map[string]any
	}{
		{"/", []builder.Source{builder.FS(files)}, map[string]any{"/a": "A", "/d/b": "B", "/d/e/c": "C"}},
		{"/x/y", []builder.Source{builder.FS(files)}, map[string]any{"/x/y/a": "A", "/x/y/d/e/c": "C"}},
		{"/x", []builder.Source{builder.FS(files).Select("a")}, map[string]any{"/x": "A"}},
		{"/x/", []builder.Source{builder.FS(files).Select("a")}, map[string]any{"/x/a": "A"}},
		{"/x", []builder.Source{builder.FS(files).Select("d")}, map[string]any{"/x/b": "B", "/x/e/c": "C", "/x/d": nil}},
		{"/x", []builder.Source{builder.FS(files).Select("a", "d")}, map[string]any{"/x/a": "A", "/x/b": "B"}},
		{"/x", []builder.Source{builder.FS(files).Select("a"), builder.Bytes("z", []byte("Z"))}, map[string]any{"/x/a": "A", "/x/z": "Z"}},
		{"rel", []builder.Source{builder.Bytes("z", []byte("Z"))}, map[string]any{"/rel": "Z"}},
	} {
		st := s.stage(t, builder.Scratch, builder.StageOptions{})
		done(t)(st.Copy(t.Context(), test.dest, test.sources...))
		for name, want := range test.want {
			holds(t, st, name, want)
		}
	}

	from := s.stage(t, builder.Scratch, builder.StageOptions{})
	done(t)(from.Copy(t.Context(), "/", builder.FS(files)))
	to := s.stage(t, builder.Scratch, builder.StageOptions{})
	done(t)(to.Copy(t.Context(), "/in/", from.Path("a", "d/e")))
	holds(t, to, "/in/a", "A")
	holds(t, to, "/in/c", "C")
	done(t)(to.Copy(t.Context(), "/in/a", builder.Bytes("b", []byte("new"))))
	holds(t, to, "/in/a", "new")
	holds(t, from, "/a", "A")

	dir := t.TempDir()
	for name, text := range map[string]string{"one": "1", "sub/two": "2"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("one", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	local := s.stage(t, builder.Scratch, builder.StageOptions{})
	done(t)(local.Copy(t.Context(), "/c", builder.Dir(dir)))
	holds(t, local, "/c/one", "1")
	holds(t, local, "/c/sub/two", "2")
	holds(t, local, "/c/link", "1")
	done(t)(local.Copy(t.Context(), "/c/one", builder.Bytes("x", []byte("changed"))))
	holds(t, local, "/c/link", "changed")
}

// modes and owners are seen by what another copy takes: the digest of what a stage has covers
// them, so that an equal step is cached.
func testCopyModes(t *testing.T, s suite) {
	base := s.stage(t, builder.Scratch, builder.StageOptions{})
	done(t)(base.Copy(t.Context(), "/etc/passwd", builder.Bytes("passwd", []byte("root:x:0:0::/:\napp:x:7:8::/:\n"))))
	one, two := fork(t, base), fork(t, base)
	file := builder.Bytes("f", []byte("f"))
	done(t)(one.Copy(t.Context(), "/f", file.Chown("app").Chmod("640")))
	done(t)(two.Copy(t.Context(), "/f", file.Chown("7:8").Chmod("u=rw,g=r,o=")))
	to := s.stage(t, builder.Scratch, builder.StageOptions{})
	again := s.stage(t, builder.Scratch, builder.StageOptions{})
	if done(t)(to.Copy(t.Context(), "/f", one.Path("f"))).Cached {
		t.Error("the first copy was cached")
	}
	if !done(t)(again.Copy(t.Context(), "/f", two.Path("f"))).Cached {
		t.Error("the same owner and mode are another copy")
	}
	other, third := fork(t, base), s.stage(t, builder.Scratch, builder.StageOptions{})
	done(t)(other.Copy(t.Context(), "/f", file.Chown("app").Chmod("600")))
	if done(t)(third.Copy(t.Context(), "/f", other.Path("f"))).Cached {
		t.Error("another mode is the same copy")
	}
	if _, err := base.Copy(t.Context(), "/g", file.Chown("nobody-here")); !errors.Is(err, builder.ErrUserNotFound) {
		t.Errorf("an unknown user: %v", err)
	}
}

func testCopyErrors(t *testing.T, s suite) {
	st := s.stage(t, builder.Scratch, builder.StageOptions{})
	files := fstest.MapFS{"a": {Data: []byte("A")}, "d/b": {}}
	for _, test := range []struct {
		want    error
		sources []builder.Source
	}{
		{builder.ErrInvalid, nil},
		{builder.ErrInvalid, []builder.Source{{}}},
		{builder.ErrNotFound, []builder.Source{builder.FS(files).Select("none")}},
		{builder.ErrNotFound, []builder.Source{builder.FS(files).Select("a").Ignore("a")}},
		{builder.ErrNotFound, []builder.Source{builder.Dir(filepath.Join(t.TempDir(), "none"))}},
		{builder.ErrInvalid, []builder.Source{builder.FS(files).Chmod("rwx")}},
		{builder.ErrInvalid, []builder.Source{builder.FS(files).Checksum("sha256:00")}},
	} {
		if step, err := st.Copy(t.Context(), "/x", test.sources...); !errors.Is(err, test.want) || step != (builder.Step{}) {
			t.Errorf("%v: %+v, %v, want %v", test.sources, step, err, test.want)
		}
	}
	holds(t, st, "/x", nil)
	done(t)(st.Copy(t.Context(), "/dir", builder.FS(files)))
	done(t)(st.Copy(t.Context(), "/dir", builder.FS(files).Select("*.none")))
	holds(t, st, "/dir/a", "A")
}

func testSelect(t *testing.T, s suite) {
	files := fstest.MapFS{"a.go": {Data: []byte("a")}, "b.go": {Data: []byte("b")}, "c.txt": {Data: []byte("c")}, "sub/d.go": {Data: []byte("d")}, "sub/e.txt": {Data: []byte("e")}}
	all := builder.FS(files)
	for _, test := range []struct {
		source builder.Source
		want   string
	}{
		{all.Select("*.go"), "a.go b.go"},
		{all.Select("*"), "a.go b.go c.txt d.go e.txt"}, // a directory means its contents
		{all.Ignore("*.go"), "c.txt sub/d.go sub/e.txt"},
		{all.Ignore("**/*.go", "!sub/d.go"), "c.txt sub/d.go sub/e.txt"},
		{all.Ignore("sub"), "a.go b.go c.txt"},
		{all.Exclude("**/*.txt"), "a.go b.go sub/d.go"},
		{all.Select("sub/*.go").Parents(), "sub/d.go"},
		{all.Select("?.txt", "sub/[d]*"), "c.txt d.go"},
	} {
		st := s.stage(t, builder.Scratch, builder.StageOptions{})
		done(t)(st.Copy(t.Context(), "/x/", test.source))
		var got []string
		for _, name := range []string{"a.go", "b.go", "c.txt", "d.go", "e.txt", "sub/d.go", "sub/e.txt"} {
			if _, err := st.ReadFile(t.Context(), "/x/"+name, 10); err == nil {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func testAdd(t *testing.T, s suite) {
	archive := archiveOf(t, map[string]string{"in/a": "A", "b": "B"})
	source := builder.FS(fstest.MapFS{"f.tar": {Data: archive}})
	st := s.stage(t, builder.Scratch, builder.StageOptions{})
	done(t)(st.Add(t.Context(), "/x/", source.Select("f.tar")))
	holds(t, st, "/x/in/a", "A")
	holds(t, st, "/x/b", "B")
	holds(t, st, "/x/f.tar", nil)
	done(t)(st.Copy(t.Context(), "/y/", source.Select("f.tar")))
	holds(t, st, "/y/f.tar", string(archive))
	done(t)(st.Add(t.Context(), "/d/", source)) // one that only a directory has in it stays
	holds(t, st, "/d/f.tar", string(archive))
	done(t)(st.Copy(t.Context(), "/z/", builder.Tar(bytes.NewReader(archive))))
	holds(t, st, "/z/in/a", "A")
}

// archiveOf makes a tar archive of files.
func archiveOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg})
		if _, writeErr := w.Write([]byte(files[name])); err != nil || writeErr != nil {
			t.Fatal(err, writeErr)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
