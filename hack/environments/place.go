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
)

const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A place is an environment that stands: commands can be run in it, one after the other.
type place struct {
	environment
	world *world
	// proc is the directory in /proc of its first process, which all others of it descend from.
	proc string
	// id is the container's, "" for a process.
	id string
	// nest is the container around the container, for a nested environment.
	nest string
	// scratch is the volume, as the machine sees it.
	scratch string
	init    *exec.Cmd
}

// start makes an environment's place. flags are more flags of podman run.
func (w *world) start(e environment, flags ...string) (*place, error) {
	p := &place{environment: e, world: w}
	var err error
	if p.scratch, err = os.MkdirTemp(w.dir, "scratch-"); err != nil {
		return nil, err
	}
	for _, dir := range []string{p.scratch, p.scratch + "/tmp"} {
		// Whoever it is, in whichever user namespace.
		if err := errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
			return nil, err
		}
	}
	if e.setpriv != nil {
		err = p.startProcess()
	} else {
		err = p.startContainer(flags)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("environment %s: %w", e.name, err), p.stop())
	}
	return p, nil
}

// startContainer starts a container that does nothing.
func (p *place) startContainer(flags []string) error {
	w := p.world
	var err error
	if p.nested {
		if err := w.makeStore(true); err != nil {
			return err
		}
		err = p.startNest(flags)
	} else {
		err = w.makeImage(p.rootless)
	}
	if err != nil {
		return err
	}
	args := []string{"run", "--detach", "--init=false"}
	switch {
	case p.nested: // its network is that of the container around it
	case p.hostNetwork:
		args = append(args, "--network", "host", "--volume", w.dir+"/registries.conf:/etc/containers/registries.conf:ro")
	default:
		args = append(args, "--network", "slirp4netns:allow_host_loopback=true")
	}
	for _, flag := range append(p.environment.podman, flags...) {
		if source, inside, ok := strings.Cut(flag, ":"); ok && p.nested && strings.HasPrefix(source, "/") {
			target, _, _ := strings.Cut(inside, ":")
			flag = target + ":" + inside
		}
		flag = strings.Replace(flag, dockerProfile, "seccomp="+w.dir+"/docker.json", 1)
		args = append(args, strings.Replace(flag, "SCRATCH", p.scratch, 1))
	}
	if p.id, err = output(p.podman(w.ctx, append(args, imageName, "sleep", "1000000")...)); err != nil {
		return err
	}
	pid, err := output(p.podman(w.ctx, "inspect", "--format", "{{.State.Pid}}", p.id))
	if err == nil && p.nested {
		var around string
		around, err = output(w.podman(w.ctx, true, "inspect", "--format", "{{.State.Pid}}", p.nest))
		pid = around + "/root/proc/" + pid
	}
	p.proc = "/proc/" + pid
	return err
}

// startProcess starts a process in a PID namespace that ends with it.
func (p *place) startProcess() error {
	var stderr bytes.Buffer
	p.init = exec.CommandContext(p.world.ctx, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "1000000")
	p.init.Stderr = &stderr
	if err := p.init.Start(); err != nil {
		return err
	}
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", p.init.Process.Pid)
	for range 1000 {
		child, err := os.ReadFile(children)
		if err != nil {
			return fmt.Errorf("unshare: %w\n%s", err, stderr.String())
		}
		if pid := strings.TrimSpace(string(child)); pid != "" {
			p.proc = "/proc/" + pid
			// Before, its /proc may not be mounted yet.
			if name, _ := os.ReadFile(p.proc + "/comm"); string(name) == "sleep\n" {
				return nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("unshare started nothing")
}

// command is a command that would run in the place.
func (p *place) command(ctx context.Context, args ...string) *exec.Cmd {
	w := p.world
	if p.environment.setpriv == nil {
		exec := []string{"exec", "--interactive"}
		for _, value := range p.env {
			exec = append(exec, "--env", value)
		}
		return p.podman(ctx, append(append(exec, p.id), args...)...)
	}
	all := []string{"--target", filepath.Base(p.proc), "--pid", "--mount", "setpriv", "--inh-caps=-all"}
	for _, flag := range p.environment.setpriv {
		all = append(all, strings.Replace(flag, "USER", w.user.Uid, 1))
	}
	all = append(all, "env", "-i", "-C", w.checkout, "PATH="+filepath.Join(w.checkout, "bin")+":"+usualPath, "HOME="+p.scratch, "TMPDIR="+p.scratch+"/tmp",
		"CONTAINERS_REGISTRIES_CONF="+w.dir+"/registries.conf")
	for _, value := range p.env {
		all = append(all, strings.Replace(value, withoutNewuidmap, w.dir+"/bin", 1))
	}
	return exec.CommandContext(ctx, "nsenter", append(all, args...)...)
}

// stop ends the place with all that runs in it.
func (p *place) stop() error {
	var err error
	ctx := context.WithoutCancel(p.world.ctx)
	if p.init != nil {
		_ = p.init.Process.Kill()
		_ = p.init.Wait()
	}
	if p.id != "" {
		err = remove(func() *exec.Cmd { return p.podman(ctx, "rm", "--force", "--ignore", "--time", "0", p.id) })
	}
	if p.nest != "" {
		err = errors.Join(err, remove(func() *exec.Cmd { return p.world.podman(ctx, true, "rm", "--force", "--ignore", "--time", "0", p.nest) }))
	}
	return errors.Join(err, os.RemoveAll(p.scratch))
}

// remove runs a command that removes containers. podman may find that what it started for a command in the
// background still uses one.
func remove(command func() *exec.Cmd) error {
	err := run(command())
	for range 4 {
		if err == nil {
			break
		}
		time.Sleep(200 * time.Millisecond)
		err = run(command())
	}
	return err
}
