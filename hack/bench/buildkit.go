//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// addPeers makes the builders of a list ready, beside Debian's buildah.
func (b *bench) addPeers(list, dir string) error {
	for name := range strings.SplitSeq(list, ",") {
		switch name {
		case "":
		case "buildah-new":
			b.newer = filepath.Join(dir, "buildah")
		case "buildkit":
			b.kit = &buildkit{bench: b, programs: dir}
			if err := b.kit.start(); err != nil {
				return fmt.Errorf("starting buildkitd: %w", err)
			}
		default:
			return fmt.Errorf("-peers %s: want buildkit, buildah-new or both", name)
		}
	}
	return nil
}

// A buildkit is a daemon with a store of its own.
type buildkit struct {
	*bench
	programs string // the directory of buildkitd, buildctl and rootlesskit
	daemon   *exec.Cmd
	log      *os.File
	pid      int // of buildkitd, for its memory
}

func (k *buildkit) program(name string) string { return filepath.Join(k.programs, name) }

func (k *buildkit) address() string { return "unix://" + k.path("buildkit/socket") }

// start starts the daemon and waits until it answers. It is rootless as its manual has it, steps use
// this machine's network, and images of Docker Hub come from the benchmark's registry.
func (k *buildkit) start() error {
	if err := os.Mkdir(k.path("buildkit"), 0o700); err != nil {
		return err
	}
	registry := os.Getenv("OAKUM_TEST_REGISTRY")
	config := fmt.Sprintf(`root = %q
[grpc]
address = [%q]
[worker.containerd]
enabled = false
[worker.oci]
enabled = true
binary = "runc"
snapshotter = "overlayfs"
networkMode = "host"
gc = false
[registry."docker.io"]
mirrors = [%q]
[registry.%q]
http = true
`, k.path("buildkit/root"), k.address(), registry, registry)
	if err := os.WriteFile(k.path("buildkit/config.toml"), []byte(config), 0o600); err != nil {
		return err
	}
	args := []string{k.program("buildkitd"), "--config", k.path("buildkit/config.toml")}
	if os.Geteuid() != 0 {
		args = append(args, "--rootless")
		args = append([]string{k.program("rootlesskit"), "--state-dir", k.path("buildkit/rootlesskit"), "--net=host"}, args...)
	}
	var err error
	if k.log, err = os.Create(k.path("buildkit/log")); err != nil {
		return err
	}
	k.daemon = exec.CommandContext(k.ctx, args[0], args[1:]...)
	k.daemon.Stdout, k.daemon.Stderr = k.log, k.log
	// Those that it starts die with it likewise.
	k.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	k.daemon.Cancel = func() error { return k.daemon.Process.Signal(syscall.SIGTERM) }
	if err := k.daemon.Start(); err != nil {
		return err
	}
	return k.ready()
}

// ready waits for the daemon.
func (k *buildkit) ready() error {
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = k.command(k.program("buildctl"), "--addr", k.address(), "debug", "workers"); err == nil {
			k.pid, err = k.find()
			return err
		}
	}
	said, _ := os.ReadFile(k.log.Name())
	return fmt.Errorf("%w\n%s", err, said)
}

// find finds the daemon among all processes: rootlesskit is its parent's parent, in threads that come and go.
func (k *buildkit) find() (int, error) {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, name := range commands {
		command, err := os.ReadFile(name)
		words := strings.Split(string(command), "\x00")
		if err == nil && words[0] == k.program("buildkitd") && slices.Contains(words, k.path("buildkit/config.toml")) {
			return strconv.Atoi(filepath.Base(filepath.Dir(name)))
		}
	}
	return 0, errors.New("no process is buildkitd")
}

// stop ends the daemon.
func (k *buildkit) stop() error {
	if k.daemon == nil || k.daemon.Process == nil {
		return nil
	}
	err := k.daemon.Process.Signal(syscall.SIGTERM)
	_ = k.daemon.Wait() // it says that a signal ended it
	return errors.Join(err, k.log.Close())
}

// build is a build of a context. Its image stays in the daemon's store as oakum's does in its own:
// with layers that are not compressed.
func (k *buildkit) build(context string, flags ...string) func() error {
	return k.output(context, func() string { return "type=image,compression=uncompressed,name=localhost/" + context }, flags...)
}

// output is a build of a context with an output, which is asked for when it begins.
func (k *buildkit) output(context string, output func() string, flags ...string) func() error {
	return func() error {
		// What it has in memory now counts, and not what it once had (proc_pid_clear_refs(5)).
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", k.pid), []byte("5"), 0); err != nil {
			return err
		}
		args := []string{"--addr", k.address(), "build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context=" + k.path(context),
			"--local", "dockerfile=" + k.path(context), "--output", output()}
		if err := k.command(k.program("buildctl"), append(args, flags...)...); err != nil {
			said, _ := os.ReadFile(k.log.Name())
			return fmt.Errorf("%w\n%s", err, said)
		}
		most, err := peak(k.pid)
		k.memory = max(k.memory, most)
		return err
	}
}

// empty removes all that the daemon keeps, images too.
func (k *buildkit) empty() error {
	return k.command(k.program("buildctl"), "--addr", k.address(), "prune", "--all")
}

// peak is the most memory that a process has had, in KiB.
func peak(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		}
	}
	return 0, errors.New("/proc says nothing of its memory")
}

// peersBuild is a build of a context by the builders that -peers names. The flag is --no-cache, or none.
func (b *bench) peersBuild(context string, flags ...string) []contender {
	var all []contender
	if b.newer != "" {
		prepare := b.settle // what would be pruned is its cache
		if slices.Contains(flags, "--no-cache") {
			prepare = func() error { return b.pruneOf(b.newer, "buildah-new") }
		}
		all = append(all, contender{"newer buildah --layers", prepare,
			b.bud(b.newer, "buildah-new", context, append(flags, "--layers")...)})
	}
	if b.kit != nil {
		all = append(all, contender{"BuildKit", b.settle, b.kit.build(context, flags...)})
	}
	return all
}
