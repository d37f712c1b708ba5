//go:build linux

// Package home gives tests a user's world of their own: home directory, runtime
// directory, settings and with them an image store, the same for oakum, podman,
// buildah and skopeo, in which the base images are found under their usual names.
package home

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/hack/baseimage"
)

// A Home is such a world.
type Home struct {
	Dir   string
	Graph string // the store's root
	Env   []string
}

const containersConf = `[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
log_driver = "k8s-file"
# Without this podman asks for limits that a root without CAP_SYS_RESOURCE has not.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
`

// Registry returns the address of the registry with the base images, and starts it,
// until ctx ends, if hack/test has not. checkout is the root of this repository. It
// fails when the binary under test or a tool that every test needs is missing.
func Registry(ctx context.Context, checkout string) (string, error) {
	for _, tool := range []string{filepath.Join(checkout, "bin", "oakum"), "podman", "buildah", "skopeo", "runc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%w; run these tests by make", err)
		}
	}
	if address := os.Getenv("OAKUM_TEST_REGISTRY"); address != "" {
		return address, nil
	}
	images, err := baseimage.Make(ctx, filepath.Join(checkout, ".cache"))
	if err != nil {
		return "", err
	}
	return baseimage.Serve(ctx, images, "127.0.0.1:0")
}

// New makes a home that finds its images at a registry. Remove ends it.
func New(registry string) (*Home, error) {
	// Sockets in it need a short name.
	dir, err := os.MkdirTemp("", "oakum-home-")
	if err != nil {
		return nil, err
	}
	h := &Home{Dir: dir, Graph: filepath.Join(dir, "data/containers/storage")}
	h.Env = append(os.Environ(),
		"HOME="+dir,
		"XDG_CONFIG_HOME="+dir+"/config",
		"XDG_DATA_HOME="+dir+"/data",
		"XDG_CACHE_HOME="+dir+"/cache",
		"XDG_RUNTIME_DIR="+dir+"/run",
		"CONTAINERS_CONF="+dir+"/config/containers/containers.conf",
		"CONTAINERS_REGISTRIES_CONF="+dir+"/config/containers/registries.conf")
	if os.Geteuid() == 0 {
		// Root's settings are the system's, unless this names others.
		h.Env = append(h.Env, "CONTAINERS_STORAGE_CONF="+dir+"/config/containers/storage.conf")
	}
	for _, sub := range []string{"data", "cache", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	storage := fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", h.Graph, dir+"/run/containers")
	for name, content := range map[string]string{
		"storage.conf":    storage,
		"containers.conf": containersConf,
		"registries.conf": baseimage.RegistriesConf(registry),
	} {
		if _, err := h.Write("config/containers/"+name, content); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Write writes a file below the home and returns its path.
func (h *Home) Write(name, content string) (string, error) {
	path := filepath.Join(h.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(content), 0o644)
}

// Command is a command that would run in the home.
func (h *Home) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = h.Env, h.Dir
	return cmd
}

// Try runs a command and returns its two streams and how it ended.
func (h *Home) Try(name string, args ...string) (stdout, stderr string, err error) {
	cmd := h.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// BuildahArgs is how Debian's buildah is asked to build as oakum does: with its OCI
// runtime and the host's network. The context and flags follow.
func BuildahArgs(format string) []string {
	return []string{"bud", "--isolation", "oci", "--network", "host", "--format", format}
}

// Remove ends what podman leaves running and removes the home.
func (h *Home) Remove() error {
	pid, err := os.ReadFile(filepath.Join(h.Dir, "run/libpod/tmp/pause.pid"))
	if err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	var failed error
	if os.Geteuid() != 0 {
		// Some files belong to subordinate ids.
		if _, stderr, err := h.Try("buildah", "unshare", "rm", "-rf", h.Dir+"/data", h.Dir+"/run"); err != nil {
			failed = fmt.Errorf("removing the store: %w\n%s", err, stderr)
		}
	}
	points, err := MountsBelow("/proc/self/mountinfo", h.Dir)
	for _, point := range slices.Backward(points) {
		_ = unix.Unmount(point, unix.MNT_DETACH)
	}
	return errors.Join(failed, err, os.RemoveAll(h.Dir))
}

// MountsBelow lists the mount points below dir in a mountinfo file, in its order.
func MountsBelow(mountinfo, dir string) ([]string, error) {
	content, err := os.ReadFile(mountinfo)
	if err != nil {
		return nil, err
	}
	var points []string
	for line := range strings.Lines(string(content)) {
		// man 5 proc_pid_mountinfo: the fifth field is the mount point.
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	return points, nil
}
