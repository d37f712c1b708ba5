package isolation

import (
	"errors"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/limits"
)

// What is not known is never taken for something weaker (CVE-2024-23653, GHSA-7236-3392-c5c6).
func TestCheck(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"nothing": {}, "oci": {Sandbox: OCI}, "thread": {Sandbox: Thread}, "private": {Network: Network{Mode: Private}}, "none": {Network: Network{Mode: None}},
		"security": {Security: Security{
			Insecure: true, Add: []string{"sys_admin", "ALL"}, Drop: []string{"CAP_CHOWN"}, Seccomp: Unconfined, Mask: []string{"/etc/shadow"}, Unmask: []string{"all", "/proc/*"},
			AppArmor: Unconfined, Label: []string{"disable", "type:spc_t", "level:s0:c1,c2"},
		}},
		"profile": {Security: Security{Seccomp: `{"defaultAction": "SCMP_ACT_ALLOW"}`, AppArmor: "docker-default"}},
		"limits": {Limits: Limits{
			Ulimits: []Ulimit{{"nofile", 1024, 4096}, {"core", 0, 0}, {"nproc", 5, -1}, {"stack", -1, -1}}, ShmSize: 1, CgroupParent: "/a/b.slice", Memory: 1 << 20, MemorySwap: -1,
			CPUShares: 2, CPUPeriod: 1000, CPUQuota: -1, CPUs: "0-3,5", Memories: "0",
		}},
		"swap":    {Limits: Limits{Memory: 5, MemorySwap: 5}},
		"devices": {Devices: []string{"/dev/fuse", "/dev/kvm:rwm", "/dev/fuse:/dev/other:rw"}}, "groups": {Groups: []string{"audio", "27"}},
	} {
		if err := o.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, o := range map[string]Options{
		"sandbox": {Sandbox: "chroot"}, "network": {Network: Network{Mode: "bridge"}}, "host's network": {Network: Network{Mode: "HOST"}},
		"capability": {Security: Security{Add: []string{"NONE"}}}, "dropped": {Security: Security{Drop: []string{""}}}, "both": {Security: Security{Add: []string{"ALL"}, Drop: []string{"ALL"}}},
		"profile": {Security: Security{Seccomp: "/etc/seccomp.json"}}, "no rules": {Security: Security{Seccomp: "{}"}},
		"mask": {Security: Security{Mask: []string{"etc"}}}, "mask of all": {Security: Security{Mask: []string{"/."}}}, "NUL": {Security: Security{Mask: []string{"/a\x00"}}},
		"unmask": {Security: Security{Unmask: []string{"proc"}}}, "pattern": {Security: Security{Unmask: []string{"/proc/["}}},
		"AppArmor": {Security: Security{AppArmor: "a b"}}, "label": {Security: Security{Label: []string{"color:red"}}}, "no label": {Security: Security{Label: []string{"type:"}}},
		"ulimit": {Limits: Limits{Ulimits: []Ulimit{{"files", 1, 1}}}}, "soft": {Limits: Limits{Ulimits: []Ulimit{{"nofile", 2, 1}}}}, "endless soft": {Limits: Limits{Ulimits: []Ulimit{{"nofile", -1, 1}}}},
		"negative": {Limits: Limits{Ulimits: []Ulimit{{"nofile", -2, -2}}}}, "twice": {Limits: Limits{Ulimits: []Ulimit{{"core", 0, 0}, {"core", 1, 1}}}},
		"shm": {Limits: Limits{ShmSize: -1}}, "memory": {Limits: Limits{Memory: -1}}, "swap": {Limits: Limits{Memory: 5, MemorySwap: 4}}, "swap alone": {Limits: Limits{MemorySwap: 4}},
		"shares": {Limits: Limits{CPUShares: 1}}, "period": {Limits: Limits{CPUPeriod: 999}}, "quota": {Limits: Limits{CPUQuota: 5}}, "cpus": {Limits: Limits{CPUs: "3-1"}}, "mems": {Limits: Limits{Memories: "a"}},
		"parent": {Limits: Limits{CgroupParent: "a/../../b"}}, "parent's line": {Limits: Limits{CgroupParent: "a\nb"}},
		"device": {Devices: []string{"fuse"}}, "group": {Groups: []string{""}}, "keep": {Groups: []string{"keep-groups"}}, "groups": {Groups: []string{"a,b"}},
	} {
		if err := o.Check(); !errors.Is(err, limits.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseDevice(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Device{
		"/dev/fuse": {"/dev/fuse", "/dev/fuse"}, "/dev/fuse:rw": {"/dev/fuse", "/dev/fuse"}, "/dev/a:/dev/b": {"/dev/a", "/dev/b"}, "/dev/a:/dev/b:mrw": {"/dev/a", "/dev/b"},
		"/dev//a:/x/../b": {"/dev/a", "/b"}, "/dev/null:/dev/pts2": {"/dev/null", "/dev/pts2"},
	} {
		if got, err := ParseDevice(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"": "PATH", "fuse": "PATH", "/dev/a:b": "PATH", "/dev/a:/dev/b:rwx": "PATH", "/dev/a:/b:rw:rw": "PATH", "/dev/a:": "PATH", "/dev/a\x00": "PATH",
		"vendor.com/class=name": "Container Device Interface", "/dev/a:r": "read and write", "/dev/a:/dev/b:w": "read and write", "/dev/a:m": "read and write",
		"/dev/a:/": "nothing can be put", "/dev/a:/dev/x/../pts/0": "nothing can be put", "/dev/a:/proc/kcore": "nothing can be put", "/dev/a:/dev/stdin": "own",
		"/dev": "own", "/sys/a": "nothing can be put",
	} {
		if _, err := ParseDevice(text); !errors.Is(err, limits.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// What is taken is two clean paths, of which the second is no place of the kernel's.
func FuzzParseDevice(f *testing.F) {
	for _, text := range []string{"/dev/fuse", "/dev/a:/dev/b:rwm", "/dev/a:r", "vendor.com/class=name", "/dev/a:/dev/../proc/x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDevice(text)
		if err != nil {
			if !errors.Is(err, limits.ErrInvalid) {
				t.Error(err)
			}
			return
		}
		for _, name := range []string{d.Path, d.Target} {
			if !isPath(name) || strings.Contains(name, "/../") || strings.Contains(name, ":") {
				t.Errorf("%q: %+v", text, d)
			}
		}
		if strings.HasPrefix(d.Target+"/", "/proc/") || strings.HasPrefix(d.Target+"/", "/sys/") || d.Target == "/" || d.Target == "/dev" {
			t.Errorf("%q is put at %s", text, d.Target)
		}
		if again, err := ParseDevice(d.Path + ":" + d.Target + ":rw"); again != d || err != nil {
			t.Errorf("%+v becomes %+v, %v", d, again, err)
		}
	})
}
