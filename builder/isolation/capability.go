package isolation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/limits"
)

// capabilities are the names of Linux's capabilities (capabilities(7)), in the order of their numbers (linux/capability.h).
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
	NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE
	SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
	CHECKPOINT_RESTORE`)

// docker are those that a container has by default.
var docker = strings.Fields(`AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT`)

// AllCapabilities are the names of all capabilities, such as CAP_CHOWN. The place of each is its number.
func AllCapabilities() []string { return prefixed(capabilities) }

// DockerCapabilities are the names of those that a container of Docker's has by default.
func DockerCapabilities() []string { return prefixed(docker) }

func prefixed(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = "CAP_" + name
	}
	return out
}

// parseCapability gives the name of a capability that was written with or without CAP_, in any
// case, or "ALL" for all of them.
func parseCapability(text string) (string, error) {
	name := strings.TrimPrefix(strings.ToUpper(text), "CAP_")
	switch {
	case strings.EqualFold(text, "ALL"):
		return "ALL", nil
	case !slices.Contains(capabilities, name):
		return "", fmt.Errorf("%w: there is no capability %q", limits.ErrInvalid, text)
	}
	return "CAP_" + name, nil
}

// Capabilities are those of held that are usual, with those that Add names and without those that
// Drop names. ALL in Add stands for all of held. ALL in Drop takes away what is usual, and what Add
// names is left; one that both name is dropped. What Add names beside ALL and held has not is in
// lacking. A name that is none matches builder.ErrInvalid.
func (s Security) Capabilities(usual, held []string) (set, lacking []string, err error) {
	parse := func(list []string) (names []string, all bool, err error) {
		for _, text := range list {
			name, err := parseCapability(text)
			if err != nil {
				return nil, false, err
			}
			if all = all || name == "ALL"; name != "ALL" {
				names = append(names, name)
			}
		}
		return names, all, nil
	}
	added, addAll, err := parse(s.Add)
	if err != nil {
		return nil, nil, err
	}
	dropped, dropAll, err := parse(s.Drop)
	switch {
	case err != nil:
		return nil, nil, err
	case addAll && dropAll:
		return nil, nil, fmt.Errorf("%w: all capabilities are both added and dropped", limits.ErrInvalid)
	case addAll:
		usual = held
	case dropAll:
		usual = nil
	}
	for _, name := range AllCapabilities() {
		switch {
		case slices.Contains(dropped, name):
		case slices.Contains(held, name) && (slices.Contains(usual, name) || slices.Contains(added, name)):
			set = append(set, name)
		case slices.Contains(added, name):
			lacking = append(lacking, name)
		}
	}
	return set, lacking, nil
}
