//go:build linux

package e2e

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	registryserver "github.com/google/go-containerregistry/pkg/registry"
)

// static is the command for an architecture that make static has built.
func static(arch string) string { return filepath.Join(checkout, "bin", "oakum-linux-"+arch) }

// TestStatic looks at the commands that make static has built: each is one file that needs no other,
// and the one for the other architecture starts, under an emulator.
func TestStatic(t *testing.T) {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	emulators := map[string]string{"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static"}
	for arch, machine := range machines {
		file, err := elf.Open(static(arch))
		if err != nil {
			t.Errorf("%v; make static builds it", err)
			continue
		}
		defer file.Close()
		if file.Machine != machine {
			t.Errorf("oakum-linux-%s is for %v", arch, file.Machine)
		}
		for _, program := range file.Progs {
			if program.Type == elf.PT_INTERP || program.Type == elf.PT_DYNAMIC {
				t.Errorf("oakum-linux-%s is linked to libraries", arch)
			}
		}
		command := []string{static(arch), "version"}
		if arch != runtime.GOARCH {
			command = append([]string{emulators[arch]}, command...)
		}
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "linux/"+arch) {
			t.Errorf("%q: %v\n%s", command, err, out)
		}
	}
}

// TestWithoutCgo uses a command that was built without a C compiler: all works as in any other, but
// libcontainer, of which it says that it is not there.
func TestWithoutCgo(t *testing.T) {
	nocgo := static(runtime.GOARCH)
	built, err := buildinfo.ReadFile(nocgo)
	if err != nil {
		t.Fatalf("%v; make static builds it", err)
	}
	for _, setting := range built.Settings {
		if setting.Key == "CGO_ENABLED" && setting.Value != "0" {
			t.Fatalf("%s was built with cgo", nocgo)
		}
	}
	server := httptest.NewServer(registryserver.New(registryserver.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	there := strings.TrimPrefix(server.URL, "http://") + "/app"

	h := newHome(t)
	h.write("build/file", "of the context\n")
	dir := h.context("build", "FROM busybox AS base\nFROM busybox\nWORKDIR /w\nCOPY --from=base /bin/busybox /bin/sh ./\nCOPY file .\nADD --chown=5:6 file /other/\nCMD [\"cat\", \"/w/file\"]\n")
	h.run(nocgo, "build", "-t", "app", dir)
	h.run(oakum, "build", "--no-cache", "-t", "like", dir)
	compare(t, h.export("localhost/app"), h.export("localhost/like"))
	h.run(nocgo, "tag", "app", there)
	h.run(nocgo, "push", "--tls-verify=false", there)
	images := h.run(nocgo, "images", "--format", "{{.Repository}}")
	if !strings.Contains(images, there) {
		t.Errorf("no %s among the images:\n%s", there, images)
	}
	h.run(nocgo, "rmi", "-f", there, "app", "like", "busybox")
	h.run(nocgo, "prune")
	h.run(nocgo, "pull", "--tls-verify=false", there)
	if got := h.export(there).Files["w/file"].Content; got == "" {
		t.Errorf("the image that was pulled has no /w/file")
	}
	if out := h.run("podman", "run", "--rm", "--network", "none", there); out != "of the context\n" {
		t.Errorf("the image runs and writes %q", out)
	}

	runs := h.context("runs", "FROM busybox\nRUN echo made >/made && grep -q 'Seccomp:.2' /proc/self/status\n")
	h.run(nocgo, "build", "-t", "runs", runs)
	if got := h.export("localhost/runs").Files["made"].Content; got == "" {
		t.Errorf("a RUN has left no file")
	}
	if out := h.run(nocgo, "run", "--rm", there); out != "of the context\n" {
		t.Errorf("run writes %q", out)
	}
	for _, args := range [][]string{{"build", "--no-cache", "--isolation", "oci", runs}, {"run", "--rm", "--isolation", "oci", there}} {
		_, stderr, err := h.try(nocgo, args...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 4 || !strings.Contains(stderr, "no libcontainer") {
			t.Errorf("%v: %v\n%s", args, err, stderr)
		}
	}
}
