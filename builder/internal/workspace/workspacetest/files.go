//go:build linux

package workspacetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// files describes what is below a directory, by path: all that a layer holds of each file.
type files map[string]string

// shown is a View or a Workspace.
type shown interface {
	Root() *os.File
	Owners() *owners.Owners
}

// describe describes all but the times of the root, of which layers say nothing.
func describe(of shown) (files, error) {
	root, all, first := of.Root(), files{}, map[uint64]string{}
	top := fdPath(root) + "/."
	err := filepath.WalkDir(top, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		at := rel
		if at == "." {
			at = ""
		}
		var st unix.Stat_t
		if err := of.Owners().Stat(root, at, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
		if rel != "." {
			line += " at " + time.Unix(st.Mtim.Sec, 0).UTC().Format(time.DateTime)
		}
		content, err := contentOf(of, at, &st)
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			content += fmt.Sprintf(" one of %d with %s", st.Nlink, first[st.Ino])
		}
		all[rel] = line + content
		return nil
	})
	return all, err
}

func contentOf(of shown, at string, st *unix.Stat_t) (string, error) {
	name, out := fdPath(of.Root())+"/"+at, ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		out = fmt.Sprintf(" %q", data)
	case unix.S_IFLNK:
		target, err := os.Readlink(name)
		return " -> " + target, err
	case unix.S_IFCHR, unix.S_IFBLK:
		out = fmt.Sprintf(" device %d %d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	attrs, err := of.Owners().Xattrs(of.Root(), at, func(attr string) bool {
		return strings.HasPrefix(attr, "user.") || attr == "security.capability"
	})
	for _, a := range attrs {
		out += fmt.Sprintf(" %s=%q", a.Name, a.Value)
	}
	return out, err
}

// counted says of a file how many names it has, and not which: while files are changed, that may
// not be seen.
func (f files) counted() files {
	out := files{}
	for name, line := range f {
		out[name], _, _ = strings.Cut(line, " with ")
	}
	return out
}

// names are the sorted names.
func (f files) names() string { return strings.Join(slices.Sorted(maps.Keys(f)), " ") }

// same says where descriptions differ.
func same(t *testing.T, what string, got, want files) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(merged(got, want))) {
		if got[name] != want[name] {
			t.Errorf("%s: %s is %q, want %q", what, name, got[name], want[name])
		}
	}
}

func merged(a, b files) files {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// difference is what a layer has to say that was made of one description and made another: the
// paths that are new or other, and the whiteouts of those that are gone, the uppermost ones.
func difference(from, to files) []string {
	var out []string
	for name := range merged(from, to) {
		switch {
		case name == "." || bare(to[name]) == bare(from[name]):
		case to[name] != "":
			out = append(out, name)
		case isDir(to[path.Dir(name)]) && isDir(from[path.Dir(name)]):
			out = append(out, path.Join(path.Dir(name), ".wh."+path.Base(name)))
		}
	}
	slices.Sort(out)
	return out
}

func isDir(line string) bool { return strings.HasPrefix(line, "4") && line[5] == ' ' }

// bare leaves out with which other names a file is one: a layer need not say that there are others.
func bare(line string) string {
	line, _, _ = strings.Cut(line, " one of ")
	return line
}

// told is what the entries of a layer say, in the form of difference: an opaque directory is
// the whiteouts of all that it hides. Directories that are entries only because of what is in
// them are left out, and files because of their other names.
func told(entries []tar.Header, from, to files) []string {
	said := map[string]bool{}
	for _, e := range entries {
		said[strings.TrimSuffix(e.Name, "/")] = true
	}
	for _, e := range entries {
		if dir, opaque := strings.CutSuffix(e.Name, "/.wh..wh..opq"); opaque {
			delete(said, e.Name)
			hide(said, dir, from)
		}
	}
	for name := range said {
		around := isDir(from[name]) && from[name] == to[name]
		linked := from[name] != to[name] && bare(from[name]) == bare(to[name])
		if around || linked {
			delete(said, name)
		}
	}
	return slices.Sorted(maps.Keys(said))
}

// hide says that nothing in a directory is to be seen but what is said.
func hide(said map[string]bool, dir string, from files) {
	for name := range from {
		switch {
		case path.Dir(name) != dir || name == ".":
		case !said[name]:
			said[path.Join(dir, ".wh."+path.Base(name))] = true
		case isDir(from[name]):
			hide(said, name, from)
		}
	}
}

// image makes an image of a layer and those below it, as others get it: a directory in the form
// of the "dir:" transport.
func (m *machine) image(t *testing.T, top *storage.Layer) string {
	t.Helper()
	img, err := m.store.CommitImage(t.Context(), storage.Commit{Top: top, Config: func(diffIDs []digest.Digest, _ []time.Time) (json.RawMessage, time.Time, error) {
		raw, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
		return raw, time.Unix(1000000, 0), err
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "image")
	if _, err := m.store.Push(t.Context(), img.ID, "dir:"+dir, storage.PushOptions{}, registry.Access{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// entries are those of the layers of an image, the lowest first.
func entries(t *testing.T, dir string) [][]tar.Header {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest imgspec.Manifest
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	var out [][]tar.Header
	for _, l := range manifest.Layers {
		data, err := os.ReadFile(filepath.Join(dir, l.Digest.Encoded()))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, headers(t, data))
	}
	return out
}

func headers(t *testing.T, layer []byte) []tar.Header {
	t.Helper()
	var in io.Reader = bytes.NewReader(layer)
	if bytes.HasPrefix(layer, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		in = z
	}
	var out []tar.Header
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, *h)
	}
}

// names are the sorted names of entries.
func names(headers []tar.Header) string {
	var out []string
	for _, h := range headers {
		out = append(out, h.Name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// top are the names of the entries of a layer.
func (m *machine) top(t *testing.T, l *storage.Layer) string {
	t.Helper()
	all := entries(t, m.image(t, l))
	return names(all[len(all)-1])
}

// elsewhere describes the files of an image in another store, which pulls it.
func elsewhere(t *testing.T, other *machine, dir string) files {
	t.Helper()
	img, err := other.store.Pull(t.Context(), "dir:"+dir, platform.Platform{}, registry.Access{})
	if err != nil {
		t.Fatal(err)
	}
	detail, err := other.store.Inspect(img.ID)
	if err != nil {
		t.Fatal(err)
	}
	l, err := other.store.Layer(detail.TopLayer)
	if err != nil {
		t.Fatal(err)
	}
	return other.see(t, l)
}
