package runflags

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// The entitlements: what an instruction may ask for only by the caller's leave, as in BuildKit.
const (
	HostNetwork = "network.host"
	Insecure    = "security.insecure"
	Device      = "device"
)

// Entitlements are all of them.
var Entitlements = []string{HostNetwork, Insecure, Device}

// notAllowed is an instruction that wants an entitlement which the caller has not given.
type notAllowed struct{ flag, entitlement string }

func (e notAllowed) Error() string {
	return fmt.Sprintf("RUN %s lets the command out of its sandbox, and is not allowed", e.flag)
}

// Hint says how to allow it.
func (e notAllowed) Hint() string {
	return fmt.Sprintf("if you trust the Dockerfile with it: --allow %s", e.entitlement)
}

// unknownDevice matches errors.ErrUnsupported.
type unknownDevice struct{ name string }

func (e unknownDevice) Error() string {
	return fmt.Sprintf("RUN --device=%s: a device by its name in the Container Device Interface is not supported yet", e.name)
}

func (unknownDevice) Is(target error) bool { return target == errors.ErrUnsupported }

// Hint says what there is instead.
func (unknownDevice) Hint() string {
	return "name it by its path: RUN --device=/dev/fuse"
}

// Allowed checks that what a RUN asks for of the machine is among the entitlements given. The error
// says what to do, by a method Hint.
func Allowed(c *instructions.RunCommand, given []string) error {
	if instructions.GetNetwork(c) == instructions.NetworkHost && !slices.Contains(given, HostNetwork) {
		return notAllowed{"--network=host", HostNetwork}
	}
	if instructions.GetSecurity(c) == instructions.SecurityInsecure && !slices.Contains(given, Insecure) {
		return notAllowed{"--security=insecure", Insecure}
	}
	for _, d := range instructions.GetDevices(c) {
		if err := allowedDevice(d, given); err != nil {
			return err
		}
	}
	return nil
}

func allowedDevice(d *instructions.Device, given []string) error {
	one := Device + "=" + d.Name
	switch {
	case d.Name == "":
		return errors.New("RUN --device names no device")
	case !path.IsAbs(d.Name) && d.Required:
		return unknownDevice{d.Name}
	case !path.IsAbs(d.Name), slices.Contains(given, Device), slices.Contains(given, one):
		return nil
	}
	return notAllowed{"--device=" + d.Name, one}
}
