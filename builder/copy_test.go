//go:build linux

package builder_test

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

//go:embed doc.go source.go
var embedded embed.FS

func TestCopySelects(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{
		"a.go": "a", "b.go": "b", "b_test.go": "t", "go.mod": "m", "dir/x": "x", "dir/y": "y", "dir/sub/z": "z",
		"deep/one/f": "1", "deep/two/f": "2", "[odd]": "o",
	})
	dir := builder.Dir(context)
	tests := []struct {
		name    string
		dest    string
		sources []builder.Source
		want    string // names below /out
	}{
		{"a file to a name", "/out/new", []builder.Source{dir.Select("a.go")}, "new"},
		{"a file into a directory", "/out/", []builder.Source{dir.Select("a.go")}, "a.go"},
		{"a directory gives its contents", "/out", []builder.Source{dir.Select("dir")}, "sub sub/z x y"},
		{"a wildcard", "/out/", []builder.Source{dir.Select("*.go")}, "a.go b.go b_test.go"},
		{"several patterns make a directory", "/out", []builder.Source{dir.Select("a.go", "go.mod")}, "a.go go.mod"},
		{"several sources", "/out", []builder.Source{dir.Select("a.go"), dir.Select("dir")}, "a.go sub sub/z x y"},
		{"a wildcard of several makes a directory", "/out", []builder.Source{dir.Select("a*", "[bc].go").Exclude("dir")}, "a.go b.go"},
		{"wildcards in each component", "/out/", []builder.Source{dir.Select("d*p/t*/f")}, "f"},
		{"a wildcard over directories", "/out/", []builder.Source{dir.Select("deep/*")}, "f"},
		{"a wildcard of nothing", "/out/", []builder.Source{dir.Select("*.go", "*.none")}, "a.go b.go b_test.go"},
		{"a class", "/out/", []builder.Source{dir.Select("[ab].go")}, "a.go b.go"},
		{"an escaped bracket", "/out/", []builder.Source{dir.Select("[[]odd]")}, "[odd]"},
		{"an absolute pattern", "/out/", []builder.Source{dir.Select("/dir/x")}, "x"},
		{"dots stay inside", "/out/", []builder.Source{dir.Select("../../dir/x")}, "x"},
		{"ignored", "/out", []builder.Source{dir.Ignore("*.go", "deep", "[[]odd]")}, "dir dir/sub dir/sub/z dir/x dir/y go.mod"},
		{"ignored and selected by wildcard", "/out/", []builder.Source{dir.Select("*.go").Ignore("*_test.go")}, "a.go b.go"},
		{"ignored but for one", "/out", []builder.Source{dir.Ignore("*", "!dir/x")}, "dir dir/x"},
		{"excluded", "/out", []builder.Source{dir.Select("dir").Exclude("y", "sub")}, "x"},
		{"excluded everywhere", "/out", []builder.Source{dir.Exclude("**/x", "**/*.go", "deep/two", "go.mod", "[[]odd]")}, "deep deep/one deep/one/f dir dir/sub dir/sub/z dir/y"},
		{"fs.FS", "/out/", []builder.Source{builder.FS(embedded).Select("*.go")}, "doc.go source.go"},
	}
	b := open(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := base(t, b)
			ok(t, errOf(s.Copy(t.Context(), test.dest, test.sources...)))
			got := sh(t, s, "cd /out && find . -mindepth 1 | sed 's,^./,,' | sort")
			equal(t, strings.TrimSpace(got), strings.ReplaceAll(test.want, " ", "\n"))
		})
	}
}

// The files that one pattern names replace each other where the destination is neither a
// directory nor said to be one.
func TestCopySeveralToOneName(t *testing.T) {
	t.Parallel()
	dir := builder.Dir(tree(t, map[string]string{"a.go": "a", "b.go": "b", "in/x": "x", "z": "z"}))
	s := base(t, open(t))
	ok(t, errOf(s.Copy(t.Context(), "/out", dir.Select("?.go"))))
	ok(t, errOf(s.Copy(t.Context(), "/dir", dir.Select("[iz]*"))))
	equal(t, sh(t, s, "cat /out; ls /dir"), "bx\nz\n")
	is(t, errOf(s.Copy(t.Context(), "/out", dir.Select("[ai]*"))), builder.ErrInvalid) // a directory over a.go
}

func TestCopyErrors(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"a": "a", "dir/x": "x", "secret": "s"})
	dir := builder.Dir(context)
	tests := []struct {
		name    string
		dest    string
		sources []builder.Source
		want    error
	}{
		{"no source", "/out", nil, builder.ErrInvalid},
		{"the zero source", "/out", []builder.Source{{}}, builder.ErrInvalid},
		{"a missing file", "/out", []builder.Source{dir.Select("nope")}, builder.ErrNotFound},
		{"a missing directory", "/out", []builder.Source{builder.Dir(filepath.Join(context, "nope"))}, builder.ErrNotFound},
		{"a file as the directory", "/out", []builder.Source{builder.Dir(filepath.Join(context, "a"))}, builder.ErrInvalid},
		{"an ignored file", "/out", []builder.Source{dir.Select("secret").Ignore("secret")}, builder.ErrNotFound},
		{"a bad mode", "/out", []builder.Source{dir.Chmod("rwx")}, builder.ErrInvalid},
		{"a mode too large", "/out", []builder.Source{dir.Chmod("17777")}, builder.ErrInvalid},
		{"an unknown owner", "/out", []builder.Source{dir.Chown("nobody-here")}, builder.ErrUserNotFound},
		{"an unknown group", "/out", []builder.Source{dir.Chown("app:nobody-here")}, builder.ErrUserNotFound},
		{"a bad pattern", "/out", []builder.Source{dir.Select("[")}, builder.ErrInvalid},
		{"a bad ignore pattern", "/out", []builder.Source{dir.Ignore("[")}, builder.ErrInvalid},
		{"a bad exclude pattern", "/out", []builder.Source{dir.Exclude("[")}, builder.ErrInvalid},
		{"a directory over a file", "/bin/busybox", []builder.Source{dir.Select("dir")}, builder.ErrInvalid},
		{"a file below a file", "/bin/busybox/x", []builder.Source{dir.Select("a")}, builder.ErrInvalid},
		{"a file over a directory", "/", []builder.Source{builder.FS(fstest.MapFS{"etc": {Data: []byte("x")}})}, builder.ErrInvalid},
		{"an fs.FS that fails", "/out", []builder.Source{builder.FS(failing{fstest.MapFS{"a": {Data: []byte("a")}, "b": {Data: []byte("b")}}})}, errBroken},
		{"a special file in an fs.FS", "/out", []builder.Source{builder.FS(fstest.MapFS{"p": {Mode: fs.ModeNamedPipe}})}, builder.ErrInvalid},
	}
	b := open(t)
	s := base(t, b)
	before := find(t, s, "/bin") + find(t, s, "/etc")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { is(t, errOf(s.Copy(t.Context(), test.dest, test.sources...)), test.want) })
	}
	equal(t, find(t, s, "/bin")+find(t, s, "/etc"), before)
	equal(t, sh(t, s, "ls /"), "bin\ndev\netc\nhome\nproc\nroot\nsys\ntmp\n")
}

var errBroken = errors.New("broken")

// failing is a file system of which b cannot be read.
type failing struct{ fstest.MapFS }

func (f failing) Open(name string) (fs.File, error) {
	if name == "b" {
		return nil, errBroken
	}
	return f.MapFS.Open(name)
}

func TestCopyOwnersAndModes(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"d/f": "f", "d/l": "-> f", "d/exe": "x"})
	ok(t, unix.Chmod(filepath.Join(context, "d/exe"), 0o4755))
	ok(t, unix.Chmod(filepath.Join(context, "d"), 0o1777))
	dir := builder.Dir(context)
	tests := []struct {
		name   string
		dest   string
		source builder.Source
		want   []string
	}{
		{"root's by default", "/out", dir, []string{"d 1777 0:0 d", "f 4755 0:0 d/exe", "f 644 0:0 d/f", "l 777 0:0 d/l"}},
		{"a number", "/out", dir.Chown("7"), []string{"d 1777 7:7 d", "f 4755 7:7 d/exe", "f 644 7:7 d/f", "l 777 7:7 d/l"}},
		{"numbers", "/out", dir.Chown("7:8").Select("d/f"), []string{}},
		{"a name has its own group", "/out/", dir.Chown("app").Select("d/f"), []string{"f 644 1000:1001 f"}},
		{"a name and a number", "/out/", dir.Chown("app:5").Select("d/f"), []string{"f 644 1000:5 f"}},
		{"a name and a group", "/out/", dir.Chown("web:extra").Select("d/f"), []string{"f 644 33:2000 f"}},
		{"a group alone", "/out/", dir.Chown(":extra").Select("d/f"), []string{"f 644 0:2000 f"}},
		{"mode", "/out", dir.Chmod("0750"), []string{"d 750 0:0 d", "f 750 0:0 d/exe", "f 750 0:0 d/f", "l 777 0:0 d/l"}},
		{"set-user-ID by mode", "/out/", dir.Chmod("6711").Chown("web").Select("d/f"), []string{"f 6711 33:33 f"}},
	}
	b := open(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := base(t, b)
			ok(t, errOf(s.Copy(t.Context(), test.dest, test.source)))
			if len(test.want) == 0 {
				equal(t, sh(t, s, "stat -c %u:%g /out"), "7:8\n")
				return
			}
			equal(t, find(t, s, "/out"), strings.Join(test.want, "\n")+"\n")
		})
	}
}

// A directory that is copied onto one that is there gives it its attributes, as in the
// peers; the destination keeps its own; one made on the way is the copy's owner's.
func TestCopyIntoDirectories(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"home/app/f": "f", "bin/new": "n"})
	ok(t, os.Chmod(filepath.Join(context, "home"), 0o700))
	b := open(t)
	s := base(t, b)
	run(t, s, "chown 33:33 /home/app && chmod 2750 /home/app && ln -s /home/app /link")
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(context))))
	ok(t, errOf(s.Copy(t.Context(), "/link/by-link", builder.Dir(context).Select("bin/new"))))
	ok(t, errOf(s.Copy(t.Context(), "/made/on/way/", builder.Dir(context).Select("bin/new").Chown("web"))))
	equal(t, sh(t, s, "stat -c '%a %u:%g %n' /home /home/app /home/app/f /home/app/by-link /made /made/on/way /made/on/way/new"),
		`700 0:0 /home
755 0:0 /home/app
644 0:0 /home/app/f
644 0:0 /home/app/by-link
755 33:33 /made
755 33:33 /made/on/way
644 33:33 /made/on/way/new
`)
	equal(t, sh(t, s, "readlink /link"), "/home/app\n")
}

func TestCopyReplaces(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	run(t, s, "mkdir /d && echo old >/d/f && ln -s f /d/l && ln -s /nowhere /d/dangling && mkfifo /d/p && ln /d/f /d/hard")
	ok(t, errOf(s.Copy(t.Context(), "/d", builder.FS(fstest.MapFS{
		"f": {Data: []byte("new"), Mode: 0o600}, "p": {Data: []byte("pipe"), Mode: 0o644}, "dangling": {Data: []byte("file"), Mode: 0o644},
	}))))
	equal(t, sh(t, s, "cat /d/f /d/p /d/dangling /d/hard; stat -c '%F' /d/p /d/dangling /d/l"), "newpipefileold\nregular file\nregular file\nsymbolic link\n")
	// A link named as the destination stands for its file.
	ok(t, errOf(s.Copy(t.Context(), "/d/l", builder.Dir(tree(t, map[string]string{"x": "through"})).Select("x"))))
	equal(t, sh(t, s, "cat /d/f; readlink /d/l"), "throughf\n")
}

// What a file is beside its bytes comes through COPY, from stage to stage and to the
// image.
func TestCopyKeepsWhatFilesAre(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "f", "l": "-> f", "broken": "-> /no/such", "empty/": ""})
	ok(t, os.Link(filepath.Join(context, "f"), filepath.Join(context, "hard")))
	ok(t, os.WriteFile(filepath.Join(context, "exe"), []byte("x"), 0o755))
	ok(t, unix.Chmod(filepath.Join(context, "exe"), 0o6755))
	ok(t, os.Chtimes(filepath.Join(context, "f"), time.Unix(1000000, 0), time.Unix(1000000, 0)))
	setxattr(t, filepath.Join(context, "f"), "user.colour", "blue")
	setxattr(t, filepath.Join(context, "empty"), "user.colour", "red")
	b := open(t)
	first := base(t, b)
	ok(t, errOf(first.Copy(t.Context(), "/d", builder.Dir(context))))
	run(t, first, "mkfifo -m 640 /d/pipe && chown 33:44 /d/pipe && chown -h 12:13 /d/l && chown 5:6 /d/exe && chmod 6711 /d/exe")
	second := base(t, b)
	ok(t, errOf(second.Copy(t.Context(), "/e", first.Path("d"))))
	equal(t, find(t, second, "/e"), `l 777 0:0 broken
d 755 0:0 empty
f 6711 5:6 exe
f 644 0:0 f
f 644 0:0 hard
l 777 12:13 l
fifo 640 33:44 pipe
`)
	layer := lastLayer(t, b, second)
	f, hard := entryOf(t, layer, "e/f"), entryOf(t, layer, "e/hard")
	if hard.Linkname != "e/f" {
		t.Errorf("hard is a %c with link %q, want a hard link to e/f", hard.Typeflag, hard.Linkname)
	}
	equal(t, f.content, "f")
	equal(t, f.ModTime.UTC().Format("2006-01-02 15:04:05"), "1970-01-12 13:46:40")
	equal(t, f.PAXRecords["SCHILY.xattr.user.colour"], "blue")
	equal(t, entryOf(t, layer, "e/empty").PAXRecords["SCHILY.xattr.user.colour"], "red")
	equal(t, entryOf(t, layer, "e/broken").Linkname, "/no/such")
	if m := entryOf(t, layer, "e/exe").Mode; m != 0o6711 {
		t.Errorf("e/exe has mode %o in the layer", m)
	}
}

// A hard link is made only to what is still the same file with the same attributes.
func TestCopyLinksAcrossSources(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"one/x": "linked", "two/x": "other", "three/": ""})
	ok(t, os.Link(filepath.Join(context, "one/x"), filepath.Join(context, "three/z")))
	dir := builder.Dir(context)
	b := open(t)
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/over/", dir.Select("one", "two", "three"))))
	equal(t, sh(t, s, "cat /over/x; echo; cat /over/z"), "other\nlinked")
	ok(t, errOf(s.Copy(t.Context(), "/owners/", dir.Select("one").Chown("7"), dir.Select("three").Chown("8").Chmod("600"))))
	equal(t, find(t, s, "/owners"), "f 644 7:7 x\nf 600 8:8 z\n")
}

func TestCopyFromStage(t *testing.T) {
	t.Parallel()
	b := open(t)
	from := base(t, b)
	run(t, from, "mkdir -p /out/sub && echo bin >/out/app && chown 33:33 /out/app && echo s >/out/sub/s")
	to := base(t, b)
	ok(t, errOf(to.Copy(t.Context(), "/a/", from.Path("/out/a*", "out/sub"))))
	ok(t, errOf(to.Copy(t.Context(), "/c/", from.Path("/out/app").Chown("app").Chmod("500"))))
	is(t, errOf(to.Copy(t.Context(), "/d/", from.Path("/nope"))), builder.ErrNotFound)
	equal(t, find(t, to, "/a")+find(t, to, "/c"), "f 644 33:33 app\nf 644 0:0 s\nf 500 1000:1001 app\n")
	// The stage's own files, while it goes on.
	ok(t, errOf(from.Copy(t.Context(), "/self", from.Path("/out"))))
	equal(t, sh(t, from, "cat /self/app"), "bin\n")
}

func TestCopyFromWrongStage(t *testing.T) {
	t.Parallel()
	b, other := open(t), open(t)
	mine, theirs := base(t, b), base(t, other)
	is(t, errOf(mine.Copy(t.Context(), "/x", theirs.Path("/etc"))), builder.ErrInvalid)
	closed := base(t, b)
	ok(t, closed.Close())
	is(t, errOf(mine.Copy(t.Context(), "/x", closed.Path("/etc"))), builder.ErrClosed)
}

// TestCopyFromNothing copies from a stage that has no layer.
func TestCopyFromNothing(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := scratch(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/", scratch(t, b).Path("/"))))
	is(t, errOf(s.Copy(t.Context(), "/", scratch(t, b).Path("/a"))), builder.ErrNotFound)
}
