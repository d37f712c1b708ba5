//go:build linux

package storage

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	cs "go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	storagetypes "go.podman.io/storage/types"
)

func TestOverride(t *testing.T) {
	mask := []string{"mount_program=/bin/true", "force_mask=755"}
	tests := []struct {
		name    string
		env     string
		exists  string // a driver of which there is a store
		conf    storagetypes.StoreOptions
		opts    Options
		options []string
		instead string
		fails   string
	}{
		{name: "nothing said"},
		{name: "overlay", conf: storagetypes.StoreOptions{GraphDriverName: "overlay", GraphDriverOptions: []string{"mountopt=nodev"}}, options: []string{"mountopt=nodev"}},
		{name: "vfs of old libraries", conf: storagetypes.StoreOptions{GraphDriverName: "vfs", GraphDriverOptions: []string{"vfs.x=y"}}},
		{name: "vfs in storage.conf with images", exists: "vfs", conf: storagetypes.StoreOptions{GraphDriverName: "vfs"}, instead: "vfs"},
		{name: "STORAGE_DRIVER", env: "vfs", conf: storagetypes.StoreOptions{GraphDriverName: "vfs"}, instead: "vfs"},
		{name: "STORAGE_DRIVER and --storage-driver", env: "vfs", conf: storagetypes.StoreOptions{GraphDriverName: "vfs"}, opts: Options{Driver: "overlay"}},
		{name: "--storage-driver", opts: Options{Driver: "btrfs"}, fails: "leave the driver out"},
		{name: "a mount program", conf: storagetypes.StoreOptions{GraphDriverName: "overlay", GraphDriverOptions: []string{"mount_program=/bin/true", ".ignore_chown_errors=true", "size=1G"}}, options: []string{"size=1G"}},
		{name: "a mount program by flag", opts: Options{DriverOptions: []string{"overlay.mount_program=/bin/true", "overlay2.Mount_Program=x"}}},
		{name: "masked modes", conf: storagetypes.StoreOptions{GraphDriverName: "overlay", GraphDriverOptions: mask}, fails: "force_mask"},
		{name: "masked modes, and another store", conf: storagetypes.StoreOptions{GraphDriverName: "overlay", GraphDriverOptions: mask}, opts: Options{Driver: "overlay"}},
		{name: "composefs", opts: Options{DriverOptions: []string{"overlay.use_composefs=true"}}, fails: "use_composefs"},
		{name: "no composefs", opts: Options{DriverOptions: []string{"overlay.use_composefs=false"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("STORAGE_DRIVER", test.env)
			test.conf.GraphRoot = t.TempDir()
			if test.exists != "" {
				if err := os.Mkdir(filepath.Join(test.conf.GraphRoot, test.exists+"-layers"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			instead, err := override(&test.conf, test.opts)
			if test.fails != "" {
				if !errors.Is(err, ErrDriver) || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || instead != test.instead || test.conf.GraphDriverName != "overlay" || !slices.Equal(test.conf.GraphDriverOptions, append(test.options, "overlay.skip_mount_home=true")) {
				t.Errorf("got %q, %v, %+v", instead, err, test.conf)
			}
		})
	}
}

func TestPlaceError(t *testing.T) {
	for _, err := range []error{graphdriver.ErrIncompatibleFS, errors.New("kernel does not support overlay fs: x: " + graphdriver.ErrNotSupported.Error())} {
		var place *PlaceError
		if got := placeError("/r", err); !errors.As(got, &place) || place.Root != "/r" || place.Fix() == "" {
			t.Errorf("got %v", got)
		}
	}
	var place *PlaceError
	if err := placeError("/r", errors.New("x")); errors.As(err, &place) {
		t.Errorf("got %v", err)
	}
	for _, err := range []error{os.ErrPermission, &os.PathError{Op: "mkdir", Path: "/nonexistent", Err: syscall.ENOENT}, syscall.EROFS} {
		if got := placeError("/r", err); !errors.As(got, &place) || !place.Unusable || !strings.Contains(place.Fix(), "HOME") {
			t.Errorf("got %v", got)
		}
	}
}

// unpackedFor unpacks an image of a layer as containers/storage does it with a mount
// program, as Podman has it from storage.conf.
func unpackedFor(t testing.TB, root string, options []string, names ...string) string {
	t.Helper()
	st, err := cs.GetStore(storagetypes.StoreOptions{GraphRoot: root, RunRoot: filepath.Join(root, "run"), GraphDriverName: "overlay",
		GraphDriverOptions: append([]string{"overlay.mount_program=/bin/true"}, options...)})
	if err != nil {
		t.Fatal(err)
	}
	id := unpackedIn(t, &Store{backend: backend{cs: st}}, names...)
	if _, err := st.Shutdown(false); err != nil {
		t.Error(err)
	}
	st.Free()
	return id
}

// unpackedIn has containers/storage unpack a layer.
func unpackedIn(t testing.TB, s *Store, names ...string) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range names {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o4750, Uid: 7}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o750
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, _, err := s.cs.PutLayer("", "", nil, "", false, nil, &buf)
	if err != nil {
		t.Fatal(err)
	}
	return l.ID
}

// A layer that Podman unpacked for fuse-overlayfs is not mounted when the kernel would
// show something else than what is in it, and others are.
func TestLayersOfAMountProgram(t *testing.T) {
	ofOverlay(t)
	for name, test := range map[string]struct {
		options []string
		files   []string
		refused string
	}{
		"nothing deleted":  {files: []string{"file", "d/wh.file"}},
		"a deleted file":   {files: []string{"d/.wh.gone"}, refused: "/d/.wh.gone"},
		"an emptied place": {files: []string{"d/.wh..wh..opq"}, refused: "/d/.wh..wh..opq"},
		"masked modes":     {options: []string{"overlay.force_mask=shared"}, files: []string{"file"}, refused: "attribute"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			id := unpackedFor(t, root, test.options, test.files...)
			s, err := Open(options(root))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			l, err := s.Layer(id)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				err = s.Use(layer(t, s, l, "above", "")).Claim()
				var format *FormatError
				if refused := errors.As(err, &format); refused != (test.refused != "") || (refused && !strings.Contains(err.Error(), test.refused)) {
					t.Errorf("got %v", err)
				}
			}
			if test.refused != "" {
				return
			}
			// What was found of a layer does not hold for another with the same id.
			if err := errors.Join(os.Rename(l.path, l.path+".old"), os.Mkdir(l.path, 0o755), os.WriteFile(filepath.Join(l.path, ".wh.x"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			clear(s.mountProgram.plain)
			var format *FormatError
			if l, err = s.Layer(id); err != nil {
				t.Fatal(err)
			}
			if err := s.Use(l).Claim(); !errors.As(err, &format) {
				t.Errorf("the layer that came in its place: %v", err)
			}
		})
	}
}
