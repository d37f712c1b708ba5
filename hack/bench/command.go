//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oakum-build/oakum/builder"
)

// commands is how often a command is run in one turn.
const commands = 50

// trueCommand compares what a RUN costs beside what it runs: true in a stage, which throws
// its changes away, and in a bundle that lies ready for runc and crun.
func (b *bench) trueCommand() benchCase {
	c := benchCase{name: "command", what: fmt.Sprintf("%d times true in a busybox, with Docker's filter and capabilities", commands)}
	c.contenders = append(c.contenders, contender{"oakum, Stage.Run", b.openStage, b.runTrue})
	for _, runtime := range []string{"crun", "runc"} {
		c.contenders = append(c.contenders, contender{runtime + " run", b.writeBundle, func() error { return b.runBundle(runtime) }})
	}
	return c
}

// openStage opens a Builder once, with the stage that commands run in.
func (b *bench) openStage() error {
	if b.stage != nil {
		return nil
	}
	builder, stage, err := openBusybox(b, "library")
	if err != nil {
		return err
	}
	b.builder, b.stage = builder, stage
	return nil
}

func openBusybox(b *bench, store string) (*builder.Builder, *builder.Stage, error) {
	own, err := builder.Open(b.ctx, builder.Options{Root: b.path(store + "/root"), RunRoot: b.run(store), Driver: "overlay"})
	if err != nil {
		return nil, nil, err
	}
	stage, err := own.Stage(b.ctx, "busybox", builder.StageOptions{})
	return own, stage, err
}

func (b *bench) runTrue() error {
	for range commands {
		if _, err := b.stage.Run(b.ctx, builder.Cmd{Args: []string{"true"}, Ephemeral: true}); err != nil {
			return err
		}
	}
	return nil
}

// writeBundle writes a bundle that gives its command what a RUN has: no network
// namespace, and the kernel's own files of a container.
func (b *bench) writeBundle() error {
	bin := b.path("bundle/rootfs/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	program, err := os.ReadFile("/bin/busybox")
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "true"), program, 0o755)
	}
	if err != nil {
		return err
	}
	caps := strings.Fields("CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT")
	spec := &specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: "rootfs"}, Hostname: "bench",
		Process: &specs.Process{
			Args: []string{"/bin/true"}, Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Linux: &specs.Linux{
			Namespaces:  []specs.LinuxNamespace{{Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}},
			MaskedPaths: []string{"/proc/kcore", "/proc/keys", "/sys/firmware"}, ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"},
		},
	}
	for _, m := range [][]string{
		{"/proc", "proc", "proc", "nosuid,noexec,nodev"}, {"/dev", "tmpfs", "tmpfs", "nosuid,mode=755"},
		{"/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"}, {"/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777"},
		{"/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"}, {"/sys", "bind", "/sys", "rbind,nosuid,noexec,nodev,ro"},
	} {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: m[0], Type: m[1], Source: m[2], Options: strings.Split(m[3], ",")})
	}
	if spec.Linux.Seccomp, err = seccomp.GetDefaultProfile(spec); err != nil {
		return err
	}
	config, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(b.path("bundle/config.json"), config, 0o644)
}

// runBundle runs the bundle in a user namespace that is made once. crun wants all control groups
// to be of the second version; the bundle has none, so it is shown some.
func (b *bench) runBundle(runtime string) error {
	script := fmt.Sprintf("mount -t cgroup2 none /sys/fs/cgroup && cd %s && for i in $(seq %d); do %s --root %s run bench-$i || exit 1; done",
		b.path("bundle"), commands, runtime, b.path("bundle/state"))
	if runtime == "crun" {
		script = strings.Replace(script, "crun ", "crun --cgroup-manager=disabled ", 1)
	}
	args := []string{"--mount", "--cgroup", "sh", "-c", script}
	if os.Geteuid() != 0 {
		args = append([]string{"--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0"}, args...)
	}
	return b.command("unshare", args...)
}
