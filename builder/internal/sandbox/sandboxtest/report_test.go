//go:build linux

package sandboxtest

import (
	"slices"
	"testing"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	one := Report{"mount /proc": "rw", "mount /dev/null": "ro", "call mount": "EPERM", "status Seccomp": "2"}
	other := Report{"mount /proc": "ro", "mount /dev/null": "rw", "call mount": "ENOSYS", "status CapEff": "0"}
	meant := []Difference{{"mount /dev*", "devices are made"}, {"call mount", "another filter"}, {"status Cap*", "none"}, {"status Uid", "an own map"}}
	want := []string{`mount /proc: "rw", "ro"`, `status Seccomp: "2", nothing`, "status Uid: no difference, where one is meant: an own map"}
	if got := Compare(one, other, meant); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Compare(one, one, nil); got != nil {
		t.Errorf("a report differs from itself: %q", got)
	}
}

// What differs by chance is not in a report, and everything else is.
func TestReport(t *testing.T) {
	t.Parallel()
	r := Report{}
	r.add(t, "mount 000\t612 611 0:52 /state/files/run1/hosts /etc/hosts rw,nosuid - tmpfs tmpfs rw,size=1k\n"+
		"mount 001\t613 611 0:52 / /etc/hosts ro shared:7 - proc proc rw\nmount 002\tshort\n"+
		"status 000\tCapEff: 00ff\nstatus 001\tName: probe\nlimit 000\tLimit                     Soft Limit           Hard Limit           Units\n"+
		"limit 001\tMax open files            1024                 4096                 files\nself pid\t1\nnamespace none\tnone:[1]\n")
	want := Report{"mount /etc/hosts": "rw,nosuid private tmpfs rw,size=1k", "mount /etc/hosts #2": "ro shared proc rw", "mount ?": "short",
		"status CapEff": "00ff", "limit Max open files": "1024 4096 files", "self pid": "1", "namespace none": "its own"}
	for _, line := range Compare(r, want, nil) {
		t.Error(line)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	p := dockerPolicy(t, dockerCapabilities)
	for call, want := range map[string]string{
		"read": "", "mount": "EPERM", "clone3": "ENOSYS", "clone,17,0": "", "clone,0x10000011,0": "EPERM", "chroot": "", "personality,8": "", "personality,3": "EPERM",
		"socket,2,1": "", "socket,40,1": "EPERM", "socket,38,5": "EPERM", "no_such_call": "EPERM",
	} {
		if got := p.refuses(call); got != want {
			t.Errorf("%s: got %q, want %q", call, got, want)
		}
	}
	if got := dockerPolicy(t, nil).refuses("chroot"); got != "EPERM" {
		t.Errorf("chroot without its capability: %q", got)
	}
}
