//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// command runs a command, and gives what it says only when it fails.
func command(args ...string) error {
	_, err := output(args...)
	return err
}

func output(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (r *run) mount(device string, options []string) error {
	return command("mount", "-o", strings.Join(append([]string{"loop"}, options...), ","), device, r.path("mnt"))
}

// in runs a program on the store. What a store has in its run directory is gone after a power cut.
func (r *run) in(runRoot, program string, args ...string) (string, error) {
	global := []string{program, "--root", r.path("mnt/store"), "--runroot", r.path(runRoot)}
	if r.sync && program != "podman" {
		global = append(global, "--storage-opt", "overlay.sync=filesystem")
	}
	return output(append(global, args...)...)
}

// work builds the images. It gives the moments at which the first one, which the others are based on, is on the disk for
// certain, and at which each of the others was reported.
func (r *run) work(options []string, builds int) (first int, reported []int, err error) {
	if err := r.mount(r.path("fuse/disk"), options); err != nil {
		return 0, nil, err
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return 0, nil, err
	}
	files := map[string]string{
		"busybox":         string(busybox),
		"base.Dockerfile": "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n",
	}
	for i := range builds {
		text := "FROM localhost/base\n"
		for step := range 5 {
			text += fmt.Sprintf("RUN mkdir /%[1]d && head -c 100000 /dev/urandom >/%[1]d/large && for n in $(seq 20); do echo %[1]d-%[2]d-$n >/%[1]d/$n; done\n", step, i)
		}
		files[dockerfile(i)] = text
	}
	for name, text := range files {
		if err := os.WriteFile(r.path("context/"+name), []byte(text), 0o755); err != nil {
			return 0, nil, err
		}
	}
	if err := r.build(r.oakum, "run0", "base.Dockerfile", "localhost/base"); err != nil {
		return 0, nil, err
	}
	if err := syncAll(r.path("mnt")); err != nil {
		return 0, nil, err
	}
	first = r.disk.moment()
	for i := range builds {
		if err := r.build(r.oakum, "run0", dockerfile(i), "localhost/image"); err != nil {
			return 0, nil, err
		}
		reported = append(reported, r.disk.moment())
	}
	return first, reported, command("umount", "-l", r.path("mnt"))
}

func dockerfile(i int) string { return fmt.Sprintf("%d.Dockerfile", i) }

func (r *run) build(program, runRoot, file, name string) error {
	_, err := r.in(runRoot, program, "build", "--quiet", "--file", r.path("context/"+file), "--tag", name, r.path("context"))
	return err
}

func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// look opens the store that a power cut has left, and says what is there. Builds that had been
// reported before are given with their moments.
func (r *run) look(options []string, builds int, reported []int) (what string, err error) {
	if err := r.mount(r.path("cut"), options); err != nil {
		return "", err
	}
	runRoot, err := os.MkdirTemp(r.dir, "run")
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, command("umount", "-l", r.path("mnt")), os.RemoveAll(runRoot))
	}()
	runRoot = filepath.Base(runRoot)
	// As if the machine had been started again.
	for _, marker := range []string{"oakum", "oakum-tree"} {
		if err := os.Remove(filepath.Join(r.path("mnt/store"), marker, "boot")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	if r.sync { // else Podman comes first
		if _, err := r.in(runRoot, r.check, "images"); err != nil {
			return "", err
		}
	}
	list := []string{"images", "--all", "--quiet", "--no-trunc"}
	before, err := r.in(runRoot, "podman", append([]string{"--storage-driver", "overlay"}, list...)...)
	whole, broken := r.whole(runRoot, strings.Fields(before))
	what = fmt.Sprintf("%d images were whole, %d were not", len(whole), len(broken))
	if err != nil {
		what = "Podman could not list the images"
	}
	if done := 1 + len(reported); r.sync && (err != nil || len(whole) < done || len(broken) > 0) {
		return what, fmt.Errorf("%d images had been reported, each after a sync: %w", done, errors.Join(append(broken, err)...))
	}
	// The last build is done again, with all that the cache has of it.
	if err := r.build(r.check, runRoot, dockerfile(builds-1), "localhost/image"); err != nil {
		return what, err
	}
	after, err := r.in(runRoot, "podman", append([]string{"--storage-driver", "overlay"}, list...)...)
	if err != nil {
		return what, err
	}
	if _, err := r.in(runRoot, r.check, "inspect", "localhost/base"); err != nil {
		return what, fmt.Errorf("the image that was made long before: %w", err)
	}
	_, broken = r.whole(runRoot, strings.Fields(after))
	return what, errors.Join(broken...)
}

// whole tells images of which all bytes are as their digests say.
func (r *run) whole(runRoot string, ids []string) (whole []string, broken []error) {
	for _, id := range ids {
		to := r.path("copy")
		id = strings.TrimPrefix(id, "sha256:")
		err := command("skopeo", "copy", "--insecure-policy", "--quiet", fmt.Sprintf("containers-storage:[overlay@%s+%s]@%s", r.path("mnt/store"), r.path(runRoot), id), "dir:"+to)
		if err = errors.Join(err, os.RemoveAll(to)); err != nil {
			broken = append(broken, fmt.Errorf("image %.12s: %w", id, err))
		} else {
			whole = append(whole, id)
		}
	}
	return whole, broken
}
