//go:build linux

package extract

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// heap is what is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// streamed writes an archive while it is read, and says how much more memory was in use when all but its end was.
func streamed(t *testing.T, count int, entry func(i int) tar.Header) (io.Reader, func() int64) {
	t.Helper()
	in, out := io.Pipe()
	before, taken := heap(), int64(0)
	done := make(chan error, 1)
	go func() {
		var err error
		w := tar.NewWriter(out)
		for i := 0; i < count && err == nil; i++ {
			h := entry(i)
			err = w.WriteHeader(&h)
		}
		taken = heap() - before
		done <- errors.Join(err, w.Close(), out.Close())
	}()
	return in, func() int64 {
		in.Close()
		if err := <-done; err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
		return taken
	}
}

// Whatever the headers of directories are filled with, no more is kept of them than what they say.
func TestDirectoriesTakeLittleMemory(t *testing.T) {
	const count, filler = 40, 1<<20 - 4096
	records := func(i int, more string) map[string]string {
		return map[string]string{"SCHILY.xattr.user.mine": fmt.Sprint("value", i), "comment": more}
	}
	plain := func(i int) tar.Header {
		return tar.Header{Name: fmt.Sprintf("%03d", i), Typeflag: tar.TypeDir, Mode: 0o700 + int64(i%8), Uid: i, Gid: 7, ModTime: time.Unix(int64(i), 0)}
	}
	for name, entry := range map[string]func(i int) tar.Header{
		"comments": func(i int) tar.Header {
			h := plain(i)
			h.PAXRecords = records(i, strings.Repeat("x", filler))
			return h
		},
		"names": func(i int) tar.Header {
			h := plain(i)
			h.Name += strings.Repeat("/", filler)
			h.PAXRecords = records(i, "x")
			return h
		},
	} {
		for kind, extract := range map[string]func(in io.Reader, root *prison, o Options) error{
			"layer": func(in io.Reader, p *prison, o Options) error { return Layer(t.Context(), p.root, in, o) },
			"archive": func(in io.Reader, p *prison, o Options) error {
				return Archive(t.Context(), p.root, in, &tarfilter.Archive{AnyName: true}, o)
			},
		} {
			p := newPrison(t)
			_, o := tree(t)
			in, end := streamed(t, count, entry)
			err := extract(in, p, o)
			if taken := end() >> 20; taken > count/4 || err != nil {
				t.Errorf("%s of %d MiB in a %s: %d MiB are in use, %v", name, count, kind, taken, err)
			}
			var want strings.Builder
			for i := range count {
				fmt.Fprintf(&want, "%03d 40%o %d:7 user.mine=value%d %d\n", i, 0o700+i%8, i, i, i)
			}
			if got := list(t, p.root, o.Owners); got != want.String() {
				t.Errorf("%s in a %s: got\n%s", name, kind, got)
			}
		}
	}
}

// An attribute that no file can have is refused before any is kept, and so is what would be too much to keep.
func TestGreedyAttributes(t *testing.T) {
	t.Parallel()
	for size, refused := range map[int]bool{100: false, maxValue + 1: true} {
		for _, h := range []tar.Header{dir("f"), file("f"), {Name: "f", Typeflag: tar.TypeFifo}} {
			h.PAXRecords = map[string]string{"SCHILY.xattr.security.mine": strings.Repeat("x", size)}
			root, o := tree(t)
			err := Layer(t.Context(), root, bytes.NewReader(pack(t, h)), o)
			var bad *tarfilter.EntryError
			if got := errors.As(err, &bad) && errors.Is(err, limits.ErrInvalid); got != refused {
				t.Errorf("type %q with %d bytes: %v", h.Typeflag, size, err)
			}
		}
	}
	x := newExtraction(nil, Options{})
	h := dir("d")
	h.PAXRecords = map[string]string{"SCHILY.xattr.user.mine": strings.Repeat("x", 1000)}
	x.kept = maxKept - 1200
	for range 3 { // the last one counts, and no other
		if err := x.later("d", &h); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.later("e", &h); err == nil {
		t.Errorf("%d bytes are kept", x.kept)
	}
}
