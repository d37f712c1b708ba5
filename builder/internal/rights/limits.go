//go:build linux

package rights

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/limits"
)

// Limit is a resource limit of a process (prlimit(2)). It is to be set from where the caller has its
// own capabilities: in another user namespace no hard limit can be raised.
type Limit struct {
	Resource   int
	Soft, Hard uint64 // unix.RLIM_INFINITY is none
}

// limits are resource limits that the caller can set.
func (u UserNamespace) limits(list []isolation.Ulimit) ([]Limit, error) {
	var out []Limit
	for _, l := range list {
		limit := Limit{Resource: l.Number(), Soft: uint64(l.Soft), Hard: uint64(l.Hard)}
		if limit.Resource < 0 {
			return nil, fmt.Errorf("%w: there is no resource limit %q", limits.ErrInvalid, l.Name)
		}
		most, err := u.highest(limit.Resource)
		if err != nil {
			return nil, err
		}
		if limit.Hard > most {
			return nil, &sandbox.HostError{
				Missing: fmt.Sprintf("a command's hard limit %s is to be %s, and oakum can give at most its own, %d", l.Name, text(limit.Hard), most),
				Remedy:  fmt.Sprintf("ask for at most %d, or raise oakum's own limit", most),
			}
		}
		out = append(out, limit)
	}
	return out, nil
}

func text(limit uint64) string {
	if limit == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(limit, 10)
}

// highest is the largest hard limit that the caller can give. Only who has CAP_SYS_RESOURCE over the
// machine may raise one, and open files have a limit of the kernel's as well.
func (u UserNamespace) highest(resource int) (uint64, error) {
	var own unix.Rlimit
	if err := unix.Getrlimit(resource, &own); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	caps, err := ownCapabilities()
	if err != nil {
		return 0, err
	}
	if !u.SameRoot || !slices.Contains(caps, "CAP_SYS_RESOURCE") {
		return own.Max, nil
	}
	if resource == unix.RLIMIT_NOFILE {
		data, err := os.ReadFile("/proc/sys/fs/nr_open")
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	}
	return unix.RLIM_INFINITY, nil
}
