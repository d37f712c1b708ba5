//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/network"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/machine"
)

// commandNetwork is what one command has of the network.
type commandNetwork struct {
	w      *worker
	asked  isolation.Network
	rights isolation.Security
	lease  *network.Lease // nil on the machine's own network, and before begin
	well   bool           // the command has succeeded
}

// kind is the kind of namespace that a command needs, if it needs one.
func kind(m isolation.Mode) (k network.Kind, needed bool) {
	return network.Kind(m != isolation.None), m != isolation.Host
}

// noNetworks is why a command that has no namespaces has no network of its own.
const noNetworks = "a command with a mere root directory of its own has the network of oakum"

// warmNetwork has made, beside what else is to be done, what a command will need.
func (w *worker) warmNetwork(m isolation.Mode) {
	if k, needed := kind(m); needed && w.level > isolation.Chroot {
		w.networks.Warm(k)
	}
}

// begin begins to make what the command needs.
func (n *commandNetwork) begin() {
	if k, needed := kind(n.asked.Mode); needed && n.w.level > isolation.Chroot {
		n.lease = n.w.networks.Take(k)
	}
}

// ready waits for it. A command that asked for no network in particular has the machine's where it can
// have no other, of which the call is told.
func (n *commandNetwork) ready(ctx context.Context, call *wire.Call) (sandbox.Network, error) {
	out := sandbox.Network{NoHosts: n.asked.NoHosts}
	if m := n.asked.Mode; n.w.level <= isolation.Chroot && m != isolation.DefaultNetwork && m != isolation.Host {
		missing, fix := machine.Lacks(n.w.ofCommands())
		return out, &errdefs.HostError{Missing: fmt.Sprintf("the network %q cannot be had: %s: %s", m, noNetworks, missing), Remedy: fix}
	}
	if n.lease != nil {
		var err error
		var host *errdefs.HostError
		out.Namespace, err = n.lease.File(ctx)
		if errors.As(err, &host) && n.asked.Mode == isolation.DefaultNetwork && !n.w.networks.HasWorked() {
			n.w.warnOnce(call, "commands have the machine's network, since they can have none of their own: "+host.Missing+"; "+host.Remedy)
			err = nil
		}
		if err != nil {
			return out, err
		}
	}
	own := out.Namespace != nil
	files := n.w.machine()
	hosts, err := files.HostsFile(n.asked, own)
	out.Hosts, out.Resolv = hosts, files.ResolvFile(n.asked, own)
	return out, err
}

// end gives back what the command had. With rights over it, or over what hides it, it may have changed
// what the next one would get; and where it failed, that may be the network's fault.
func (n *commandNetwork) end() {
	if n.lease != nil {
		n.lease.Release(n.well && !n.rights.Insecure && len(n.rights.Add) == 0 && len(n.rights.Unmask) == 0)
	}
}

// machine is what the caller's files say of the network.
func (w *worker) machine() network.Machine {
	return network.Machine{Hosts: w.hello.Hosts, Resolv: w.hello.Resolv}
}
