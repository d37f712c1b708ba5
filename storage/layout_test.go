//go:build linux

package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/remotecache"
	"github.com/oakum-build/oakum/storage/wholefile/wholefiletest"
)

// addTo adds an image of a name, and nothing else, to a layout, and does meanwhile what it is given.
func addTo(path, name string, meanwhile func()) error {
	return intoLayout(path, func(dir, _ string) error {
		meanwhile()
		index, err := json.Marshal(imgspec.Index{Manifests: []imgspec.Descriptor{{Digest: "sha256:" + "0", Annotations: map[string]string{imgspec.AnnotationRefName: name}}}})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, imgspec.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, imgspec.ImageIndexFile), index, 0o644)
	})
}

// Of images that are added to one layout at the same time each has its entry in the end, and what a cache writes there meanwhile.
func TestLayoutOfTwo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "layout")
	adding := func(name string, meanwhile func()) {
		if err := addTo(path, name, meanwhile); err != nil {
			t.Error(err)
		}
	}
	adding("one", func() {
		adding("two", func() {})
		adding("three", func() {
			l, err := remotecache.OpenLayout(path, "cache", true)
			if err == nil {
				err = l.Put(t.Context(), remotecache.ManifestName, 2, strings.NewReader("{}"))
			}
			if err != nil {
				t.Error(err)
			}
			_ = l.Close()
		})
	})
	adding("two", func() {})
	raw, err := os.ReadFile(filepath.Join(path, imgspec.ImageIndexFile))
	if err != nil {
		t.Fatal(err)
	}
	var index imgspec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range index.Manifests {
		names = append(names, m.Annotations[imgspec.AnnotationRefName])
	}
	if got := strings.Join(names, " "); got != "two cache three one" {
		t.Errorf("the index has %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(path, ".*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// The files by which all images of a layout are found are on the disk before they take the place of those before.
func TestLayoutIsSynced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "layout")
	if err := addTo(path, "one", func() {}); err != nil {
		t.Fatal(err)
	}
	l, err := remotecache.OpenLayout(path, "cache", true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	files := func() (all []os.FileInfo) {
		for _, name := range []string{imgspec.ImageIndexFile, imgspec.ImageLayoutFile} {
			info, err := os.Stat(filepath.Join(path, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, info)
		}
		return all
	}
	before := files()
	for what, write := range map[string]func() error{
		"an image":   func() error { return addTo(path, "two", func() {}) },
		"a cache":    func() error { return l.Put(t.Context(), remotecache.ManifestName, 2, strings.NewReader("{}")) },
		"a new one":  func() error { _, err := remotecache.OpenLayout(path+"-new", "cache", true); return err },
		"new images": func() error { return addTo(path+"-images", "two", func() {}) },
	} {
		wholefiletest.WithoutSync(t, func() { err = write() })
		if !errors.Is(err, unix.EIO) {
			t.Errorf("%s: %v", what, err)
		}
		for i, now := range files() {
			if !os.SameFile(now, before[i]) {
				t.Errorf("%s: %s is another", what, now.Name())
			}
		}
	}
}

// Whoever adds an image looks for blobs when nobody can be removing any who did not know of that.
func TestImageWaitsForSweep(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	root, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	waits := func() bool {
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(strings.Split(string(locks), "\n"), func(line string) bool {
			return strings.Contains(line, "-> FLOCK") && strings.Contains(line, fmt.Sprintf(":%d 0 EOF", st.Ino))
		})
	}
	var over, early atomic.Bool
	done := make(chan error, 1)
	err = remotecache.ChangeIndex(root, func(*imgspec.Index) {
		go func() { done <- addTo(path, "one", func() { early.Store(!over.Load()) }) }()
		for !early.Load() && len(done) == 0 && !waits() {
			time.Sleep(time.Millisecond)
		}
		over.Store(true)
	})
	if err := errors.Join(err, <-done); err != nil || early.Load() {
		t.Errorf("looked while another was changing the layout: %v, %v", early.Load(), err)
	}
}
