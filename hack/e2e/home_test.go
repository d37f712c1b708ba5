package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A home is a user's world of its own: home directory, runtime directory, settings
// and with them an image store, the same for oakum, podman and buildah.
type home struct {
	t     *testing.T
	dir   string
	graph string // the store's root
	env   []string
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

// newHome makes a home that ends with the test.
func newHome(t *testing.T) *home {
	t.Helper()
	// Not t.TempDir: sockets in it need a short name, and its files belong to
	// subordinate ids.
	dir, err := os.MkdirTemp("", "oakum-home-")
	if err != nil {
		t.Fatal(err)
	}
	h := &home{t: t, dir: dir, graph: filepath.Join(dir, "data/containers/storage")}
	t.Cleanup(h.remove)
	storage := fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", h.graph, dir+"/run/containers")
	h.env = append(os.Environ(),
		"HOME="+dir,
		"XDG_CONFIG_HOME="+dir+"/config",
		"XDG_DATA_HOME="+dir+"/data",
		"XDG_CACHE_HOME="+dir+"/cache",
		"XDG_RUNTIME_DIR="+dir+"/run",
		"CONTAINERS_CONF="+dir+"/config/containers/containers.conf",
		"CONTAINERS_REGISTRIES_CONF="+registriesConf)
	if os.Geteuid() == 0 {
		// Root's settings are the system's, unless this names others.
		h.env = append(h.env, "CONTAINERS_STORAGE_CONF="+dir+"/config/containers/storage.conf")
	}
	for _, sub := range []string{"config/containers", "data", "cache", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h.write("config/containers/storage.conf", storage)
	h.write("config/containers/containers.conf", containersConf)
	return h
}

// write writes a file below the home and returns its path.
func (h *home) write(name, content string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// context makes a build context that has only a Dockerfile.
func (h *home) context(name, dockerfile string) string {
	h.t.Helper()
	return filepath.Dir(h.write(filepath.Join(name, "Dockerfile"), dockerfile))
}

func (h *home) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = h.env, h.dir
	return cmd
}

// try runs a command and returns its two streams and how it ended.
func (h *home) try(name string, args ...string) (stdout, stderr string, err error) {
	cmd := h.command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// run is try for a command that must succeed; it returns its standard output.
func (h *home) run(name string, args ...string) string {
	h.t.Helper()
	stdout, stderr, err := h.try(name, args...)
	if err != nil {
		h.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// buildah builds a context with Debian's buildah and its OCI runtime.
func (h *home) buildah(context, name, format string) {
	h.t.Helper()
	h.run("buildah", "bud", "--isolation", "oci", "--network", "host", "--format", format, "-t", name, context)
}

// remove ends what podman leaves running and removes the home.
func (h *home) remove() {
	pid, err := os.ReadFile(filepath.Join(h.dir, "run/libpod/tmp/pause.pid"))
	if err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if os.Geteuid() != 0 {
		// Some files belong to subordinate ids.
		if _, stderr, err := h.try("buildah", "unshare", "rm", "-rf", h.dir+"/data", h.dir+"/run"); err != nil {
			h.t.Logf("removing the store: %v\n%s", err, stderr)
		}
	}
	for _, point := range slices.Backward(mountsBelow(h.t, "/proc/self/mountinfo", h.dir)) {
		_ = unix.Unmount(point, unix.MNT_DETACH)
	}
	if err := os.RemoveAll(h.dir); err != nil {
		h.t.Error(err)
	}
}

// mountsBelow lists the mount points below dir in a mountinfo file, in its order.
func mountsBelow(t *testing.T, mountinfo, dir string) []string {
	t.Helper()
	content, err := os.ReadFile(mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for line := range strings.Lines(string(content)) {
		// man 5 proc_pid_mountinfo: the fifth field is the mount point.
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	return points
}
