//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

// exported gives what Export writes.
func exported(t testing.TB, b *builder.Builder, files ...builder.Source) []tarEntry {
	t.Helper()
	var out bytes.Buffer
	ok(t, b.Export(t.Context(), &out, files...))
	return entriesOf(t, out.Bytes())
}

func entriesOf(t testing.TB, data []byte) (all []tarEntry) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		ok(t, err)
		content, err := io.ReadAll(r)
		ok(t, err)
		all = append(all, tarEntry{h, string(content)})
	}
}

// TestExport writes the layers of an image as one tree, with all that the files have.
func TestExport(t *testing.T) {
	eachWorker(t, func(t *testing.T, b *builder.Builder) {
		odd := oddLayer(t)
		img, err := tampered(t, b, func(dir string) { addLayer(t, dir, odd) })
		ok(t, err)
		s := stage(t, b, img.ID, builder.StageOptions{})
		ok(t, errOf(s.Copy(t.Context(), "/odd/passwd", builder.Bytes("f", []byte("above")))))
		got := described(exported(t, b, s.Path("/odd")))
		want := strings.Join([]string{
			`0 closed 4 65000:60000 0,0 "" "c"`,
			`2 link 777 5:6 0,0 "closed" ""`,
			`0 linked 6755 1000:42 0,0 "" "s" SCHILY.xattr.security.capability="` + strings.Trim(fmt.Sprintf("%q", netRaw), `"`) + `" SCHILY.xattr.user.x="y"`,
			`0 passwd 644 0:0 0,0 "" "above"`,
			`6 pipe 640 7:0 0,0 "" ""`,
			`1 set-id 6755 1000:42 0,0 "linked" ""`,
			`5 sub/ 1777 8:0 0,0 "" ""`,
			`0 sub/f 600 0:0 0,0 "" "f"`,
		}, "\n")
		equal(t, got, want)
		committed, err := s.Commit(t.Context(), "", builder.CommitOptions{})
		ok(t, err)
		equal(t, described(exported(t, b, builder.ImageFiles(committed.ID).Select("odd"))), want)
	})
}

func TestExportParts(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := builder.Dir(tree(t, map[string]string{"f": "f", "d/g": "g", "link": "-> d"}))
	for _, test := range []struct {
		name, want string
		files      []builder.Source
	}{
		{"all", "d/ d/g f link", []builder.Source{dir}},
		{"a directory", "g", []builder.Source{dir.Select("d")}},
		{"a file", "g", []builder.Source{dir.Select("d/g")}},
		{"through a link", "g", []builder.Source{dir.Select("link")}},
		{"under a directory", "a/ a/b/ a/b/g", []builder.Source{dir.Select("d").Under("a/b")}},
		{"never above", "a/ a/g", []builder.Source{dir.Select("d").Under("../../a")}},
		{"side by side", "a/ a/f b/ b/f", []builder.Source{dir.Select("f").Under("a"), dir.Select("f").Under("b")}},
		{"merged", "g f", []builder.Source{dir.Select("d"), dir.Select("f")}},
		{"from this process", "x", []builder.Source{builder.Bytes("x", []byte("x"))}},
	} {
		var got []string
		for _, e := range exported(t, b, test.files...) {
			got = append(got, e.Name)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %q, want %s", test.name, got, test.want)
		}
	}
	twice := b.Export(t.Context(), io.Discard, dir.Select("f"), builder.Bytes("f", nil))
	is(t, twice, builder.ErrInvalid)
	is(t, b.Export(t.Context(), io.Discard, dir.Select("none")), builder.ErrNotFound)
}

type fullDisk struct{ err error }

func (f fullDisk) Write([]byte) (int, error) { return 0, f.err }

func TestExportEnds(t *testing.T) {
	t.Parallel()
	b := open(t)
	large := builder.Bytes("large", make([]byte, 8<<20))
	full := errors.New("the disk is full")
	is(t, b.Export(t.Context(), fullDisk{full}, large), full)

	// A reader that does not go on holds up nobody.
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("ended")
	block := make(chan struct{})
	defer close(block)
	err := b.Export(ctx, stuckWriter(func([]byte) (int, error) {
		cancel(ended)
		<-block
		return 0, nil
	}), large)
	is(t, err, ended)
	ok(t, errOf(scratch(t, b).Copy(t.Context(), "/", builder.Bytes("f", nil)))) // the worker goes on
}

type stuckWriter func([]byte) (int, error)

func (f stuckWriter) Write(p []byte) (int, error) { return f(p) }

// listing lists a directory: modes, names, what links lead to and what files hold.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var out []string
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		ok(t, err)
		name, _ := filepath.Rel(dir, path)
		text := ""
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			ok(t, err)
			text = "-> " + target
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				data = []byte("unreadable")
			}
			text = string(data)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%v %s %s", info.Mode(), name, text)))
		return nil
	}))
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// hostile has what leads out of a directory, and what a directory of the user's should not get.
func hostileFiles(t testing.TB, outside string) []byte {
	return tarOf(t,
		tar.Header{Name: "ro/", Typeflag: tar.TypeDir, Mode: 0o555},
		tar.Header{Name: "ro/f", Typeflag: tar.TypeReg, Linkname: "f", Mode: 0o444, Uid: 1234, Gid: 1234},
		tar.Header{Name: "set-id", Typeflag: tar.TypeReg, Linkname: "s", Mode: 0o6755},
		tar.Header{Name: "zero", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5, Mode: 0o666},
		tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666},
		tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: outside},
		tar.Header{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "../../../../../../../.."},
		tar.Header{Name: "sub/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "sub/new", Typeflag: tar.TypeReg, Linkname: "new", Mode: 0o644},
	)
}

// TestExportDir writes a hostile image twice, over what is there.
func TestExportDir(t *testing.T) {
	eachWorker(t, func(t *testing.T, b *builder.Builder) {
		outside := tree(t, map[string]string{"new": "old", "kept": "kept"})
		layer := hostileFiles(t, outside)
		img, err := tampered(t, b, func(dir string) { addLayer(t, dir, layer) })
		ok(t, err)
		s := stage(t, b, img.ID, builder.StageOptions{})
		part := s.Path("/").Exclude("bin", "etc", "root", "tmp", "home", "dev", "proc", "sys")
		before := listing(t, outside)
		// A link in the directory is not followed either.
		dir := tree(t, map[string]string{"sub": "-> " + outside, "other/f": "mine", "set-id": "old"})
		const want = `-r--r--r-- ro/f f
-rw-r--r-- other/f mine
-rw-r--r-- sub/new new
-rwxr-xr-x set-id s
Lrwxrwxrwx up -> ../../../../../../../..
dr-xr-xr-x ro
drwxr-xr-x other
drwxr-xr-x sub`
		for range 2 {
			ok(t, b.ExportDir(t.Context(), dir, part))
			got := strings.Replace(listing(t, dir), "Lrwxrwxrwx out -> "+outside+"\n", "", 1)
			equal(t, got, want)
			equal(t, listing(t, outside), before)
		}
		var st unix.Stat_t
		ok(t, unix.Stat(filepath.Join(dir, "ro/f"), &st))
		if int(st.Uid) != os.Getuid() || int(st.Gid) != os.Getgid() {
			t.Errorf("ro/f belongs to %d:%d", st.Uid, st.Gid)
		}
		ok(t, b.ReplaceDir(t.Context(), dir, builder.Bytes("one", []byte("1"))))
		equal(t, listing(t, dir), "-rw-r--r-- one 1")
		equal(t, listing(t, outside), before)
	})
}

// TestExportDirFails leaves a directory as it was.
func TestExportDirFails(t *testing.T) {
	t.Parallel()
	b := open(t)
	large := builder.Bytes("large", make([]byte, 8<<20))
	dir := tree(t, map[string]string{"d/f": "f", "e/": ""})
	before := listing(t, dir)
	is(t, b.ExportDir(t.Context(), dir, builder.Bytes("a", nil), builder.Bytes("d", nil)), builder.ErrInvalid)
	equal(t, listing(t, dir), before)
	is(t, b.ReplaceDir(t.Context(), dir, large, builder.Dir(dir).Select("none")), builder.ErrNotFound)
	equal(t, listing(t, dir), before)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is(t, b.ExportDir(ctx, filepath.Join(dir, "new/er"), large), context.Canceled)
	equal(t, listing(t, dir), before)
	is(t, b.ExportDir(t.Context(), filepath.Join(dir, "d/f"), large), builder.ErrInvalid)
	equal(t, listing(t, dir), before)

	// An empty directory may go, and what a process that was killed has left.
	ok(t, os.MkdirAll(filepath.Join(dir, ".oakum-output-LEFT", "sub"), 0o755))
	ok(t, b.ExportDir(t.Context(), dir, builder.Bytes("e", []byte("e"))))
	equal(t, listing(t, dir), "-rw-r--r-- d/f f\n-rw-r--r-- e e\ndrwxr-xr-x d")
}
