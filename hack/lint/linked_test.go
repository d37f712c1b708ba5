package lint

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestLinked lists all packages that are linked into the command and into programs of others, and holds them
// against those that must not be.
func TestLinked(t *testing.T) {
	tree(t) // go test repeats a test when files have changed that it has read itself
	for _, build := range []struct {
		name     string
		packages []string
		env      []string
		tags     string
	}{
		{"the command", []string{"./cmd/oakum"}, nil, "containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_zfs,seccomp,runc_nocriu,urfave_cli_no_docs"},
		{"the command without a tag", []string{"./cmd/oakum"}, []string{"CGO_ENABLED=0"}, ""},
		{"the library", []string{"./builder", "./dockerfile", "./storage"}, []string{"CGO_ENABLED=0"}, ""},
		{"the library on another system", []string{"./builder", "./dockerfile"}, []string{"CGO_ENABLED=0", "GOOS=darwin"}, ""},
	} {
		list := exec.Command("go", append([]string{"list", "-deps", "-tags=" + build.tags}, build.packages...)...)
		list.Dir = root
		list.Env = append(list.Environ(), append(build.env, "GOFLAGS=")...)
		out, err := list.Output()
		if err != nil {
			t.Fatalf("%s: %v", build.name, err)
		}
		for _, fault := range linked(strings.Fields(string(out)), build.name == "the command") {
			t.Errorf("%s: %s", build.name, fault)
		}
	}
}

// Each rule finds what it is about, and lets what only looks like it pass.
func TestLinkedRules(t *testing.T) {
	fine := []string{"go.podman.io/image/v5/docker", "github.com/moby/moby/client/pkg/versions", "go.podman.io/image/v5/internal/signature", "go.podman.io/image/v5/manifest"}
	if faults := linked(fine, false); len(faults) > 0 {
		t.Errorf("%q", faults)
	}
	for _, not := range unlinked {
		for _, pkg := range not.packages {
			faults := linked(append(slices.Clone(fine), pkg), not.tagged)
			if len(faults) != 1 || !strings.Contains(faults[0], pkg) {
				t.Errorf("%s: %q", pkg, faults)
			}
		}
	}
	if faults := linked([]string{"go.podman.io/image/v5/signature"}, true); len(faults) > 0 {
		t.Errorf("with the checks of signatures: %q", faults)
	}
	if faults := linked([]string{"github.com/russross/blackfriday/v2"}, false); len(faults) > 0 {
		t.Errorf("without tags: %q", faults)
	}
}

// A module with a replacement cannot be installed by its name, and programs that import it do not get it.
func TestNoReplacement(t *testing.T) {
	edit := exec.Command("go", "mod", "edit", "-json")
	edit.Dir = root
	out, err := edit.Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), `"Replace": null`) || !strings.Contains(string(out), `"Exclude": null`) {
		t.Errorf("go.mod replaces or excludes modules:\n%s", out)
	}
}
