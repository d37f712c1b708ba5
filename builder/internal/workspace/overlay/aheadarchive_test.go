//go:build linux

package overlay

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder/internal/extract"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// oldest is the time of the entries of archives, by default, and newest what the files of their layers are limited
// to: then those that have the time of now are the same in two layers.
var oldest, newest = time.Unix(1_400_000_000, 0), time.Unix(1_500_000_000, 0)

// packed makes an archive of headers. What a regular file holds depends on its name.
func packed(t *testing.T, headers []tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i, h := range headers {
		h.Typeflag = cmp.Or(h.Typeflag, tar.TypeReg)
		h.Mode = cmp.Or(h.Mode, 0o644)
		if h.ModTime.IsZero() {
			h.ModTime = oldest
		}
		content := []byte(strings.Repeat(fmt.Sprint(h.Name, i, "."), int(h.Size)))
		if h.Size = 0; h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unpacked makes a layer of archives that ADD unpacks, one over the other.
func (d *Driver) unpacked(t *testing.T, below *storage.Layer, dest string, owner *filecopy.IDs, ahead bool, archives ...[]byte) (*storage.Layer, error) {
	t.Helper()
	dir := t.TempDir()
	var trees []filecopy.Tree
	for i, a := range archives {
		name := fmt.Sprintf("%d.tar", i)
		if err := os.WriteFile(filepath.Join(dir, name), a, 0o644); err != nil {
			t.Fatal(err)
		}
		root, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		trees = append(trees, filecopy.Tree{Root: root, Selection: filecopy.Selection{Patterns: []string{name}}, Owner: owner, Chowned: owner != nil})
	}
	l, err := d.Make(t.Context(), below, workspace.Change{Times: []workspace.Times{{Limit: newest}}}, func(w workspace.Workspace) error {
		to := filecopy.Target{Root: w.Root(), Owners: w.Owners(), Dest: dest, LeftOut: &tarfilter.LeftOut{}}
		if ahead {
			to.Ahead = w.Ahead()
		}
		to.Unpack = func(file, dir *os.File, owner *filecopy.IDs, ahead filecopy.Ahead) error {
			return extract.Archive(t.Context(), dir, file, &tarfilter.Archive{LeftOut: to.LeftOut}, extract.Options{Owners: w.Owners(), Owner: owner, Ahead: ahead})
		}
		_, err := filecopy.Copy(t.Context(), to, trees)
		return err
	})
	if err == nil {
		err = l.Wait(t.Context())
	}
	return l, err
}

// same unpacks archives with the stream that is made on the way and without. The layers are the same, or the errors.
// It gives the first one, nil after an error.
func (d *Driver) same(t *testing.T, below *storage.Layer, dest string, owner *filecopy.IDs, archives ...[]byte) *storage.Layer {
	t.Helper()
	with, err := d.unpacked(t, below, dest, owner, true, archives...)
	without, expected := d.unpacked(t, below, dest, owner, false, archives...)
	if err != nil || expected != nil {
		if fmt.Sprint(err) != fmt.Sprint(expected) {
			t.Errorf("with the stream %v, without %v", err, expected)
		}
		return nil
	}
	if with.DiffID() != without.DiffID() || with.Size() != without.Size() || without.Ahead() {
		t.Errorf("%d bytes with %s, and read %d with %s", with.Size(), with.DiffID(), without.Size(), without.DiffID())
	}
	d.checkTar(t, with)
	return with
}

func archiveDir(name string) tar.Header {
	return tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o750}
}

func archiveFile(name string) tar.Header { return tar.Header{Name: name, Size: 9} }

var (
	sorted = []tar.Header{
		archiveDir("."), archiveDir("a"), archiveFile("a/b"), {Name: "a/empty"}, {Name: "a/large", Size: 40_000, Mode: 0o4755, Uid: 3, Gid: 4},
		{Name: "a/link", Typeflag: tar.TypeSymlink, Linkname: "../nowhere"}, archiveFile("a-b"), archiveFile("a.txt"),
		{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600, ModTime: time.Unix(1_000_000_000, 0)},
		{Name: "x", Size: 3, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}}, {Name: "y", Size: 1, ModTime: time.Unix(1_300_000_000, 999_999_999), Format: tar.FormatPAX},
		{Name: "z", Typeflag: tar.TypeLink, Linkname: "a/b"}, {Name: "zz", Typeflag: tar.TypeLink, Linkname: "./a/b"},
	}
	archives = []struct {
		name, dest string
		headers    []tar.Header
		ahead      bool
	}{
		{"sorted", "/dest/", sorted, true},
		{"in the root", "/", sorted, true},
		{"in a new directory", "/new/er/", sorted, true},
		{"through a link", "/link/", sorted, true},
		{"not sorted", "/dest/", []tar.Header{archiveFile("b"), archiveFile("a")}, false},
		{"no entry for a directory", "/dest/", []tar.Header{archiveFile("a/b")}, false},
		{"into a directory that is there", "/", []tar.Header{archiveFile("dest/b")}, false},
		{"over a directory that is there", "/", []tar.Header{archiveDir("dest"), archiveFile("dest/old"), archiveFile("dest/older")}, true},
		{"a file twice", "/dest/", []tar.Header{archiveFile("a"), archiveFile("a")}, false},
		{"a file in place of a directory", "/dest/", []tar.Header{archiveDir("a"), archiveFile("a/b"), archiveFile("a")}, false},
		{"a directory in place of one below", "/dest/", []tar.Header{archiveDir("old"), archiveFile("old/b")}, false},
		{"a link that changes its file", "/dest/", []tar.Header{archiveFile("a"), {Name: "b", Typeflag: tar.TypeLink, Linkname: "a", Mode: 0o600}}, false},
		{"a link before its file", "/dest/", []tar.Header{{Name: "a", Typeflag: tar.TypeLink, Linkname: "old"}, archiveFile("b")}, false},
		{"a link out of the root", "/dest/", []tar.Header{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "../../../.."}, archiveFile("a/b")}, true},
	}
)

// belowArchives makes what archives are unpacked over.
func (d *Driver) belowArchives(t *testing.T) *storage.Layer {
	t.Helper()
	l, err := d.Make(t.Context(), nil, workspace.Change{}, func(w workspace.Workspace) error {
		in := func(name string) string { return filepath.Join(w.Path(), name) }
		return errors.Join(os.MkdirAll(in("dest/d"), 0o711), os.Symlink("dest", in("link")), os.WriteFile(in("dest/old"), []byte("old"), 0o600),
			os.WriteFile(in("dest/d/a"), []byte("old"), 0o600), os.Symlink("d", in("dest/l")))
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAheadOfArchives unpacks archives of which it is known whether their layers need be read.
func TestAheadOfArchives(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	below := d.belowArchives(t)
	for _, test := range archives {
		t.Run(test.name, func(t *testing.T) {
			l := d.same(t, below, test.dest, nil, packed(t, test.headers))
			if l == nil || l.Ahead() != test.ahead {
				t.Errorf("made ahead: %t", !test.ahead)
			}
		})
	}
	if l := d.same(t, nil, "/dest/", &filecopy.IDs{UID: 7, GID: 8}, packed(t, sorted)); l == nil || !l.Ahead() {
		t.Error("files of another owner were read")
	}
	if l := d.same(t, below, "/dest/", nil, packed(t, sorted), packed(t, sorted)); l == nil || l.Ahead() {
		t.Error("an archive over another")
	}
}

// invent makes an archive that may say anything, of few names, so that much meets. As a rule they are in order.
func invent(r *rand.Rand) (headers []tar.Header) {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	for _, dir := range []string{"", "a/", "a/d/", "d/", "l/"} {
		if dir == "l/" && r.IntN(4) > 0 { // below it is a link
			continue
		}
		if dir != "" && r.IntN(8) > 0 {
			headers = append(headers, tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o700 + int64(r.IntN(0o100))})
		}
		for _, name := range []string{"b", "c", "old", pick("a", "d", "l", "x", "y", "z")} {
			if r.IntN(4) > 0 || r.IntN(4) > 0 && (name < "b" || name == "d" || name == "l") {
				continue
			}
			h := tar.Header{Name: dir + name, Size: int64(r.IntN(3)), Mode: 0o600 + int64(r.IntN(0o200)), Uid: r.IntN(3), ModTime: oldest.Add(time.Duration(r.IntN(3)) * time.Second)}
			switch r.IntN(16) {
			case 0:
				h.Typeflag, h.Linkname = tar.TypeSymlink, pick("a", "../d", "..", "/dest/d", "l", "/", "../../../..")
			case 1:
				h.Typeflag, h.Linkname = tar.TypeLink, pick("b", "d/a", "l/a", "old", "a/b", "../a")
			case 2:
				h.Typeflag = tar.TypeFifo
			case 3:
				h.Typeflag = tar.TypeDir
			case 4:
				h.Name = pick("./", "../", "/", "a/../") + h.Name
			}
			headers = append(headers, h)
		}
	}
	key := func(h tar.Header) string { return strings.ReplaceAll(strings.Trim(h.Name, "/"), "/", "\x00") }
	slices.SortStableFunc(headers, func(a, b tar.Header) int { return cmp.Compare(key(a), key(b)) })
	if n := len(headers); n > 1 && r.IntN(4) == 0 {
		i, j := r.IntN(n), r.IntN(n)
		headers[i], headers[j] = headers[j], headers[i]
		headers = append(headers, headers[r.IntN(n)])
	}
	if r.IntN(40) == 0 {
		headers = append(headers, tar.Header{Name: "d/.wh.a"})
	}
	return headers
}

// TestAheadOfOddArchives unpacks archives of which nothing is known. Some of their layers are read, and some
// need not be.
func TestAheadOfOddArchives(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	below := d.belowArchives(t)
	made, ahead := 0, 0
	for seed := range uint64(120) {
		headers := invent(rand.New(rand.NewPCG(seed, 1)))
		l := d.same(t, below, "/dest/", nil, packed(t, headers))
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, headers)
		}
		if l == nil {
			continue
		}
		if made++; l.Ahead() {
			ahead++
		}
	}
	if t.Logf("%d layers, %d of them not read", made, ahead); made < 40 || ahead < 10 || made-ahead < 10 {
		t.Errorf("of 120 archives there are %d layers, %d of them not read", made, ahead)
	}
}
