//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestCross builds examples/cross for this machine's platform and another, which nobody has set up
// an emulator for, and sends the index to a registry.
func TestCross(t *testing.T) {
	h := newHome(t)
	other, machine, repository := "arm64", "aarch64", "arm64v8"
	if runtime.GOARCH == "arm64" {
		other, machine, repository = "amd64", "x86_64", "amd64"
	}
	platforms := []string{"linux/" + runtime.GOARCH, "linux/" + other}
	before := registrations(t)
	base := fmt.Sprintf("debian:bookworm-slim::%s=docker-image://docker.io/%s/debian:bookworm-slim", platforms[1], repository)
	_, log, err := h.try(oakum, "build", "-t", "cross", "--platform", strings.Join(platforms, ","), "--build-context", base, filepath.Join(checkout, "examples/cross"))
	if err != nil || strings.Contains(log, "warning:") {
		t.Fatalf("oakum build: %v\n%s", err, log)
	}
	if after := registrations(t); !slices.Equal(before, after) {
		t.Errorf("the machine's emulators were %q, and are %q", before, after)
	}
	if out := h.run(oakum, "run", "--platform", platforms[1], "cross", "sh", "-c", "cat /machine; uname -m; apt-get --version | head -n 1; head -n 1 /apt"); !strings.HasPrefix(out, machine+"\n"+machine+"\napt ") || strings.Count(out, "("+other+")") != 2 {
		t.Errorf("for %s it printed\n%s", platforms[1], out)
	}
	notes := map[string]bool{h.run(oakum, "run", "--platform", platforms[1], "cross", "cat", "/note"): true}
	native := h.run(oakum, "run", "cross")
	note, is, _ := strings.Cut(native, "\n")
	if notes[note+"\n"] = true; len(notes) != 1 || is == machine+"\n" {
		t.Errorf("it printed\n%s, and the notes are %v", native, notes)
	}

	name := registry + "/cross:1"
	h.run(oakum, "push", "--quiet", "cross", name)
	var index imgspec.Index
	read := func(text string) {
		if err := json.Unmarshal([]byte(text), &index); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		var got []string
		for _, m := range index.Manifests {
			got = append(got, m.Platform.OS+"/"+m.Platform.Architecture)
		}
		if !slices.Equal(got, platforms) {
			t.Errorf("the index is of %q", got)
		}
	}
	read(h.run("skopeo", "inspect", "--tls-verify=false", "--raw", "docker://"+name))
	for _, m := range index.Manifests {
		var image struct {
			Architecture string
			Labels       map[string]string
		}
		text := h.run("skopeo", "inspect", "--tls-verify=false", "--override-arch", m.Platform.Architecture, "docker://"+name)
		if err := json.Unmarshal([]byte(text), &image); err != nil || image.Architecture != m.Platform.Architecture || image.Labels["platform"] != "linux/"+image.Architecture {
			t.Errorf("%v: %v\n%s", m.Platform, err, text)
		}
	}
	// Podman sees the index in the store, and leaves it its images.
	read(h.run("podman", "manifest", "inspect", "localhost/cross:latest"))
	h.run("podman", "image", "prune", "--force")
	if out := h.run(oakum, "run", "--platform", platforms[1], "cross", "cat", "/machine"); out != machine+"\n" {
		t.Errorf("it printed %q", out)
	}
	h.run(oakum, "rmi", "cross")
	if out := h.run("podman", "images", "--all", "--filter", "reference=localhost/cross", "--quiet"); out != "" {
		t.Errorf("Podman still has\n%s", out)
	}
}

// registrations are the names of what the machine has registered.
func registrations(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/sys/fs/binfmt_misc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
