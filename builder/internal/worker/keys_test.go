//go:build linux

package worker

import (
	"testing"

	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/step"
	. "github.com/oakum-build/oakum/builder/internal/step/keytest"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/mount"
)

// What of each operation's parameters is in its key in the layer cache. A field that is not
// listed fails. The sources of a copy are held against their keys by the test of package input.
func TestKeys(t *testing.T) {
	t.Parallel()
	const isHere = "it names the stage on this machine; the layers below are in the key by their chain ID"
	Fields(t, protocol.Run{}, func(p protocol.Run) string { return step.Sum("", runKey(p)) }, map[string]string{
		"Args": InKey, "Env": InKey, "Files": InKey, "Isolation": InKey, "Dir": InKey, "User": InKey, "Terminal": InKey,
		"Stage":       isHere,
		"Lookup":      "it asks for the step that there is without it",
		"Ephemeral":   "such a command is no step",
		"Mounts":      InKey,
		"UncachedEnv": "it is there for what is not to count",
		"OnError":     "it is of what a failed command left, which is no step",
		"Arch":        "it follows from the image, whose programs are in the layers below",
	})
	inRun := func(o isolation.Options) string { return step.Sum("", runKey(protocol.Run{Isolation: o})) }
	Fields(t, isolation.Options{}, inRun, map[string]string{
		"Network": InKey, "Security": InKey, "Devices": InKey, "Groups": InKey,
		"Sandbox": "the sandboxes run a command alike",
		"Limits":  "they do not change what a command that succeeds has done",
	})
	Fields(t, isolation.Network{}, func(n isolation.Network) string { return inRun(isolation.Options{Network: n}) }, map[string]string{
		"Mode": InKey, "Hosts": InKey, "NoHosts": InKey, "Hostname": InKey,
		"DNS": "it is how names are found, which are the same for all who ask", "Search": "as DNS", "Options": "as DNS",
	})
	Fields(t, isolation.Security{}, func(s isolation.Security) string { return inRun(isolation.Options{Security: s}) }, map[string]string{
		"Insecure": InKey, "Add": InKey, "Drop": InKey, "Seccomp": InKey, "NoNewPrivileges": InKey, "Mask": InKey, "Unmask": InKey, "AppArmor": InKey, "Label": InKey,
	})
	ofMount := func(m input.Mount) string { return step.Sum("", runKey(protocol.Run{Mounts: []input.Mount{m}})) }
	Fields(t, mount.Secret{}, func(s mount.Secret) string { return ofMount(input.Mount{Secret: &s}) }, map[string]string{
		"ID": InKey, "Env": InKey, "Mode": InKey, "UID": InKey, "GID": InKey,
		"Read": "a secret's content is nowhere",
	})
	Fields(t, mount.SSH{}, func(s mount.SSH) string { return ofMount(input.Mount{SSH: &s}) }, map[string]string{
		"ID": InKey, "Mode": InKey, "UID": InKey, "GID": InKey,
		"Socket": "it is where the agent is on this machine", "Keys": "they are a secret's files on this machine",
	})
	Fields(t, protocol.Terminal{}, func(p protocol.Terminal) string { return step.Sum("", runKey(protocol.Run{Terminal: &p})) }, map[string]string{
		"Rows": InKey, "Columns": InKey,
	})
	Fields(t, protocol.Mkdir{}, func(p protocol.Mkdir) string { return step.Sum("", workdirKey(p, nil)) }, map[string]string{
		"Dir": InKey, "User": InKey, "Stage": isHere,
	})
	Fields(t, step.Times{}, func(p step.Times) string { return step.Sum("", workdirKey(protocol.Mkdir{}, &p)) }, map[string]string{
		"Limit": InKey, "All": InKey,
	})
	Fields(t, protocol.Copy{}, func(p protocol.Copy) string { return step.Sum("", copyKey(p, nil)) }, map[string]string{
		"Dest": InKey, "Dir": InKey, "Unpack": InKey, "Link": InKey, "Stage": isHere,
		"Sources": "they are in the key as the inputs that they lead to",
	})
	Fields(t, protocol.CheckCommand{}, func(p protocol.CheckCommand) string { return step.Sum("", commandKey(p)) }, map[string]string{
		"Args": InKey, "Env": InKey, "Dir": InKey, "Volumes": InKey, "Arch": InKey, "Stage": isHere,
	})
}
