//go:build linux

package storage

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/registry"
)

// usernsEnv is set where an ordinary user's tests run as root of a user namespace, for
// nothing else may open a store with the driver overlay.
const usernsEnv = "OAKUM_TEST_USERNS"

// driverEnv is set where the tests run with the driver tree: as the user that has called them, and
// in no namespace.
const driverEnv = "OAKUM_TEST_DRIVER"

// TestMain runs the tests with the driver tree in a process of their own, and then with overlay in
// this one.
func TestMain(m *testing.M) {
	if Helper(os.Exit) {
		return
	}
	syscall.Umask(0o022) // as the worker has it
	if driver() == DriverTree {
		os.Exit(m.Run())
	}
	if os.Getenv(usernsEnv) == "" {
		withTree()
	}
	if os.Geteuid() == 0 {
		os.Exit(m.Run())
	}
	unshare, err := exec.LookPath("unshare")
	if err == nil {
		args := append([]string{unshare, "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0", "--mount", "--"}, os.Args...)
		env := append(os.Environ(), usernsEnv+"=1", "_CONTAINERS_USERNS_CONFIGURED=done",
			fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", os.Geteuid()), fmt.Sprintf("_CONTAINERS_ROOTLESS_GID=%d", os.Getegid()))
		err = syscall.Exec(unshare, args, env)
	}
	fmt.Fprintln(os.Stderr, "entering a user namespace:", err)
	os.Exit(1)
}

// withTree runs the tests with the driver tree, and ends the process when they fail.
func withTree() {
	// These files are of the tests with overlay.
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool {
		return strings.HasPrefix(arg, "-test.testlogfile=") || strings.HasPrefix(arg, "-test.coverprofile=")
	})
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), driverEnv+"="+DriverTree)
	out, err := c.CombinedOutput()
	if err != nil {
		fmt.Printf("with the driver tree:\n%s\n%v\n", out, err)
		os.Exit(1)
	}
}

// driver is the driver of the stores of tests.
func driver() string { return cmp.Or(os.Getenv(driverEnv), DriverOverlay) }

// ofOverlay is called by tests of what there is with the driver overlay alone.
func ofOverlay(t *testing.T) {
	if driver() != DriverOverlay {
		t.Skip("of the driver overlay alone")
	}
}

// ofTree is called by tests of what there is with the driver tree alone.
func ofTree(t *testing.T) {
	if driver() != DriverTree {
		t.Skip("of the driver tree alone")
	}
}

// options are those of a store of a test.
func options(root string) Options {
	return Options{Root: root, Driver: driver(), Rootless: os.Getenv(usernsEnv) != ""}
}

func open(t testing.TB) *Store {
	t.Helper()
	s := openIn(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openIn opens a store that the test closes.
func openIn(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(options(root))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// layer makes a layer with one file.
func layer(t testing.TB, s *Store, parent *Layer, name, text string) *Layer {
	t.Helper()
	l, err := makeLayer(t, s, parent, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
	})
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Use(l).Close() // as a stage, which has moved on
	return l
}

// makeLayer makes a layer of what fill puts into a directory.
func makeLayer(t testing.TB, s *Store, parent *Layer, fill func(dir string) error) (*Layer, error) {
	if s.Driver() == DriverOverlay {
		return s.MakeLayer(t.Context(), parent, func(st Staging) error { return fill(st.Upper) })
	}
	return s.MakeTar(t.Context(), parent, func(w io.Writer) ([]string, error) {
		dir := t.TempDir()
		if err := fill(dir); err != nil {
			return nil, err
		}
		out := tar.NewWriter(w)
		return nil, errors.Join(out.AddFS(os.DirFS(dir)), out.Close())
	})
}

// commit makes an image of a layer.
func commit(t testing.TB, s *Store, top *Layer, names ...string) Image {
	t.Helper()
	img, err := s.CommitImage(t.Context(), Commit{Top: top, Names: names, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func config(diffIDs []digest.Digest, created []time.Time) (json.RawMessage, time.Time, error) {
	raw, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	return raw, time.Unix(1000000, 0), err
}

func TestMakeLayer(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s := open(t)
	one := layer(t, s, nil, "f", "one")
	two := layer(t, s, one, "g", "two")
	if two.Parent() != one || two.ID() == one.ID() || two.DiffID() == one.DiffID() || two.Created().IsZero() || two.Size() == 0 {
		t.Errorf("%+v on %+v", two, one)
	}
	same := layer(t, s, nil, "f", "one")
	if same.ID() == one.ID() {
		t.Error("two layers with one id")
	}
	for _, l := range []*Layer{one, two} {
		found, err := s.Layer(l.ID())
		if err != nil || found.DiffID() != l.DiffID() || found.Size() != l.Size() || found.Parent().ID() != l.Parent().ID() {
			t.Errorf("found %+v, %v; made %+v", found, err, l)
		}
	}
	lowers, err := two.Lowers()
	if err != nil || len(lowers) != 2 {
		t.Fatalf("%d directories: %v", len(lowers), err)
	}
	defer closeAll(lowers)
	for i, name := range []string{"g", "f"} {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d/%s", lowers[i].Fd(), name)); err != nil {
			t.Error(err)
		}
	}
	if l, err := s.Layer(""); l != nil || err != nil {
		t.Errorf("the empty root is %+v, %v", l, err)
	}
	for _, id := range []string{"nope", one.ID()[:10], strings.Repeat("0", 64)} {
		if l, err := s.Layer(id); err == nil {
			t.Errorf("%q is layer %s", id, l.ID())
		}
	}
}

// A layer that is mounted on before it is registered, and one that is not to be.
func TestMakeLayerEarlyAndNever(t *testing.T) {
	t.Parallel()
	s := open(t)
	var top *Layer
	for i := range 10 {
		l, err := makeLayer(t, s, top, func(dir string) error {
			lowers, err := top.Lowers()
			if err != nil || len(lowers) != i {
				return fmt.Errorf("%d directories below: %w", len(lowers), err)
			}
			closeAll(lowers)
			return os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
		top = l
	}
	if err := top.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	_, err := makeLayer(t, s, top, func(dir string) error {
		_ = os.WriteFile(filepath.Join(dir, "half"), nil, 0o644)
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if layers, err := s.cs.Layers(); err != nil || len(layers) != 10 {
		t.Errorf("%d layers: %v", len(layers), err)
	}
	scratch, err := s.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(scratch); len(left) != 0 || err != nil {
		t.Errorf("the scratch directory has %v: %v", left, err)
	}
}

// Older releases of containers/storage remove all staging directories of the overlay
// driver when they close the store, also those in use.
func TestMakeLayerWhileOthersSweep(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s := open(t)
	l, err := s.MakeLayer(t.Context(), nil, func(st Staging) error {
		return errors.Join(os.RemoveAll(filepath.Join(s.cs.GraphRoot(), "overlay", "staging")),
			os.WriteFile(filepath.Join(st.Upper, "file"), nil, 0o644))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// What containers/image writes for a while is where the next process would sweep it.
func TestTemporaryFiles(t *testing.T) {
	t.Setenv("TMPDIR", "")
	s, err := Open(options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	scratch := s.temp.Name()
	sys, err := s.systemContext(registry.Access{})
	if err != nil || filepath.Dir(sys.BigFilesTemporaryDir) != scratch {
		t.Errorf("temporary files go to %v, %v", sys, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	store, elsewhere := open(t), t.TempDir()
	t.Setenv("TMPDIR", elsewhere)
	if sys, err := store.systemContext(registry.Access{}); err != nil || filepath.Dir(sys.BigFilesTemporaryDir) != elsewhere {
		t.Errorf("temporary files go to %v, %v", sys, err)
	}
}

// Layers that are unpacked piece by piece would not be looked at, whatever storage.conf says.
func TestLayersAreUnpackedWhole(t *testing.T) {
	t.Parallel()
	got := open(t).cs.PullOptions()
	for _, option := range []string{"enable_partial_images", "convert_images"} {
		if got[option] != "false" {
			t.Errorf("%s is %q", option, got[option])
		}
	}
}

// Stores of one process are opened and asked side by side: the race detector looks.
func TestStoresSideBySide(t *testing.T) {
	t.Parallel()
	for range 4 {
		t.Run("store", func(t *testing.T) {
			t.Parallel()
			for range 3 {
				if _, err := open(t).Status(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A layer that another process is just removing, whose record was there a moment ago, is one that is not there.
func TestLayerThatGoes(t *testing.T) {
	t.Parallel()
	s := open(t)
	if s.Driver() != "overlay" {
		return // the other one looks for a layer's files when they are wanted
	}
	l, err := makeLayer(t, s, nil, func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), []byte(t.Name()), 0o644) })
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, l, "localhost/goes")
	other := another(t, s, 4322)
	defer other.Close()
	if err := os.RemoveAll(filepath.Dir(l.path)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Layer(l.ID()); !errors.Is(err, cs.ErrLayerUnknown) {
		t.Errorf("%v", err)
	}
	if images, err := other.Images(); err != nil || len(images) != 0 {
		t.Errorf("%d images, %v", len(images), err)
	}
}
