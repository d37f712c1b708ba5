//go:build linux

package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// expected is what oakum is to find and choose in an environment.
type expected struct {
	worker, driver, level string
	// probe is one that finds what keeps oakum from more, and found words of what it says.
	probe, found string
}

const (
	allIDs = "all ids"
	oneID  = "the id of the user alone"
	plain  = "without namespaces"
)

var expectations = map[string]expected{
	"user":              {allIDs, "overlay", "full", "", ""},
	"no-subids":         {oneID, "tree", "full", "ids", "there is no entry for it in /etc/passwd"},
	"no-new-privs":      {oneID, "tree", "full", "ids", "no_new_privs"},
	"no-newuidmap":      {oneID, "tree", "full", "ids", "newuidmap and newgidmap are not installed"},
	"podman":            {allIDs, "tree", "reduced", "overlay", "not supported over overlayfs"},
	"podman-volume":     {allIDs, "overlay", "reduced", "proc", "mounting /proc"},
	"podman-tmpfs":      {allIDs, "overlay", "reduced", "proc", "mounting /proc"},
	"podman-hostnet":    {allIDs, "tree", "reduced", "proc", "mounting /proc"},
	"rootless-podman":   {allIDs, "tree", "reduced", "proc", "mounting /proc"},
	"nested-podman":     {allIDs, "tree", "reduced", "proc", "mounting /proc"},
	"docker":            {plain, "tree", "chroot", "namespaces", "operation not permitted"},
	"docker-volume":     {plain, "tree", "chroot", "namespaces", "operation not permitted"},
	"docker-narrow":     {plain, "tree", "chroot", "namespaces", "operation not permitted"},
	"rootless-docker":   {plain, "tree", "chroot", "mknod", "operation not permitted"},
	"kubernetes-users":  {"", "overlay", "full", "", ""},
	"docker-user":       {plain, "tree", "none", "chroot", "operation not permitted"},
	"restricted":        {plain, "tree", "none", "namespaces", "operation not permitted"},
	"restricted-narrow": {plain, "tree", "none", "namespaces", "operation not permitted"},
	"openshift":         {plain, "tree", "none", "namespaces", "operation not permitted"},
}

// TestBuilds builds images, whose every layer and setting is the same wherever they are built.
func TestBuilds(t *testing.T) {
	for _, e := range environments {
		t.Run(e.name, func(t *testing.T) {
			v := enter(t, e.name)
			before := v.look()
			want := expectations[e.name]
			v.checkInfo(want)
			v.same("files")
			if want.level != "none" {
				v.same("commands")
			}
			v.checkRemains(before)
		})
	}
}

// TestExample builds examples/multistage-go for an ordinary user and in Docker's default container, to the same image, and with
// the whole corpus also where there is one id, and in Podman's.
func TestExample(t *testing.T) {
	names := []string{"user", "docker"}
	if os.Getenv(wholeCorpus) != "" {
		names = append(names, "no-subids", "podman-volume")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { enter(t, name).same("multistage-go") })
	}
}

// checkInfo compares what oakum info says with what is expected.
func (v *visit) checkInfo(want expected) {
	v.t.Helper()
	stdout, stderr, _ := v.try("oakum", "info", "--format", "json")
	var info struct {
		Driver   string
		Commands struct {
			Worker, Level string
			Probes        []struct{ Name, Found, Fix string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &info); err != nil {
		v.t.Fatalf("%s: oakum info: %v\n%s%s", v.name, err, stdout, stderr)
	}
	found := info.Commands
	v.t.Logf("%s: the store is %s, commands are isolated: %s, by %s", v.name, info.Driver, found.Level, found.Worker)
	if info.Driver != want.driver || found.Level != want.level || !strings.Contains(found.Worker, want.worker) {
		v.t.Errorf("%s: want the store %s, isolation %s, by %s", v.name, want.driver, want.level, want.worker)
	}
	for _, probe := range found.Probes {
		if probe.Name == want.probe && (!strings.Contains(probe.Found+probe.Fix, want.found) || probe.Fix == "") {
			v.t.Errorf("%s: %s found %q, to be mended by %q; want %q", v.name, probe.Name, probe.Found, probe.Fix, want.found)
		}
	}
}
