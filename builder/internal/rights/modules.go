//go:build linux

package rights

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
)

// modules are the AppArmor profile and the SELinux label of a command, which must be those of
// this machine's security modules.
func modules(s isolation.Security) (profile, label string, err error) {
	if s.AppArmor != "" && s.AppArmor != isolation.Unconfined {
		enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
		if !bytes.HasPrefix(enabled, []byte("Y")) {
			return "", "", lacks("AppArmor profile", s.AppArmor)
		}
		profile = s.AppArmor
	}
	var options []string
	for _, option := range s.Label {
		if option != "disable" {
			options = append(options, option)
		}
	}
	if len(options) == 0 {
		return profile, "", nil
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
		return "", "", lacks("SELinux label", strings.Join(options, ","))
	}
	own, err := os.ReadFile("/proc/self/attr/current")
	if err != nil {
		return "", "", err
	}
	label, err = labelled(string(bytes.TrimRight(own, "\x00\n")), options)
	return profile, label, err
}

// labelled is a label, USER:ROLE:TYPE:LEVEL, of which options say other parts.
func labelled(own string, options []string) (string, error) {
	parts := strings.SplitN(own, ":", 4)
	if len(parts) != 4 {
		return "", &sandbox.HostError{Missing: fmt.Sprintf("oakum's own SELinux label, %q, has not four parts", own), Remedy: "leave the label out"}
	}
	for _, option := range options {
		name, value, _ := strings.Cut(option, ":")
		for i, part := range []string{"user", "role", "type", "level"} {
			if name == part {
				parts[i] = value
			}
		}
	}
	return strings.Join(parts, ":"), nil
}
