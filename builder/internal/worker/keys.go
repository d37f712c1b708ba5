//go:build linux

package worker

import (
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/isolation"
)

// What of an operation's parameters goes into its key, and why the rest does not, is in
// TestKeys.

func runKey(p protocol.Run) step.RunKey {
	k := step.RunKey{
		Args: p.Args, Env: p.Env, Files: p.Files, Hostname: p.Isolation.Network.Hostname, Dir: p.Dir, User: p.User,
		Rights: rightsKey(p.Isolation),
	}
	for _, m := range p.Mounts {
		k.Mounts = append(k.Mounts, mountKey(m))
	}
	if t := p.Terminal; t != nil {
		k.Terminal = &step.TerminalKey{Rows: int(t.Rows), Columns: int(t.Columns)}
	}
	return k
}

// mountKey leaves out what a Bind is of, which counts as the step's content, and a cache's.
func mountKey(m input.Mount) step.MountKey {
	k := step.MountKey{Kind: "bind", Target: m.Target, ReadOnly: m.ReadOnly}
	switch {
	case m.Cache != nil:
		k.Kind, k.ID, k.Path, k.Mode, k.UID, k.GID = "cache", m.Cache.ID, m.Cache.Path, int(m.Cache.Mode), m.Cache.UID, m.Cache.GID
	case m.Tmpfs != nil:
		k.Kind, k.Mode, k.Size = "tmpfs", int(m.Tmpfs.Mode), int(m.Tmpfs.Size)
	case m.Secret != nil:
		k.Kind, k.ID, k.Env, k.Mode, k.UID, k.GID = "secret", m.Secret.ID, m.Secret.Env, int(m.Secret.Mode), m.Secret.UID, m.Secret.GID
	case m.SSH != nil:
		k.Kind, k.ID, k.Mode, k.UID, k.GID = "ssh", m.SSH.ID, int(m.SSH.Mode), m.SSH.UID, m.SSH.GID
	}
	return k
}

func rightsKey(o isolation.Options) step.RightsKey {
	n, s := o.Network, o.Security
	return step.RightsKey{
		Network: string(n.Mode), Hosts: n.Hosts, NoHosts: n.NoHosts,
		Insecure: s.Insecure, Add: s.Add, Drop: s.Drop, Seccomp: s.Seccomp, NoNewPrivileges: s.NoNewPrivileges,
		Mask: s.Mask, Unmask: s.Unmask, AppArmor: s.AppArmor, Label: s.Label, Devices: o.Devices, Groups: o.Groups,
	}
}

func workdirKey(p protocol.Mkdir, times *step.Times) step.WorkdirKey {
	return step.WorkdirKey{Dir: p.Dir, User: p.User, Times: times}
}

func copyKey(p protocol.Copy, inputs input.Inputs) step.CopyKey {
	k := step.CopyKey{Dest: p.Dest, Dir: p.Dir, Unpack: p.Unpack, Link: p.Link}
	for _, in := range inputs {
		k.Sources = append(k.Sources, in.Key())
	}
	return k
}

func commandKey(p protocol.CheckCommand) step.CommandKey {
	return step.CommandKey{Args: p.Args, Env: p.Env, Dir: p.Dir, Volumes: p.Volumes, Arch: p.Arch}
}
