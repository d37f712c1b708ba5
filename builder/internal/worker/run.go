//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/workspace"
)

// defaultPath is what Docker gives a command whose environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// defaultTerm is what Docker gives one with a terminal whose environment has no TERM.
const defaultTerm = "xterm"

func (w *worker) run(ctx context.Context, call *wire.Call, p protocol.Run) (out protocol.Stepped, err error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return out, err
	}
	if len(p.Args) == 0 || (len(call.Files) < p.StdioFiles() && !p.Lookup) {
		return out, fmt.Errorf("%w: a command needs arguments and %d files", errdefs.ErrInvalid, p.StdioFiles())
	}
	opts := s.Options()
	if opts.Lookup && opts.NoCache {
		return out, errdefs.ErrUncached // nothing need be fetched for that
	}
	m, err := w.findMounts(ctx, call, p.Mounts, opts)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	devices, err := devices(p.Isolation)
	if err != nil {
		return out, err
	}
	n := &commandNetwork{w: w, asked: p.Isolation.Network, rights: p.Isolation.Security}
	defer n.end()
	op := step.Operation{
		Key: runKey(p), Note: noting(call), Reach: w.reach(call), Content: m.content(), Change: workspace.Change{Kept: kept}, Inputs: m.binds, Explained: explaining(call, s),
		Prepare: func(ctx context.Context, c *workspace.Change) error {
			n.begin()
			err := m.show(ctx, p.Files)
			places := sandbox.Command{Mounts: m.places(), Devices: devices, Network: sandbox.Network{NoHosts: n.asked.NoHosts}}
			box := w.sandboxes.get(p.Isolation.Sandbox)
			c.Mounts, c.Fill = box.MountPoints(places), box.Fills()
			return err
		},
		Do: func(ctx context.Context, ws workspace.Workspace) (string, error) {
			if err := w.command(ctx, call, p, ws, m, n); err != nil {
				return "", err
			}
			return m.read(ctx)
		},
	}
	switch {
	case p.Lookup:
		found, ok, err := s.Find(ctx, op)
		if !ok && err == nil && !opts.Lookup && !w.looking {
			w.warmNetwork(p.Isolation.Network.Mode) // the command is run next
		}
		return protocol.Stepped{Cached: ok, Missed: !ok, Changed: found.Changed}, err
	case p.Ephemeral:
		return out, w.ephemeral(ctx, s, op)
	}
	return stepped(w.do(ctx, s, op))
}

func (w *worker) ephemeral(ctx context.Context, s *step.Stage, op step.Operation) error {
	below, err := s.Claimed(ctx, op.Reach)
	if err != nil {
		return err
	}
	if err := op.Prepare(ctx, &op.Change); err != nil {
		return err
	}
	op.Change.Discard = true
	_, err = w.spaces.Make(ctx, below, op.Change, func(ws workspace.Workspace) error {
		_, err := op.Do(ctx, ws)
		return err
	})
	return err
}

// kept are the directories for the kernel's file systems. They stay when no layer has them, for a
// runtime that is not given them by others makes them in the image: what BuildKit and Buildah
// build has them after the first RUN.
var kept = []string{"/dev", "/proc", "/sys"}

// command runs a command in a workspace.
func (w *worker) command(ctx context.Context, call *wire.Call, p protocol.Run, ws workspace.Workspace, m *mounts, n *commandNetwork) (err error) {
	w.tellLevel(call)
	command, err := w.sandboxed(call, p, ws, m)
	if err == nil {
		command.Network, err = n.ready(ctx, call)
	}
	if err != nil {
		return err
	}
	// Without an emulator, a program that was put into the image for this machine can be run.
	users, emulator := w.emulators.Need(p.Arch)
	command.Users = users
	group, err := makeGroup(p.Isolation.Limits)
	if err != nil {
		return err
	}
	if group != nil {
		defer func() { err = errors.Join(err, group.Close()) }()
		command.Cgroup = group.Procs
	}
	run := func(ctx context.Context, c sandbox.Command) error {
		code, err := w.sandboxes.get(p.Isolation.Sandbox).Run(ctx, c)
		return ended(code, err, emulator)
	}
	err = run(ctx, command)
	n.well = err == nil
	if group != nil && group.Killed() > 0 {
		call.Event(protocol.Event{Warning: fmt.Sprintf("a process was killed because the command's memory, %d bytes, was used up", p.Isolation.Limits.Memory)})
	}
	var exit *errdefs.ExitError
	if p.OnError && errors.As(err, &exit) {
		return w.failed(ctx, call, p, &held{ws: ws, command: command, run: run, groups: p.Isolation.Groups}, exit)
	}
	return err
}

// sandboxed is what the sandbox is to run in a workspace, but for the network.
func (w *worker) sandboxed(call *wire.Call, p protocol.Run, ws workspace.Workspace, m *mounts) (sandbox.Command, error) {
	u, err := user(ws.Root(), p.User, p.Isolation.Groups)
	if err != nil {
		return sandbox.Command{}, err
	}
	devices, err := devices(p.Isolation)
	if err != nil {
		return sandbox.Command{}, err
	}
	c := sandbox.Command{
		Process:  sandbox.Process{Args: p.Args, Env: environment(p, u, m.variables()...), Dir: p.Dir, User: u},
		Root:     sandbox.Root{Path: ws.Path(), I386: p.Arch == "386"},
		Mounts:   m.places(),
		Hostname: p.Isolation.Network.Hostname,
		Security: p.Isolation.Security, Limits: p.Isolation.Limits, Devices: devices,
	}
	c.Stdio, err = stdio(call, p.Terminal)
	return c, err
}

// stdio are the standard files that came with a call.
func stdio(call *wire.Call, t *protocol.Terminal) (sandbox.Stdio, error) {
	switch n := len(call.Files); {
	case t != nil && n >= 1:
		return sandbox.Stdio{Terminal: &sandbox.Terminal{Socket: call.Files[0], Rows: t.Rows, Columns: t.Columns}}, nil
	case t == nil && n >= 3:
		return sandbox.Stdio{In: call.Files[0], Out: call.Files[1], Err: call.Files[2]}, nil
	}
	return sandbox.Stdio{}, fmt.Errorf("%w: a command needs three files, or one with a terminal", errdefs.ErrInvalid)
}

// ended is the error of a command that has ended, or could not be started, which has an exit status
// too, and that of every command what kept its image's programs from being emulated.
func ended(code int, err, emulator error) error {
	var start *sandbox.StartError
	switch {
	case errors.As(err, &start):
		err = &errdefs.ExitError{Code: start.Code, Reason: start.Error()}
	case err == nil && code != 0:
		err = &errdefs.ExitError{Code: code}
	}
	var exit *errdefs.ExitError
	if emulator != nil && errors.As(err, &exit) {
		exit.Emulator = emulator.Error()
		var host *errdefs.HostError
		if errors.As(emulator, &host) {
			exit.Emulator += "; to mend it: " + host.Remedy
		}
	}
	return err
}

// environment is that of the command, with what its mounts add: PATH and HOME have defaults.
func environment(p protocol.Run, u passwd.User, added ...string) []string {
	env := overridden(p.Env, p.UncachedEnv, added)
	env = withDefault(env, "PATH", defaultPath)
	env = withDefault(env, "HOME", u.Home)
	if p.Terminal != nil {
		env = withDefault(env, "TERM", defaultTerm)
	}
	return env
}

// overridden joins lists of variables, of which later ones win. What has no name or no value is
// left out: never the worker's own value (GHSA-4hq8-gpf5-8p68).
func overridden(lists ...[]string) []string {
	var env []string
	at := map[string]int{}
	for _, kv := range slices.Concat(lists...) {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			continue
		}
		if i, seen := at[name]; seen {
			env[i] = kv
			continue
		}
		at[name] = len(env)
		env = append(env, kv)
	}
	return env
}

// withDefault is an environment in which a variable has a value.
func withDefault(env []string, name, value string) []string {
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
		return env
	}
	return append(env, name+"="+value)
}
