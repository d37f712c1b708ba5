//go:build linux

package remotecache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/records/recordstest"
)

// opened opens a layout to be written to.
func opened(t *testing.T, dir, tag string) *Layout {
	t.Helper()
	l, err := OpenLayout(dir, tag, true)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// entered enters a cache with one layer, which is there or is written, and gives that.
func entered(t *testing.T, l *Layout, text string) digest.Digest {
	t.Helper()
	d := descriptor(imgspec.MediaTypeImageLayer, []byte(text))
	if !there(t, l, d.Digest) {
		if err := l.Put(t.Context(), d.Digest.String(), d.Size, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	x := example(1)
	x.Layers = []digest.Digest{recordstest.Digest(1)}
	raw, config, err := Manifest(x, []imgspec.Descriptor{d})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{digest.FromBytes(config).String(): config, ManifestName: raw} {
		if err := l.Put(t.Context(), name, int64(len(content)), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	return d.Digest
}

func there(t *testing.T, l *Layout, d digest.Digest) bool {
	t.Helper()
	has, err := l.Has(t.Context(), d.String())
	if err != nil {
		t.Fatal(err)
	}
	return has
}

func closed(t *testing.T, l *Layout) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// What a cache finds in a layout, and so does not write, stays though another one that had it is replaced meanwhile, in the same
// process too. Nothing is left of who wrote, or was killed.
func TestFoundStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := opened(t, dir, "b")
	x := entered(t, old, "x")
	closed(t, old)

	a, b := opened(t, dir, "a"), opened(t, dir, "b")
	if !there(t, a, x) {
		t.Fatal("it is not there")
	}
	entered(t, b, "y")
	closed(t, b)
	if !there(t, a, x) {
		t.Error("what was found is gone")
	}
	entered(t, a, "x")
	closed(t, a)

	if err := os.Mkdir(filepath.Join(dir, LayoutAside+strings.Repeat("A", 26)), 0o700); err != nil { // as one that was killed
		t.Fatal(err)
	}
	last := opened(t, dir, "a")
	entered(t, last, "z")
	if there(t, last, x) {
		t.Error("what nothing has any more stays")
	}
	closed(t, last)
	closed(t, opened(t, dir, "c")) // and nothing was written
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// Who opens a layout, to find blobs in it, waits for a sweep that has begun before.
func TestAsideWaitsForSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := opened(t, dir, "old")
	x := entered(t, l, "x")
	closed(t, l)
	for name, looks := range map[string]func(layout *os.Root) (bool, error){
		"a cache": func(*os.Root) (bool, error) {
			l, err := OpenLayout(dir, "new", true)
			if err != nil {
				return false, err
			}
			has, err := l.Has(t.Context(), x.String())
			return has, errors.Join(err, l.Close())
		},
		"an image": func(layout *os.Root) (bool, error) {
			own, err := Aside(layout)
			if err != nil {
				return false, err
			}
			_, err = layout.Stat("blobs/sha256/" + x.Encoded())
			return err == nil, own.Remove()
		},
	} {
		again := opened(t, dir, "old")
		entered(t, again, "x")
		closed(t, again)
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		type found struct {
			has bool
			err error
		}
		looked := make(chan found, 1)
		err = changeIndex(root, func(*imgspec.Index) func() {
			return func() { // a sweep that has seen nobody
				go func() { has, err := looks(root); looked <- found{has, err} }()
				for len(looked) == 0 && !lockAwaited(t, dir) {
					time.Sleep(time.Millisecond)
				}
				if err := root.Remove("blobs/sha256/" + x.Encoded()); err != nil {
					t.Error(err)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := <-looked; got.has || got.err != nil {
			t.Errorf("%s: found what was being removed: %v, %v", name, got.has, got.err)
		}
		root.Close()
	}
}

// lockAwaited says whether somebody waits for the lock of a directory.
func lockAwaited(t *testing.T, dir string) bool {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(locks)) {
		if strings.Contains(line, "-> FLOCK") && strings.Contains(line, fmt.Sprintf(":%d 0 EOF", st.Ino)) {
			return true
		}
	}
	return false
}
