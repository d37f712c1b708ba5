//go:build linux

package extract

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// token is in a file outside, and must never come in.
const token = "token-7d1b0c"

// prison is a directory that is extracted into, beside which there is what a stream wants to reach: a file, a
// directory of which the name only begins as that of the tree, and one that is named by links.
type prison struct {
	base string
	root *os.File
}

func newPrison(t testing.TB) *prison {
	t.Helper()
	base := t.TempDir()
	p := &prison{base: base}
	for _, dir := range []string{"tree", "tree-evil", "victim"} {
		if err := os.Mkdir(base+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"marker", "tree-evil/secret", "victim/f"} {
		if err := os.WriteFile(base+"/"+file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if p.root, err = os.Open(base + "/tree"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.root.Close() })
	return p
}

// outside tells all of what is not in the tree, and of the tree's directory itself that it is the same one.
func (p *prison) outside(t testing.TB) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(p.base, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		if name == p.base+"/tree" {
			fmt.Fprintf(&out, "%s %d %o\n", name, st.Ino, st.Mode&unix.S_IFMT)
			return fs.SkipDir
		}
		content := ""
		if d.Type().IsRegular() {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			content = string(data)
		}
		fmt.Fprintln(&out, name, st.Ino, st.Nlink, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// leaked gives a file of the tree that has the token.
func (p *prison) leaked(t testing.TB) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir(p.base+"/tree", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if bytes.Contains(data, []byte(token)) {
			found = name
		}
		return err
	})
	if err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	return found
}

// ways are all in which a stream comes in: as one layer, as an archive, and each entry as a layer or archive of
// its own, so that what was there before is hostile too.
func (p *prison) ways(t testing.TB, entries []tar.Header) map[string]func() error {
	layer := func(o Options, entries ...tar.Header) error {
		return Layer(t.Context(), p.root, bytes.NewReader(pack(t, entries...)), o)
	}
	archive := func(o Options, entries ...tar.Header) error {
		return Archive(t.Context(), p.root, bytes.NewReader(pack(t, entries...)), &tarfilter.Archive{AnyName: true}, o)
	}
	each := func(f func(Options, ...tar.Header) error) func() error {
		return func() error {
			o, all := Options{Owners: owners.New()}, error(nil)
			for _, e := range entries {
				all = errors.Join(all, f(o, e))
			}
			return all
		}
	}
	return map[string]func() error{
		"a layer":    func() error { return layer(Options{Owners: owners.New()}, entries...) },
		"an archive": func() error { return archive(Options{Owners: owners.New()}, entries...) },
		"layers":     each(layer),
		"archives":   each(archive),
	}
}

// Nothing outside changes, or comes in, whatever a stream says (CVE-2026-17106, CVE-2025-11395,
// CVE-2021-32760, CVE-2014-9356).
func TestNothingLeadsOut(t *testing.T) {
	t.Parallel()
	outside := func(kind byte, name string) tar.Header {
		return tar.Header{Name: name, Typeflag: kind, Mode: 0o1777, Linkname: "x", Uid: 0, Size: 0}
	}
	up := strings.Repeat("../", 20)
	for name, entries := range map[string]func(base string) []tar.Header{
		"dots": func(string) []tar.Header {
			return []tar.Header{outside('0', ".."), outside('5', ".."), outside('5', "../victim")}
		},
		"dots of files": func(string) []tar.Header {
			return []tar.Header{file("../marker"), file("a/../../marker"), file("/../marker")}
		},
		"absolute": func(base string) []tar.Header {
			return []tar.Header{file(base + "/marker"), file(up + base + "/marker")}
		},
		"a root of a link": func(base string) []tar.Header {
			return []tar.Header{symlink(".", base), symlink("/", base), file("marker")}
		},
		"dots of a link":   func(base string) []tar.Header { return []tar.Header{symlink("..", base+"/victim"), file("../f")} },
		"whiteout of dots": func(string) []tar.Header { return []tar.Header{file(".wh...")} },
		"whiteout of dot":  func(string) []tar.Header { return []tar.Header{file(".wh..")} },
		"whiteout of none": func(string) []tar.Header { return []tar.Header{file(".wh.")} },
		"whiteouts in dots": func(string) []tar.Header {
			return []tar.Header{file("../.wh.victim"), file("../.wh..wh..opq"), file("../victim/.wh.f"), file("a/../../.wh.marker")}
		},
		"write through a link": func(base string) []tar.Header {
			return []tar.Header{symlink("l", base+"/victim"), file("l/f"), file("l/new")}
		},
		"write through a relative one": func(string) []tar.Header { return []tar.Header{symlink("l", "../victim"), file("l/f"), file("l/new")} },
		"write through two": func(base string) []tar.Header {
			return []tar.Header{symlink("a", ".."), symlink("b", "a/victim"), file("b/f"), symlink("c", base), file("c/victim/f")}
		},
		"write onto a link": func(base string) []tar.Header { return []tar.Header{symlink("l", base+"/marker"), file("l")} },
		"a prefix that is a name": func(string) []tar.Header {
			return []tar.Header{symlink("l", "../tree-evil"), file("l/secret"), hardlink("h", "l/secret")}
		},
		"whiteout through a link": func(base string) []tar.Header {
			return []tar.Header{symlink("l", base+"/victim"), file("l/.wh.f"), symlink("m", "../victim"), file("m/.wh..wh..opq")}
		},
		"whiteout of a link": func(base string) []tar.Header {
			return []tar.Header{dir("d"), symlink("d/l", base+"/victim"), file(".wh.d"), file("d/.wh..wh..opq"), file(".wh..wh..opq")}
		},
		"replaced directory of links": func(base string) []tar.Header {
			return []tar.Header{dir("d"), symlink("d/l", base+"/victim"), symlink("d/m", ".."), file("d")}
		},
		"hard link by dots": func(string) []tar.Header {
			return []tar.Header{hardlink("h", "../tree-evil/secret"), hardlink("i", "../marker"), hardlink("j", "/../marker")}
		},
		"hard link, absolute":     func(base string) []tar.Header { return []tar.Header{hardlink("h", base+"/marker")} },
		"hard link through links": func(base string) []tar.Header { return []tar.Header{symlink("l", base), hardlink("h", "l/marker")} },
		"hard link to a link": func(base string) []tar.Header {
			return []tar.Header{symlink("l", base+"/marker"), hardlink("h", "l"), file("h"), tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "l", Mode: 0o4777}}
		},
		"hard link of the root": func(string) []tar.Header {
			return []tar.Header{hardlink("h", "."), hardlink("h", "/"), hardlink(".", "h")}
		},
		"a mode through a link": func(base string) []tar.Header {
			return []tar.Header{symlink("l", base+"/victim"), {Name: "l", Typeflag: tar.TypeDir, Mode: 0o1777}, symlink("m", base+"/victim"), {Name: "m/", Typeflag: tar.TypeDir, Mode: 0o1777}}
		},
		"a directory that becomes a link": func(base string) []tar.Header {
			return []tar.Header{{Name: "d", Typeflag: tar.TypeDir, Mode: 0o1777}, {Name: "d/victim", Typeflag: tar.TypeDir, Mode: 0o1777}, symlink("d", base)}
		},
		"attributes through a link": func(base string) []tar.Header {
			attr := map[string]string{"SCHILY.xattr.user.a": "b", "SCHILY.xattr.security.capability": "x"}
			return []tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: base + "/marker", PAXRecords: attr}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "l", PAXRecords: attr}}
		},
		"a special file through a link": func(base string) []tar.Header {
			return []tar.Header{symlink("l", base+"/victim"), {Name: "l/p", Typeflag: tar.TypeFifo, Mode: 0o666}, {Name: "l/n", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, dir("l/d/e")}
		},
		"circles": func(string) []tar.Header {
			return []tar.Header{symlink("a", "b"), symlink("b", "a"), file("a/f"), symlink("c", "c/c"), file("c/f")}
		},
		"aside of the system": func(string) []tar.Header {
			return []tar.Header{symlink("l", "/proc/self/cwd"), file("l/f"), symlink("m", "/proc/self/fd/3/.."), file("m/g")}
		},
	} {
		for _, way := range []string{"a layer", "an archive", "layers", "archives"} {
			t.Run(name+", as "+way, func(t *testing.T) {
				t.Parallel()
				p := newPrison(t)
				before := p.outside(t)
				err := p.ways(t, entries(p.base))[way]()
				if after := p.outside(t); after != before {
					t.Errorf("outside was\n%s\nand is\n%s\n%v", before, after, err)
				}
				if in := p.leaked(t); in != "" {
					t.Errorf("%s has what is outside", in)
				}
			})
		}
	}
}

// What cannot be is refused by name, and the fault is the stream's.
func TestRefused(t *testing.T) {
	t.Parallel()
	chain := []tar.Header{dir("d"), symlink("41", "d")}
	for i := range 41 {
		chain = append(chain, symlink(fmt.Sprint(i), fmt.Sprint(i+1)))
	}
	for want, entries := range map[string][]tar.Header{
		`"1/f" in the archive leads through more than 40 links`:    append(chain, file("2/f"), file("1/f")),
		`"." in the archive stands for the root`:                   {symlink(".", "x")},
		`".wh..." in the archive marks nothing`:                    {file(".wh...")},
		`"a/.wh.b/c" in the archive lies in ".wh.b"`:               {file("a/.wh.b/c")},
		`"f/g" in the archive lies in "/f", which is no directory`: {file("f"), file("f/g")},
		`"h" in the archive is a hard link to "none"`:              {hardlink("h", "none")},
		`"h" in the archive is a hard link to "d"`:                 {dir("d"), hardlink("h", "d")},
		`"h" in the archive is a hard link to "./h"`:               {file("h"), hardlink("h", "./h")},
		`"z" in the archive is of the type 'Z'`:                    {{Name: "z", Typeflag: 'Z'}},
		`"f" in the archive belongs to -1:0`:                       {{Name: "f", Typeflag: tar.TypeReg, Uid: -1, Format: tar.FormatGNU}},
		`"f" in the archive belongs to 0:4294967295`:               {{Name: "f", Typeflag: tar.TypeReg, Gid: 1<<32 - 1, Format: tar.FormatGNU}},
		`"a/f" in the archive leads through more than 40 links`:    {symlink("a", "b"), symlink("b", "a"), file("a/f")},
		`has a path of more than 4095 bytes`:                       {file(strings.Repeat("long/", 1000) + "f")},
		"file name too long":                                       {file(strings.Repeat("n", 256))},
	} {
		root, o := tree(t)
		err := Layer(t.Context(), root, bytes.NewReader(pack(t, entries...)), o)
		if !errors.Is(err, limits.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	// A file of the layers below is not there for a hard link.
	root, o := tree(t)
	for i, entries := range [][]tar.Header{{file("f")}, {hardlink("h", "f")}} {
		if err := Layer(t.Context(), root, bytes.NewReader(pack(t, entries...)), o); (err == nil) != (i == 0) {
			t.Errorf("layer %d: %v", i, err)
		}
	}
	for name, cut := range map[string][]byte{"text": []byte(strings.Repeat("x", 600)), "cut in a file": pack(t, file("f"))[:512], "cut in a header": pack(t, file("f"))[:300]} {
		root, o := tree(t)
		if err := Layer(t.Context(), root, bytes.NewReader(cut), o); !errors.Is(err, limits.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// capability is one to bind ports, as a file has it.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// The set-id bits and capabilities outlive the change of owner that clears them.
func TestSetIDs(t *testing.T) {
	t.Parallel()
	root, o := tree(t)
	in := pack(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o6755, Uid: 1000, Gid: 1000, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": capability}})
	if err := Layer(t.Context(), root, bytes.NewReader(in), o); err != nil {
		t.Fatal(err)
	}
	got := list(t, root, o.Owners)
	if !strings.HasPrefix(got, "f 106755 1000:1000 ") || !strings.Contains(got, "security.capability="+capability) {
		t.Errorf("got %q", got)
	}
	var st unix.Stat_t
	if err := unix.Lstat(root.Name()+"/f", &st); err != nil || os.Geteuid() != 0 && st.Mode&0o7000 != 0 {
		t.Errorf("a file of this user really has the mode %o, %v", st.Mode, err)
	}
}

// What a stream says of itself takes no more memory than it has bytes, and a large file no more than a small
// one (CVE-2017-14992, CVE-2025-58183).
func TestMemory(t *testing.T) { // alone, for what others take would count
	var many []tar.Header
	for i := range 2000 {
		many = append(many, file(fmt.Sprintf("d%d/%0100d", i%10, i)))
	}
	for name, in := range map[string][]byte{
		"a large file":   pack(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 64 << 20}),
		"many files":     pack(t, many...),
		"a large header": append([]byte(nil), pack(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("x", 900<<10)}})...),
	} {
		root, o := tree(t)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		err := Layer(t.Context(), root, bytes.NewReader(in), o)
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 24 {
			t.Errorf("%s: %d MiB were taken, %v", name, got, err)
		}
	}
}

// invent makes headers of bytes: each four make one entry.
func invent(in []byte, base string) (out []tar.Header) {
	parts := []string{"a", "b", "l", "..", ".", "", ".wh.a", ".wh..wh..opq", ".wh...", "victim", "f", "marker", "tree-evil", ".wh.b", ".wh..wh.plnk", "c"}
	for ; len(in) >= 5 && len(out) < 40; in = in[5:] {
		name := func(a, b byte) string { return parts[a>>4] + "/" + parts[a&15] + "/" + parts[b&15] }
		h := tar.Header{Name: name(in[1], in[2]), Mode: int64(in[0]) << 3 & 0o7777, Linkname: name(in[3], in[4]), ModTime: time.Unix(1, 0)}
		h.Typeflag = []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeReg, tar.TypeSymlink, tar.TypeChar}[in[0]&7]
		if in[2]&16 != 0 {
			h.Name = parts[in[1]&15]
		}
		switch in[4] >> 6 {
		case 1:
			h.Linkname = base + "/" + h.Linkname
		case 2:
			h.Linkname = "../" + parts[in[3]&15]
		case 3:
			h.Linkname = parts[in[3]&15]
		}
		if h.Typeflag != tar.TypeDir {
			h.Name = strings.TrimRight(h.Name, "/")
		}
		if h.Typeflag != tar.TypeLink && h.Typeflag != tar.TypeSymlink {
			h.Linkname = ""
		}
		if h.Name != "" {
			out = append(out, h)
		}
	}
	return out
}

// FuzzExtract extracts entries that are made of the bytes, and the bytes themselves, and looks whether anything
// outside has changed.
func FuzzExtract(f *testing.F) {
	f.Add(pack(f, symlink("l", "../victim"), file("l/f")))
	f.Add(pack(f, dir("a"), file("a/.wh..wh..opq"), hardlink("h", "../marker")))
	f.Add([]byte{2, 0x22, 16, 0x09, 0x80, 0, 0x2a, 0, 0, 0})                             // l -> ../victim, l/f
	f.Add([]byte{2, 0x22, 16, 0x09, 0x80, 0, 0x25, 6, 0, 0, 0, 0x25, 7, 0, 0})           // whiteouts through it
	f.Add([]byte{1, 0x00, 16, 0, 0, 2, 0x0a, 1, 0x39, 0x40, 5, 0x06, 16, 0, 0})          // a directory of links that is removed
	f.Add([]byte{3, 0xff, 16, 0x33, 0x0b, 3, 0xff, 16, 0x3c, 0x0a, 0, 0x33, 0x0b, 0, 0}) // hard links by dots
	f.Fuzz(func(t *testing.T, in []byte) {
		p := newPrison(t)
		before := p.outside(t)
		o := Options{Owners: owners.New(), MaxBytes: 1 << 20, MaxFiles: 1000}
		errs := []error{Layer(t.Context(), p.root, bytes.NewReader(in), o), Archive(t.Context(), p.root, bytes.NewReader(in), &tarfilter.Archive{AnyName: true}, o)}
		entries := invent(in, p.base)
		half := pack(t, entries[:len(entries)/2]...)
		for _, stream := range [][]byte{half, pack(t, entries[len(entries)/2:]...), pack(t, entries...)} {
			errs = append(errs, Layer(t.Context(), p.root, bytes.NewReader(stream), o), Archive(t.Context(), p.root, bytes.NewReader(stream), &tarfilter.Archive{AnyName: true}, o))
		}
		if after := p.outside(t); after != before {
			t.Fatalf("%+v: outside was\n%s\nand is\n%s\n%v", entries, before, after, errs)
		}
		if found := p.leaked(t); found != "" {
			t.Fatalf("%+v: %s has what is outside", entries, found)
		}
	})
}
