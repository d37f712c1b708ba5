//go:build linux

package storage

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"
)

// read gives a layer as others get it from the store, and checks its digest and size.
func read(t testing.TB, s *Store, l *Layer) map[string]*tar.Header {
	t.Helper()
	plain := archive.Uncompressed
	stream, err := s.cs.Diff("", l.ID(), &cs.DiffOptions{Compression: &plain})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	sum := digest.Canonical.Digester()
	counted := new(counter)
	both := io.TeeReader(stream, io.MultiWriter(sum.Hash(), counted))
	out := map[string]*tar.Header{}
	for r := tar.NewReader(both); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = h
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
	}
	if _, err := io.Copy(io.Discard, both); err != nil {
		t.Fatal(err)
	}
	if sum.Digest() != l.DiffID() || int64(*counted) != l.Size() {
		t.Errorf("the layer is said to be %s with %d bytes, and is %s with %d", l.DiffID(), l.Size(), sum.Digest(), *counted)
	}
	return out
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// Whatever a file system can hold comes out of the store as the same stream that was
// digested.
func TestLayerOfOddFiles(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	long := strings.Repeat("n", 255)
	deep := strings.Repeat("d/", 150) + long
	odd := map[string]string{
		"empty": "", "new\nline": "x", "bell\a": "x", "\xff\xfe": "not UTF-8", "ünïcode": "x", " ": "x", "a=b c%": "x", "-": "x", long: "x", deep: "x",
		"block": strings.Repeat("b", 512), "block less": strings.Repeat("b", 511), "block more": strings.Repeat("b", 513), "buffers": strings.Repeat("x", 3<<20),
		".hidden": "x", "wh.not": "x", "..wh.not": "x", "...": "x",
	}
	s := open(t)
	l, err := s.MakeLayer(t.Context(), nil, func(st Staging) error {
		at := func(name string) string { return filepath.Join(st.Upper, name) }
		for name, text := range odd {
			if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(at(name), []byte(text), 0o644); err != nil {
				return err
			}
		}
		return firstOf(
			os.Symlink(strings.Repeat("t/", 1500)+"end", at("long link")), os.Symlink("\xff\n", at("odd link")), os.Link(at(deep), at("hard link to what is deep")),
			os.Link(at("\xff\xfe"), at("hard link to what is odd")), unix.Mkfifo(at("fifo"), 0o4755),
			os.Chown(at("block"), 60000, 65000), unix.Chmod(at("block"), 0o6755), os.Mkdir(at("sticky"), 0o700), unix.Chmod(at("sticky"), 0o1777),
			os.Chtimes(at("block less"), time.Unix(1, 0), time.Unix(1234567890, 987654321)),
			os.Chtimes(at("block more"), time.Unix(1, 0), time.Date(1931, 1, 2, 3, 4, 5, 6, time.UTC)),
			os.Chtimes(at("empty"), time.Unix(1, 0), time.Date(2033, 1, 2, 3, 4, 5, 6, time.UTC)),
			unix.Setxattr(at("empty"), "user.binary", []byte("a\x00b\n=\xff"), 0), unix.Setxattr(at("sticky"), "user.of=dir", []byte("v"), 0),
			unix.Setxattr(at("buffers"), "user.long", []byte(strings.Repeat("v", 1500)), 0),
			os.Truncate(at("..."), 64<<20), // sparse
		)
	})
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, s, l)
	for name, text := range odd {
		h := got[name]
		if h == nil {
			t.Errorf("%.30q is not in the layer", name)
		} else if name != "..." && h.Typeflag != tar.TypeLink && h.Size != int64(len(text)) {
			t.Errorf("%.30q has %d bytes, want %d", name, h.Size, len(text))
		}
	}
	for name, want := range map[string]string{
		"long link": strings.Repeat("t/", 1500) + "end", "odd link": "\xff\n",
	} {
		if h := got[name]; h == nil || h.Linkname != want {
			t.Errorf("%s: %+v", name, h)
		}
	}
	links := 0
	for _, h := range got {
		if h.Typeflag == tar.TypeLink {
			links++
		}
	}
	if links != 2 {
		t.Errorf("%d hard links, want 2", links)
	}
	for name, want := range map[string]string{
		"block": "6755 60000:65000", "fifo": "4755 0:0", "sticky/": "1777 0:0",
	} {
		h := got[name]
		if h == nil || fmt.Sprintf("%o %d:%d", h.Mode&0o7777, h.Uid, h.Gid) != want {
			t.Errorf("%s: %+v, want %s", name, h, want)
		}
	}
	for name, want := range map[string]string{"block less": "2009-02-13 23:31:30", "block more": "1931-01-02 03:04:05", "empty": "2033-01-02 03:04:05"} {
		if got := got[name].ModTime.UTC().Format("2006-01-02 15:04:05"); got != want {
			t.Errorf("%s is of %s, want %s", name, got, want)
		}
	}
	if v := got["empty"].PAXRecords["SCHILY.xattr.user.binary"]; v != "a\x00b\n=\xff" {
		t.Errorf("the attribute is %q", v)
	}
	if n := len(got["sticky/"].PAXRecords); n != 0 {
		t.Errorf("the attribute that cannot be named: %v", got["sticky/"].PAXRecords)
	}
}

func firstOf(errs ...error) error {
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	return nil
}
