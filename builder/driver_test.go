//go:build linux

package builder_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
)

// Where Podman fills the store for fuse-overlayfs, what is pulled here is still unpacked as
// the kernel's overlay wants it: files that a layer deletes are deleted.
func TestStoreWithMountProgram(t *testing.T) {
	b := open(t)
	s := base(t, b)
	run(t, s, "mkdir /d && touch /gone /d/gone")
	run(t, s, "rm -r /gone /d && mkdir /d && touch /d/new")
	_, err := s.Commit(t.Context(), "app", builder.CommitOptions{})
	ok(t, err)
	archive := "oci-archive:" + filepath.Join(t.TempDir(), "app.tar") + ":localhost/app:latest"
	_, err = b.Push(t.Context(), "app", archive, builder.PushOptions{})
	ok(t, err)

	bin, root := t.TempDir(), tempDir(t)
	ok(t, os.WriteFile(filepath.Join(bin, "fuse-overlayfs"), []byte("#!/bin/sh\n"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	ok(t, os.MkdirAll(filepath.Join(root, "overlay"), 0o700))
	ok(t, os.WriteFile(filepath.Join(root, "overlay/.has-mount-program"), []byte("true"), 0o600))
	for _, options := range [][]string{nil, {"overlay.mount_program=/bin/true"}} {
		b = openIn(t, builder.Options{Root: root, DriverOptions: options})
		_, err = b.Pull(t.Context(), archive, builder.PullOptions{})
		ok(t, err)
		s = stage(t, b, "app", builder.StageOptions{})
		equal(t, sh(t, s, "cd /; ls -a d; ls -d gone .wh* 2>/dev/null; true"), ".\n..\nnew\n")
		ok(t, s.Close())
		_, err = b.Remove(t.Context(), "app", builder.RemoveOptions{})
		ok(t, err)
		ok(t, b.Close())
	}
}

// Another driver that the settings name is told once; the store is overlay's all the same.
func TestStorageDriverOfTheEnvironment(t *testing.T) {
	t.Setenv("STORAGE_DRIVER", "vfs")
	var warnings []string
	b := openIn(t, builder.Options{Root: tempDir(t), Events: func(e event.Event) {
		if e.Kind == event.Warning {
			warnings = append(warnings, e.Text)
		}
	}})
	info, err := b.Info(t.Context())
	ok(t, err)
	ok(t, b.Close())
	equal(t, info.Driver, "overlay")
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "STORAGE_DRIVER names the driver vfs; ") {
		t.Errorf("the warnings: %q", warnings)
	}
}

// A store on a file system on which overlay cannot be mounted keeps plain files. One that is to be overlay's is
// an error of Open, before anything is pulled, and says where else it can be.
func TestStoreOnOverlay(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	ok(t, err)
	args := []string{"--mount", "sh", "-c", `mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir l u w m && mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m && exec "$0"`, exe, t.TempDir()}
	if os.Geteuid() != 0 {
		args = append([]string{"--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0"}, args...)
	}
	for range 2 { // the driver remembers the outcome of its trial
		cmd := exec.Command("unshare", args...)
		cmd.Env = append(os.Environ(), roleEnv+"=drivers:"+args[len(args)-1]+"/m/store")
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "tree <nil>\n") || !strings.Contains(string(out), "is where overlay cannot be mounted") || !strings.Contains(string(out), "put the store on") {
			t.Errorf("got %v, %s", err, out)
		}
	}
}

// playDrivers tells which driver a store at a path gets, and what comes of one that is to be overlay's.
func playDrivers(root string) int {
	for _, driver := range []string{"", "overlay"} {
		b, err := builder.Open(context.Background(), builder.Options{Root: root, Driver: driver})
		if err != nil {
			var host *builder.HostError
			fmt.Println(err, errors.As(err, &host) && host.Fix != "", host)
			continue
		}
		info, err := b.Info(context.Background())
		fmt.Println(info.Driver, errors.Join(err, b.Close()))
	}
	return 0
}
