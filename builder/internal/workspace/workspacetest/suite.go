//go:build linux

// Package workspacetest is the suite that every implementation of a workspace passes. It runs as
// root and as an ordinary user, in a real store, and looks at the layers that are made in three
// ways: through a View, as the tar stream that others get, and in a second store that
// has pulled them.
package workspacetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
)

// Implementation is one of a workspace.
type Implementation struct {
	// Store is the driver of the stores that it works with (storage.Options).
	Store string

	// Fills says that mount points can be filled; if not, that is refused.
	Fills bool

	// New makes a driver for a store. What it mounts is below dir, an empty directory; rootless says that
	// the process is root of a user namespace only.
	New func(store *storage.Store, dir string, rootless bool) workspace.Driver
}

// usernsEnv is set where the tests are in their namespaces; its value is who has started them.
const usernsEnv = "OAKUM_TEST_WORKSPACE"

// Main is what TestMain of an implementation is: it runs the tests where nothing they mount is
// seen elsewhere, those of an ordinary user as root of a user namespace. exit is
// os.Exit.
func Main(m *testing.M, exit func(code int)) {
	if storage.Helper(exit) {
		return
	}
	if os.Getenv(usernsEnv) != "" {
		exit(m.Run())
		return
	}
	err := enter()
	fmt.Fprintln(os.Stderr, "entering the tests' namespaces:", err)
	exit(1)
}

// enter starts the tests again in namespaces of their own, with the umask that workers have.
func enter() error {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	env, args := append(os.Environ(), usernsEnv+"=root"), []string{unshare, "--mount"}
	if uid := os.Geteuid(); uid != 0 {
		env = append(os.Environ(), usernsEnv+"=user", "_CONTAINERS_USERNS_CONFIGURED=done",
			fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", uid), fmt.Sprintf("_CONTAINERS_ROOTLESS_GID=%d", os.Getegid()))
		args = append(args, "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0")
	}
	args = append(args, "--", "/bin/sh", "-c", `umask 022 && exec "$0" "$@"`)
	return syscall.Exec(unshare, append(args, os.Args...), env)
}

// Rootless says that the tests are not root of the machine.
func Rootless() bool { return os.Getenv(usernsEnv) != "root" }

// allIDs says that the tests may give files any owner.
func allIDs() bool { return os.Getenv(usernsEnv) == "root" || os.Getenv(usernsEnv) == "user" }

// Run runs the suite.
func Run(t *testing.T, open Implementation) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Implementation)
	}{
		{"Changes", changes}, {"Root", rootDirectory}, {"FewerNames", fewerNames}, {"Unfit", unfit}, {"Attributes", attributes}, {"Times", times},
		{"Nothing", nothing}, {"Directories", directories}, {"AtOnce", atOnce},
		{"Apart", apart}, {"ApartIsTheSame", apartIsTheSame}, {"Repeat", repeat},
		{"Mounts", mounts}, {"MountsThatAreUsed", mountsThatAreUsed}, {"Kept", kept}, {"Fill", fill}, {"Over", over},
		{"Discard", discard}, {"Failure", failure}, {"Cancel", cancel},
		{"Removed", removed}, {"Concurrent", concurrent}, {"ManyLayers", manyLayers},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open)
		})
	}
}

// machine is a store with a driver for it.
type machine struct {
	workspace.Driver
	store *storage.Store
	like  Implementation
	root  string // of the store
	dir   string // for mounts
}

func start(t *testing.T, open Implementation) *machine {
	t.Helper()
	m := &machine{like: open, root: t.TempDir(), dir: t.TempDir()}
	var err error
	if m.store, err = storage.Open(storage.Options{Root: m.root, Driver: m.like.Store, Rootless: Rootless()}); err != nil {
		t.Fatal(err)
	}
	m.Driver = open.New(m.store, m.dir, Rootless())
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), m.store.Close()); err != nil {
			t.Error(err)
		}
		if left := m.left(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	return m
}

// Open makes a driver over an empty store, for tests of what uses one. Both go with the test.
func Open(t *testing.T, open Implementation) (workspace.Driver, *storage.Store) {
	t.Helper()
	m := start(t, open)
	return m.Driver, m.store
}

// left are files that should have gone: what is mounted, and what is not of a layer.
func (m *machine) left() []string {
	var left []string
	in := m.root + "/" + m.like.Store
	for _, pattern := range []string{m.dir + "/*", in + "/tempdirs/oakum/*/layer-*", in + "/tempdirs/oakum/*/over-*", in + "/tempdirs/oakum/*/temp-*", in + "/staging/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return []string{err.Error()}
		}
		left = append(left, found...)
	}
	return left
}

// layers are those of the store.
func (m *machine) layers(t *testing.T) int {
	t.Helper()
	status, err := m.store.Status()
	if err != nil {
		t.Fatal(err)
	}
	return status.Layers
}

// make makes a layer, and waits until the store has it.
func (m *machine) make(t *testing.T, below *storage.Layer, c workspace.Change, do ...step) *storage.Layer {
	t.Helper()
	l, err := m.Make(t.Context(), below, c, in(do...))
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	m.store.Use(l).Close() // as a stage, which has moved on
	return l
}

// see describes the files of a layer, which are the same for a driver that has not made them.
func (m *machine) see(t *testing.T, l *storage.Layer) files {
	t.Helper()
	seen := seenBy(t, m, l)
	other := m.like.New(m.store, t.TempDir(), Rootless())
	same(t, "by another driver", seenBy(t, other, l), seen)
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	return seen
}

func seenBy(t *testing.T, d workspace.Driver, l *storage.Layer) files {
	t.Helper()
	v, err := d.View(l)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := describe(v)
	if err := errors.Join(err, v.Close()); err != nil {
		t.Fatal(err)
	}
	return seen
}

// exists says whether a path is there, links not followed.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
