//go:build linux

package storage

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// archived is an image in a layout, whose layer has some files of zeros.
func archived(t *testing.T, files int, size int64) string {
	t.Helper()
	s := openTree(t, t.TempDir())
	l, err := s.MakeTar(t.Context(), nil, func(w io.Writer) ([]string, error) {
		out := tar.NewWriter(w)
		for i := range files {
			if err := out.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
				return nil, err
			}
			if _, err := io.Copy(out, bytes.NewReader(make([]byte, size))); err != nil {
				return nil, err
			}
		}
		return nil, out.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, l, "localhost/zeros:1")
	to := "oci-archive:" + filepath.Join(t.TempDir(), "zeros")
	if _, err := s.Push(t.Context(), "localhost/zeros:1", to, PushOptions{Format: "oci"}, registry.Access{}); err != nil {
		t.Fatal(err)
	}
	return to
}

// asBefore fails when there is anything of a layer that could not be taken.
func asBefore(t *testing.T, s *Store, why string) {
	t.Helper()
	images, err := s.Images()
	if ids := layerIDs(t, s); err != nil || len(ids) > 0 || len(images) > 0 {
		t.Errorf("%s: left %v, %v, %v", why, ids, images, err)
	}
	for _, dir := range []string{"dir", "tempdirs/oakum/*"} {
		if left, _ := filepath.Glob(filepath.Join(s.cs.GraphRoot(), DriverTree, dir, "*")); len(left) > 0 {
			t.Errorf("%s: left %v", why, left)
		}
	}
}

// A layer that would take too much is given up at the limit, whatever it is compressed.
func TestLayerLimits(t *testing.T) {
	t.Parallel()
	from := archived(t, 3, 1<<20)
	for options, want := range map[string]string{
		"": "", "overlay.size=1,mountopt=nodev": "", "tree.layer_size=4m,TREE.layer_files=3": "",
		"tree.layer_size=1m":  "larger than 1MiB uncompressed: allow more by --storage-opt tree.layer_size=SIZE",
		"tree.layer_files=2":  "more than 2 files: allow more by --storage-opt tree.layer_files=NUMBER",
		"tree.layer_size=0":   "tree.layer_size=0 is no size",
		"tree.layer_files=1k": "tree.layer_files=1k is no size or number",
		"tree.size=1":         "the driver tree has no option size",
	} {
		opts := Options{Root: t.TempDir(), Driver: DriverTree}
		if options != "" {
			opts.DriverOptions = strings.Split(options, ",")
		}
		s, err := Open(opts)
		if err == nil {
			_, err = s.Pull(t.Context(), from, platform.Platform{}, registry.Access{})
			if want != "" {
				asBefore(t, s, options)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, ErrDriver) {
			t.Errorf("%s: %v", options, err)
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

// A full volume is an error that says so, and the store is as it was and can be used.
func TestFullVolume(t *testing.T) {
	ofOverlay(t) // that is, where something can be mounted
	large, small := archived(t, 1, 16<<20), archived(t, 1, 1<<10)
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	s := openTree(t, root)
	if _, err := s.Pull(t.Context(), large, platform.Platform{}, registry.Access{}); !errors.Is(err, unix.ENOSPC) && !strings.Contains(fmt.Sprint(err), "no space left on device") {
		t.Errorf("a pull: %v", err)
	}
	asBefore(t, s, "a pull")
	source := rand.New(rand.NewPCG(1, 2))
	if _, err := s.MakeTar(t.Context(), nil, func(w io.Writer) ([]string, error) {
		for range 16 << 10 {
			if _, err := fmt.Fprintf(w, "%1024d", source.Int()); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a step: %v", err)
	}
	asBefore(t, s, "a step")
	if _, err := s.Pull(t.Context(), small, platform.Platform{}, registry.Access{}); err != nil {
		t.Error(err)
	}
}
