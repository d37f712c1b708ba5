//go:build linux

package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// usernsEnv is set where an ordinary user's tests run as root of a user namespace, for
// nothing else may open a store.
const usernsEnv = "OAKUM_TEST_USERNS"

func TestMain(m *testing.M) {
	if Helper(os.Exit) {
		return
	}
	syscall.Umask(0o022) // as the worker has it
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

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(Options{Root: t.TempDir(), Rootless: os.Getenv(usernsEnv) != ""})
	if err != nil {
		t.Fatal(err)
	}
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
	s, err := Open(Options{Root: root, Rootless: os.Getenv(usernsEnv) != ""})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// layer makes a layer with one file.
func layer(t testing.TB, s *Store, parent *Layer, name, text string) *Layer {
	t.Helper()
	l, err := s.MakeLayer(t.Context(), parent, func(st Staging) error {
		return os.WriteFile(filepath.Join(st.Upper, name), []byte(text), 0o644)
	})
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
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
	defer CloseAll(lowers)
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
		l, err := s.MakeLayer(t.Context(), top, func(st Staging) error {
			lowers, err := top.Lowers()
			if err != nil || len(lowers) != i {
				return fmt.Errorf("%d directories below: %w", len(lowers), err)
			}
			CloseAll(lowers)
			return os.WriteFile(filepath.Join(st.Upper, fmt.Sprint(i)), nil, 0o644)
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
	_, err := s.MakeLayer(t.Context(), top, func(st Staging) error {
		_ = os.WriteFile(filepath.Join(st.Upper, "half"), nil, 0o644)
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
	s, err := Open(Options{Root: t.TempDir(), Rootless: os.Getenv(usernsEnv) != ""})
	if err != nil {
		t.Fatal(err)
	}
	scratch := s.temp.Name()
	sys, err := s.systemContext(Access{})
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
	if sys, err := store.systemContext(Access{}); err != nil || filepath.Dir(sys.BigFilesTemporaryDir) != elsewhere {
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
