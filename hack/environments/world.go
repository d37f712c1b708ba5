//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moby/profiles/seccomp"

	"github.com/oakum-build/oakum/hack/baseimage"
	"github.com/oakum-build/oakum/hack/internal/home"
)

// A world has what environments are made of: the base images on a registry of the machine's
// loopback, and an image with oakum in podman stores of its own.
type world struct {
	ctx      context.Context
	checkout string // the root of the repository
	dir      string // everything that close removes
	registry string // on the machine's loopback
	user     *user.User
	stores   map[bool]bool // whether root's podman has been used, and the user's
	images   map[bool]bool // whether they have the image
}

const (
	// containerLoopback is the machine's loopback as slirp4netns shows it to a container.
	containerLoopback = "10.0.2.2"
	// imageName is the image with oakum.
	imageName = "localhost/oakum-environment"
)

// newWorld makes a world, which needs root.
func newWorld(ctx context.Context, checkout string) (*world, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can make the environments; run this as root")
	}
	registry, err := home.Registry(ctx, checkout)
	if err != nil {
		return nil, err
	}
	w := &world{ctx: ctx, checkout: checkout, registry: registry, stores: map[bool]bool{}, images: map[bool]bool{}}
	name := os.Getenv("OAKUM_TEST_USER")
	if name == "" {
		name = "oakum-test"
	}
	if w.user, err = user.Lookup(name); err != nil {
		return nil, fmt.Errorf("%w; hack/testuser makes it", err)
	}
	if w.dir, err = os.MkdirTemp("", "oakum-environments-"); err != nil {
		return nil, err
	}
	if err := w.fill(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// fill writes what all environments share.
func (w *world) fill() error {
	if err := os.Chmod(w.dir, 0o755); err != nil {
		return err
	}
	profile, err := json.Marshal(seccomp.DefaultProfile())
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(w.registry)
	if err != nil {
		return err
	}
	// Without limits of its own podman asks for more than a root without CAP_SYS_RESOURCE may.
	const containersConf = `[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
`
	for name, content := range map[string]string{
		"docker.json":     string(profile),
		"registries.conf": baseimage.RegistriesConf(w.registry),
		// What is the same in a container.
		"registries.container.conf": baseimage.RegistriesConf(net.JoinHostPort(containerLoopback, port)),
		"containers.conf":           containersConf,
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(w.linkPrograms(), w.writeImage())
}

// linkPrograms makes a directory with the machine's programs without those that map subordinate ids.
func (w *world) linkPrograms() error {
	dir := filepath.Join(w.dir, "bin")
	errs := []error{os.Mkdir(dir, 0o755), os.Symlink(filepath.Join(w.checkout, "bin", "oakum"), filepath.Join(dir, "oakum"))}
	programs, err := filepath.Glob("/usr/bin/*")
	for _, program := range programs {
		switch name := filepath.Base(program); name {
		case "newuidmap", "newgidmap", "oakum":
		default:
			errs = append(errs, os.Symlink(program, filepath.Join(dir, name)))
		}
	}
	return errors.Join(append(errs, err)...)
}

// podman is a podman command: root's, or the user's.
func (w *world) podman(ctx context.Context, rootless bool, args ...string) *exec.Cmd {
	store := filepath.Join(w.dir, "root")
	if rootless {
		store = filepath.Join(w.dir, "user")
	}
	args = append([]string{"podman", "--root", store + "/store", "--runroot", store + "/run", "--storage-driver", "overlay"}, args...)
	if rootless {
		args = append(w.asUser("XDG_RUNTIME_DIR="+store, "HOME="+store,
			"CONTAINERS_CONF="+w.dir+"/containers.conf", "CONTAINERS_REGISTRIES_CONF="+w.dir+"/registries.conf"), args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+w.dir+"/containers.conf", "CONTAINERS_REGISTRIES_CONF="+w.dir+"/registries.conf")
	return cmd
}

// asUser starts a command as the test user with an environment of a PATH and env alone.
func (w *world) asUser(env ...string) []string {
	args := []string{"setpriv", "--reuid", w.user.Uid, "--regid", w.user.Gid, "--init-groups", "--inh-caps=-all", "env", "-i", "PATH=" + usualPath}
	return append(args, env...)
}

// makeImage makes the image in the store of root's or the user's podman.
func (w *world) makeImage(rootless bool) error {
	if w.images[rootless] {
		return nil
	}
	if err := w.makeStore(rootless); err != nil {
		return err
	}
	w.images[rootless] = true
	return run(w.podman(w.ctx, rootless, append(imageBuild, filepath.Join(w.dir, "image"))...))
}

// imageBuild makes the image of one layer, without starting anything in it. Its context follows.
var imageBuild = []string{"build", "--quiet", "--squash-all", "--isolation", "chroot", "--tag", imageName}

// makeStore makes a place for the store of root's or the user's podman.
func (w *world) makeStore(rootless bool) error {
	if w.stores[rootless] || !rootless {
		w.stores[rootless] = true
		return nil
	}
	w.stores[rootless] = true
	dir := filepath.Join(w.dir, "user")
	uid, _ := strconv.Atoi(w.user.Uid)
	gid, _ := strconv.Atoi(w.user.Gid)
	return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, uid, gid))
}

// close ends all containers and removes everything.
func (w *world) close() error {
	ctx := context.WithoutCancel(w.ctx)
	var errs []error
	for rootless := range w.stores {
		errs = append(errs, remove(func() *exec.Cmd { return w.podman(ctx, rootless, "rm", "--all", "--force", "--time", "0", "--volumes") }))
	}
	if w.stores[true] {
		// Its files belong to subordinate ids, and its pause process holds its mounts.
		errs = append(errs, run(w.podman(ctx, true, "system", "migrate")))
	}
	// What podman starts in the background for a command that ended may mount its store once more.
	err := os.RemoveAll(w.dir)
	for range 20 {
		if err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
		if err = w.unmount(); err == nil {
			err = os.RemoveAll(w.dir)
		}
	}
	return errors.Join(append(errs, err)...)
}

// unmount unmounts what is mounted in the world's directory.
func (w *world) unmount() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(mounts)) {
		if target := strings.Fields(line)[4]; strings.HasPrefix(target, w.dir+"/") {
			errs = append(errs, unix.Unmount(target, unix.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// run runs a command that matters by its success alone.
func run(cmd *exec.Cmd) error {
	_, err := output(cmd)
	return err
}

// output is what a command writes to its standard output. What it says besides is in the error.
func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
