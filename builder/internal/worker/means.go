//go:build linux

package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/cgroup"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/network"
	"github.com/oakum-build/oakum/builder/internal/probe"
	"github.com/oakum-build/oakum/builder/internal/sandbox/notify"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/machine"
	"github.com/oakum-build/oakum/storage"
)

// means finds what commands can have, in the way in which they get it: what is said here is what
// they will find.
func (w *worker) means(ctx context.Context) (m isolation.Means, err error) {
	m.Sandboxes = append([]isolation.Sandbox{isolation.Thread}, slices.Sorted(maps.Keys(brought))...)
	m.Emulators = w.emulators.Available()
	if w.level <= isolation.Chroot {
		m.NotPrivate = noNetworks
	} else if m.NotPrivate, err = w.privateNetwork(ctx); err != nil {
		return m, err
	}
	m.Network, m.Through = isolation.Host, w.networks.Program()
	if m.NotPrivate == "" {
		m.Network = isolation.Private
	}
	m.Controllers, err = cgroup.Delegated()
	if m.NotLimited, err = missing(err); err != nil {
		return m, err
	}
	m.Worker, m.Level = w.kind.Words(), w.level
	m.Probes = w.probes(m)
	return m, nil
}

// probes are all that was tried: for the worker, and now.
func (w *worker) probes(m isolation.Means) []machine.Probe {
	all := w.namespaceProbes()
	if w.kind != userns.Plain {
		all = append(all, probe.Sys())
	}
	all = append(all, probe.Chroot(), w.deviceProbe(), notifyProbe(), machine.Probe{Name: "cgroup", OK: m.NotLimited == "", Found: strings.Join(m.Controllers, ", ")})
	if m.NotLimited != "" {
		all[len(all)-1].Found = m.NotLimited
	}
	network := machine.Probe{Name: "network", OK: m.NotPrivate == "", Found: m.Through}
	if m.NotPrivate != "" {
		network.Found = m.NotPrivate
	}
	return append(all, network, probe.Filter(), probe.NewPrivileges(), probe.Confinement())
}

// deviceProbe tries to make devices where root file systems are.
func (w *worker) deviceProbe() machine.Probe {
	dir, remove, err := w.store.ScratchDir("probe-")
	if err != nil {
		return machine.Probe{Name: "mknod", Found: err.Error()}
	}
	defer func() { _ = remove() }()
	return probe.Devices(dir)
}

// namespaceProbes are those that were made by starting this worker and opening the store.
func (w *worker) namespaceProbes() []machine.Probe {
	all := []machine.Probe{
		{Name: string(userns.Namespaces), Found: "user, mount and PID namespaces"}, {Name: string(userns.IDs), Found: "all that this user may use"},
		{Name: string(userns.Mounts), Found: "allowed"}, {Name: string(userns.Proc), Found: "a fresh one for a PID namespace"}, {Name: overlayProbe, Found: "can be mounted where the store is"},
	}
	for i := range all {
		p := &all[i]
		at := slices.IndexFunc(w.lacks, func(lack machine.Probe) bool { return lack.Name == p.Name })
		switch {
		case at >= 0:
			*p = w.lacks[at]
		case p.Name == overlayProbe && w.store.Driver() != storage.DriverOverlay, p.Name != overlayProbe && w.kind == userns.Plain:
			p.Found = "not tried, since something that it needs is missing, or was not asked for"
		default:
			p.OK = true
		}
	}
	return all
}

// notifyProbe tries whether commands that have no /proc can be answered as if they had.
func notifyProbe() machine.Probe {
	if err := notify.Trial(); err != nil {
		return machine.Probe{Name: "notify", Found: "answering for a /proc that commands with a mere chroot do not have: " + err.Error(),
			Fix: "use Linux 5.14, and a container's system-call filter that allows seccomp(2)"}
	}
	return machine.Probe{Name: "notify", OK: true, Found: "commands with a mere chroot are answered as if they had a /proc"}
}

// privateNetwork says why commands can have no network of their own, or "".
func (w *worker) privateNetwork(ctx context.Context) (string, error) {
	lease := w.networks.Take(network.Connected)
	_, err := lease.File(ctx)
	lease.Release(err == nil)
	return missing(err)
}

// missing says what the machine lacks, if that is what an error tells of.
func missing(err error) (string, error) {
	var host *errdefs.HostError
	if errors.As(err, &host) {
		return host.Missing + "; " + host.Remedy, nil
	}
	return "", err
}
