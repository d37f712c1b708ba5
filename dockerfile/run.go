package dockerfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/dockerfile/internal/runflags"
)

// RunOptions is what each RUN has. What an instruction says of itself, by --network, --security,
// --device and --mount, counts more or comes on top.
type RunOptions struct {
	// Isolation is how commands are kept apart from the machine. A host name in it goes before
	// that of the build argument BUILDKIT_SANDBOX_HOSTNAME.
	Isolation isolation.Options
	// Mounts are what each RUN sees beside its own mounts, in the words of RUN --mount:
	// "type=cache,target=/root/.cache".
	Mounts []string
	// Volumes are the same as the caller makes them. They come first.
	Volumes []builder.Mount
	// Allow is what the Dockerfile may ask for although it lets a command out of the sandbox:
	// "network.host" for RUN --network=host, "security.insecure" for RUN --security=insecure, and
	// "device", or "device=NAME" for one of them, for RUN --device. What Isolation gives to each
	// RUN needs no leave here, and an instruction may ask for it, too.
	Allow []string
}

// Agent is what signs for a RUN --mount=type=ssh and for git: an ssh agent, or keys.
type Agent struct {
	// Socket is that of an agent.
	Socket string
	// Keys are files of private keys without a passphrase, if there is no Socket.
	Keys []string
}

// Check gives an error, which matches ErrInvalid of package builder, of options that cannot be for
// any Dockerfile; a method Hint of it may say what to do. Build asks it, too.
func (o RunOptions) Check() error {
	if err := o.Isolation.Check(); err != nil {
		return err
	}
	for _, text := range o.Mounts {
		// Its variables are those of each RUN.
		_, err := runflags.Parse(text, "", func(word string) (string, bool, error) { return word, !strings.Contains(word, "$"), nil })
		if err != nil {
			return fmt.Errorf("%w: %w", builder.ErrInvalid, err)
		}
	}
	for _, entitlement := range o.Allow {
		name, _, isDevice := strings.Cut(entitlement, "=")
		if !slices.Contains(runflags.Entitlements, name) || isDevice && name != runflags.Device {
			return fmt.Errorf("entitlement %q: %w: there are %s and %s=NAME", entitlement, builder.ErrInvalid, strings.Join(runflags.Entitlements, ", "), runflags.Device)
		}
	}
	return nil
}

// allowed are the entitlements, with those that the options grant by giving the same to each RUN.
func (o RunOptions) allowed() []string {
	allowed := slices.Clone(o.Allow)
	if o.Isolation.Network.Mode == isolation.Host {
		allowed = append(allowed, runflags.HostNetwork)
	}
	if o.Isolation.Security.Insecure {
		allowed = append(allowed, runflags.Insecure)
	}
	for _, device := range o.Isolation.Devices {
		path, _, _ := strings.Cut(device, ":")
		allowed = append(allowed, runflags.Device+"="+path)
	}
	return allowed
}
