//go:build linux

package extract

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// pack writes an archive of headers, each regular file with its name as content unless it has a size.
func pack(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		content := bytes.Repeat([]byte("x"), int(h.Size))
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			content = []byte(h.Name)
			h.Size = int64(len(content))
		}
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1, 0)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }

func dir(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }

func symlink(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}
}

func hardlink(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to, Mode: 0o644}
}

// tree is an open directory for a test, with the Owners that a process of any kind needs.
func tree(t testing.TB) (*os.File, Options) {
	t.Helper()
	name := t.TempDir()
	root, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, Options{Owners: owners.New()}
}

// list gives all of a tree, a line for each file.
func list(t testing.TB, root *os.File, o *owners.Owners) string {
	t.Helper()
	out, err := listing(root, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func listing(root *os.File, o *owners.Owners) (string, error) {
	var out strings.Builder
	err := filepath.WalkDir(root.Name(), func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == root.Name() {
			return err
		}
		rel, _ := filepath.Rel(root.Name(), name)
		var st unix.Stat_t
		if err := o.Stat(root, rel, &st); err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " %.20q", data)
		case unix.S_IFLNK:
			to, err := os.Readlink(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " %s", to)
		case unix.S_IFCHR, unix.S_IFBLK:
			fmt.Fprintf(&out, " %d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		attrs, err := o.Xattrs(root, rel, tarfilter.Keeps)
		for _, a := range attrs {
			fmt.Fprintf(&out, " %s=%s", a.Name, a.Value)
		}
		fmt.Fprintf(&out, " %d\n", st.Mtim.Sec)
		return err
	})
	return out.String(), err
}

// paths gives the paths of a tree, in order.
func paths(t testing.TB, root *os.File) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(list(t, root, nil)) {
		name, _, _ := strings.Cut(line, " ")
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// Every kind of file comes out with all that its header says.
func TestLayer(t *testing.T) {
	t.Parallel()
	root, o := tree(t)
	at := time.Unix
	in := pack(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o2555, Uid: 7, Gid: 8, ModTime: at(5, 0), PAXRecords: map[string]string{"SCHILY.xattr.user.mine": "1"}},
		tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o4751, Uid: 1000, Gid: 1001, ModTime: at(6, 0), PAXRecords: map[string]string{"SCHILY.xattr.user.mine": "2", "SCHILY.xattr.user.overlay.opaque": "y"}},
		tar.Header{Name: "/d/h", Typeflag: tar.TypeLink, Linkname: "/d/f", Mode: 0o4751, Uid: 1000, Gid: 1001, ModTime: at(6, 0)},
		tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", Uid: 3, ModTime: at(7, 0)},
		tar.Header{Name: "./p", Typeflag: tar.TypeFifo, Mode: 0o620, ModTime: at(8, 0)},
		tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3, ModTime: at(9, 0)},
		tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Mode: 0o660, Gid: 6, Devmajor: 8, ModTime: at(9, 0)},
		tar.Header{Name: "white", Typeflag: tar.TypeChar, ModTime: at(9, 0)},
		tar.Header{Name: "d/e", Typeflag: tar.TypeReg, Mode: 0, ModTime: at(-3, 5), Size: 3},
	)
	if err := Layer(t.Context(), root, bytes.NewReader(in), o); err != nil {
		t.Fatal(err)
	}
	want := `d 42555 7:8 user.mine=1 5
d/e 100000 0:0 "xxx" -3
d/f 104751 1000:1001 "d/f" user.mine=2 6
d/h 104751 1000:1001 "d/f" user.mine=2 6
d/l 120777 3:0 /etc/passwd 7
null 20666 0:0 1,3 9
p 10620 0:0 8
sda 60660 0:6 8,0 9
`
	if got := list(t, root, o.Owners); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Layers lie on top of each other as the OCI image specification says, in whichever order the entries
// of one stand.
func TestLayers(t *testing.T) {
	t.Parallel()
	below := []tar.Header{dir("a"), file("a/1"), dir("a/d"), file("a/d/2"), symlink("l", "a"), file("f")}
	for name, test := range map[string]struct {
		layer []tar.Header
		want  string
	}{
		"a file":                      {[]tar.Header{file("a/1"), file("a/3")}, "a a/1 a/3 a/d a/d/2 f l"},
		"whiteout":                    {[]tar.Header{file("a/.wh.1"), file("a/d/.wh.none"), file(".wh.l")}, "a a/d a/d/2 f"},
		"whiteout of a directory":     {[]tar.Header{file(".wh.a")}, "f l"},
		"whiteout, then made":         {[]tar.Header{file(".wh.a"), dir("a"), file("a/n")}, "a a/n f l"},
		"made, then whiteout":         {[]tar.Header{dir("a"), file("a/n"), file(".wh.a"), file("f"), file(".wh.f")}, "a a/n f l"},
		"made and empty, whiteout":    {[]tar.Header{dir("a"), file(".wh.a")}, "a f l"},
		"opaque":                      {[]tar.Header{dir("a"), file("a/.wh..wh..opq"), file("a/n")}, "a a/n f l"},
		"opaque at the end":           {[]tar.Header{dir("a/d"), file("a/d/n"), file("a/n"), file("a/.wh..wh..opq")}, "a a/d a/d/n a/n f l"},
		"opaque root":                 {[]tar.Header{file("n"), file(".wh..wh..opq")}, "n"},
		"opaque of nothing":           {[]tar.Header{file("x/.wh..wh..opq")}, "a a/1 a/d a/d/2 f l x"},
		"whiteout in no directory":    {[]tar.Header{file("f/.wh.x")}, "a a/1 a/d a/d/2 f l"},
		"a directory for a file":      {[]tar.Header{dir("f"), file("f/n")}, "a a/1 a/d a/d/2 f f/n l"},
		"a directory for a link":      {[]tar.Header{dir("l"), file("l/n")}, "a a/1 a/d a/d/2 f l l/n"},
		"a file for a directory":      {[]tar.Header{file("a")}, "a f l"},
		"a link for a directory":      {[]tar.Header{symlink("a/d", "/f"), symlink("a", "f")}, "a f l"},
		"through a link below":        {[]tar.Header{file("l/n")}, "a a/1 a/d a/d/2 f l l/n"},
		"in place of a file below":    {[]tar.Header{file("f/n")}, "a a/1 a/d a/d/2 f f/n l"},
		"through a link of its own":   {[]tar.Header{symlink("k", "../../a/d"), file("k/n")}, "a a/1 a/d a/d/2 a/d/n f k l"},
		"through links of its own":    {[]tar.Header{symlink("k", "k2/../d"), symlink("k2", "/a/d"), file("k/n")}, "a a/1 a/d a/d/2 a/d/n f k k2 l"},
		"its own link, and one below": {[]tar.Header{symlink("k", "/l/s"), file("k/n")}, "a a/1 a/d a/d/2 f k l l/s l/s/n"},
		"a link that is replaced":     {[]tar.Header{symlink("k", "a"), file("k/n"), dir("k"), file("k/m")}, "a a/1 a/d a/d/2 a/n f k k/m l"},
		"meta":                        {[]tar.Header{dir(".wh..wh.plnk"), file(".wh..wh.plnk/1"), file("a/.wh..wh.aufs")}, "a a/1 a/d a/d/2 f l"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, o := tree(t)
			for _, headers := range [][]tar.Header{below, test.layer} {
				if err := Layer(t.Context(), root, bytes.NewReader(pack(t, headers...)), o); err != nil {
					t.Fatal(err)
				}
			}
			if got := paths(t, root); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// An archive goes through the links that it comes to, and these lead nowhere else than into root.
func TestArchive(t *testing.T) {
	t.Parallel()
	root, o := tree(t)
	if err := errors.Join(os.Symlink("/t", root.Name()+"/s"), os.Mkdir(root.Name()+"/t", 0o700), os.WriteFile(root.Name()+"/t/old", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	o.Owner = &filecopy.IDs{UID: 5, GID: 6}
	in := pack(t, file("s/f"), hardlink("s/h", "s/old"), symlink("x", "../../s"), file("x/y"), tar.Header{Name: ".", Typeflag: tar.TypeDir, Mode: 0o111})
	if err := Archive(t.Context(), root, bytes.NewReader(in), &tarfilter.Archive{}, o); err != nil {
		t.Fatal(err)
	}
	want := "s t t/f t/h t/old t/y x"
	if got := paths(t, root); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := list(t, root, o.Owners); strings.Count(got, " 5:6 ") != 5 {
		t.Errorf("the owner is not that of all:\n%s", got)
	}
}

// A directory is what its last entry says, with nothing of what it was in the layers below.
func TestDirectoryTwice(t *testing.T) {
	t.Parallel()
	root, o := tree(t)
	attr := func(name, value string) map[string]string {
		return map[string]string{"SCHILY.xattr." + name: value}
	}
	below := pack(t, tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 9, PAXRecords: attr("security.capability", capability)}, tar.Header{Name: "e", Typeflag: tar.TypeDir, Mode: 0o711, PAXRecords: attr("user.below", "x")})
	above := pack(t, tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 7}, dir("e"), tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 8, ModTime: time.Unix(3, 0)})
	for _, layer := range [][]byte{below, above} {
		if err := Layer(t.Context(), root, bytes.NewReader(layer), o); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := list(t, root, o.Owners), "d 40750 8:0 3\ne 40755 0:0 1\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	in := pack(t, dir("d"), tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Size: 1000}, tar.Header{Name: "d/g", Typeflag: tar.TypeReg, Size: 1000})
	for want, o := range map[string]Options{
		"": {MaxBytes: 2000, MaxFiles: 3},
		"the content of the files in the archive is more than 1999 bytes, which is the limit": {MaxBytes: 1999},
		"the number of files in the archive is more than 2 files, which is the limit":         {MaxFiles: 2},
	} {
		root, with := tree(t)
		o.Owners = with.Owners
		err := Layer(t.Context(), root, bytes.NewReader(in), o)
		if want == "" && err == nil {
			continue
		}
		if err == nil || err.Error() != want || !limits.IsLimit(err) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	root, o := tree(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Layer(ctx, root, bytes.NewReader(pack(t, file("f"))), o); !errors.Is(err, context.Canceled) || errors.Is(err, limits.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
