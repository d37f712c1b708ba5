//go:build linux

package worker

import (
	"os"

	"github.com/oakum-build/oakum/builder/internal/cgroup"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
)

// user finds a command's user in a stage, with the groups that it is to have besides.
func user(root *os.File, spec string, groups []string) (passwd.User, error) {
	u, err := passwd.LookupUser(root, spec)
	if err == nil && len(groups) > 0 {
		err = u.AddGroups(root, groups)
	}
	if err == nil {
		err = passwd.CheckMapped("user "+spec, u)
	}
	return u, err
}

// devices are those of the machine that a command is to see.
func devices(o isolation.Options) ([]sandbox.Device, error) {
	var list []sandbox.Device
	for _, text := range o.Devices {
		d, err := isolation.ParseDevice(text)
		if err != nil {
			return nil, err
		}
		list = append(list, sandbox.Device{Path: d.Path, Target: d.Target})
	}
	return list, nil
}

// makeGroup makes the control group of a command that needs one, else nil.
func makeGroup(l isolation.Limits) (*cgroup.Group, error) {
	if !cgroup.Needed(l) {
		return nil, nil
	}
	cgroup.StepAside(l)
	return cgroup.Make(l)
}
