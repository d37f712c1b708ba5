//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// nestedFiles are the settings of an ordinary user's podman in a container, as Podman's own image
// for that has them: what a container's root may not give again is taken from the container.
var nestedFiles = map[string]string{
	"etc/passwd":                 "root:x:0:0:root:/root:/bin/sh\npodman:x:1000:1000::/home/podman:/bin/sh\n",
	"etc/group":                  "root:x:0:\npodman:x:1000:\n",
	"etc/subuid":                 "podman:1:999\npodman:1001:64535\n",
	"etc/subgid":                 "podman:1:999\npodman:1001:64535\n",
	"etc/containers/policy.json": `{"default": [{"type": "insecureAcceptAnything"}]}`,
	"etc/containers/containers.conf": `[containers]
netns = "host"
userns = "host"
ipcns = "host"
utsns = "host"
cgroupns = "host"
cgroups = "disabled"
log_driver = "k8s-file"
volumes = ["/proc:/proc"]
default_sysctls = []
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
`,
}

// makeNest makes the root directory of a container in which an ordinary user has podman: the machine's programs
// are mounted into it.
func (w *world) makeNest() (string, error) {
	root := filepath.Join(w.dir, "nest")
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	var errs []error
	for _, dir := range []string{"etc/containers", "proc", "sys", "dev", "run", "usr", "tmp", "var/tmp", "home/podman", "image", "contexts", "opt"} {
		errs = append(errs, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	errs = append(errs, os.Chmod(root+"/tmp", 0o1777), os.Chmod(root+"/var/tmp", 0o1777))
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		errs = append(errs, os.Symlink("usr/"+link, filepath.Join(root, link)))
	}
	for name, content := range nestedFiles {
		errs = append(errs, os.WriteFile(filepath.Join(root, name), []byte(content), 0o644))
	}
	errs = append(errs, run(exec.CommandContext(w.ctx, "chown", "-h", "-R", w.user.Uid+":"+w.user.Gid, root)),
		w.copyWithCapability("newuidmap", unix.CAP_SETUID), w.copyWithCapability("newgidmap", unix.CAP_SETGID))
	return root, errors.Join(errs...)
}

// copyWithCapability copies a program of the machine to the nest's /opt, with a capability of the user namespaces
// of the test user. The set-user-ID bit of the machine's file gives nothing there, since its owner is nobody.
func (w *world) copyWithCapability(name string, capability int) error {
	program, err := os.ReadFile("/usr/bin/" + name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(w.user.Uid)
	if err != nil {
		return err
	}
	// struct vfs_ns_cap_data: version 3, effective; permitted and inheritable, low and high; the namespaces' root.
	var value []byte
	for _, word := range []uint32{0x03000001, 1 << capability, 0, 0, 0, uint32(uid)} {
		value = binary.LittleEndian.AppendUint32(value, word)
	}
	path := filepath.Join(w.dir, "nest/opt", name)
	return errors.Join(os.WriteFile(path, program, 0o755), unix.Setxattr(path, "security.capability", value, 0))
}

// startNest starts the container around a nested one.
func (p *place) startNest(flags []string) error {
	w := p.world
	root, err := w.makeNest()
	if err != nil {
		return err
	}
	args := []string{"run", "--detach", "--init=false", "--network", "slirp4netns:allow_host_loopback=true", "--user", "podman",
		"--env", "PATH=/opt:" + usualPath, "--volume", "/usr:/usr:ro", "--volume", w.dir + "/image:/image:ro",
		"--volume", w.dir + "/registries.container.conf:/etc/containers/registries.conf:ro", "--volume", p.scratch + ":/home/podman"}
	p.nest, err = output(w.podman(w.ctx, true, slices.Concat(args, flags, []string{"--rootfs", root, "sleep", "1000000"})...))
	if err != nil {
		return err
	}
	return run(p.podman(w.ctx, append(imageBuild, "/image")...))
}

// podman is a command of the podman whose container the place is.
func (p *place) podman(ctx context.Context, args ...string) *exec.Cmd {
	if p.nest != "" {
		args = append([]string{"exec", "--interactive", p.nest, "podman", "--storage-driver", "overlay"}, args...)
	}
	return p.world.podman(ctx, p.rootless, args...)
}
