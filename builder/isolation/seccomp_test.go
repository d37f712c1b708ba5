//go:build linux

package isolation

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oakum-build/oakum/builder/limits"
)

// valid is a filter with all that one can have.
const valid = `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}, {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
"syscalls": [{"names": ["read", "_llseek", "s390_pci_mmio_read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "c", "includes": {}, "excludes": {}},
{"name": "clone", "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "errno": "EPERM", "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
"includes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["amd64"], "minKernel": "4.8"}, "excludes": {"caps": ["CAP_BPF"]}}]}`

func TestCheckSeccomp(t *testing.T) {
	t.Parallel()
	docker, err := json.Marshal(seccomp.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{valid, string(docker), `{"defaultAction": "SCMP_ACT_ALLOW"}`, `{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64"]} `} {
		if err := checkSeccomp(text); err != nil {
			t.Errorf("%.80s: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"": "EOF", "null": "it is null", "{}": "no defaultAction", "[]": "cannot unmarshal", `{"defaultAction": "SCMP_ACT_ALLOW"} {}`: "follows its end",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscall": []}`:                                                          "unknown field",
		`{"defaultAction": "ALLOW"}`:                                                                                  "no action",
		`{"defaultAction": "SCMP_ACT_NOTIFY"}`:                                                                        "told of calls",
		`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}`:                                                "no errno",
		`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1}`:                                                  "cannot unmarshal",
		`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EPERM"}`:                                                "needs its number",
		`{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/s"}`:                                               "listenerPath",
		`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["amd64"]}`:                                             "no architecture",
		`{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}`:                          "no flag",
		`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{}]}`:                    "archMap",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [null]}`:                                                     "rule 1 is null",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO"}]}`:                             "names no system call",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "read", "names": ["read"]}]}`:                      "names and name",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["READ"], "action": "SCMP_ACT_ERRNO"}]}`:          "no name of a system call",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}`:                                      "no action",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}`:         "told of calls",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [` + rest + `"args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]}`: "no 6",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [` + rest + `"args": [{"index": 5, "op": "=="}]}]}`:          "no operator",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [` + rest + `"includes": {"caps": ["SYS_ADMIN"]}}]}`:         "no capability",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [` + rest + `"excludes": {"minKernel": "4"}}]}`:              "no version",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [` + rest + `"excludes": {"minKernel": "0.0"}}]}`:            "no version",
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [` + rest + `"includes": {"minKernl": "4.8"}}]}`:             "unknown field",
	} {
		if err := checkSeccomp(text); !errors.Is(err, limits.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	if err := checkSeccomp(valid + strings.Repeat(" ", limits.MaxSeccomp)); !limits.IsLimit(err) {
		t.Errorf("a long one: %v", err)
	}
}

const rest = `{"names": ["read"], "action": "SCMP_ACT_ERRNO", `

// What is let through, the library that evaluates it takes, and makes a filter of it.
func FuzzCheckSeccomp(f *testing.F) {
	f.Add(valid)
	for _, text := range []string{`{"defaultAction":"SCMP_ACT_KILL"}`, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[` + rest + `"excludes":{"minKernel":"4.8"}}]}`} {
		f.Add(text)
	}
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}}
	f.Fuzz(func(t *testing.T, text string) {
		err := checkSeccomp(text)
		if err != nil {
			if !errors.Is(err, limits.ErrInvalid) {
				t.Errorf("%v", err)
			}
			return
		}
		if p, err := seccomp.LoadProfile(text, spec); err != nil || p == nil || p.DefaultAction == "" {
			t.Errorf("taken, and gives %v, %v", p, err)
		}
	})
}

// The profile that Podman installs is taken too.
func TestPodmans(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		t.Fatalf("%v; hack/deps installs what the tests need", err)
	}
	if err := checkSeccomp(string(text)); err != nil {
		t.Error(err)
	}
}
