//go:build linux

package main

import (
	"strings"
	"testing"
)

// TestRefusals builds what cannot be built: it is said before anything is pulled, with what to do, and
// nothing is lost.
func TestRefusals(t *testing.T) {
	for _, name := range []string{"docker-user", "restricted"} {
		t.Run(name, func(t *testing.T) {
			v := enter(t, name)
			before := v.look()
			_, said, code := v.try("oakum", "build", v.contexts+"/commands")
			if code != 4 || !strings.Contains(said, "commands cannot be run here") || !strings.Contains(said, "hint: to mend it: ") || strings.Contains(said, "pull") {
				t.Errorf("%s: a RUN: exit status %d\n%s", name, code, said)
			}
			if images := v.run("oakum", "images", "--quiet"); images != "" {
				t.Errorf("%s: there are images: %s", name, images)
			}
			v.checkRemains(before)
		})
	}
	t.Run("openshift", func(t *testing.T) {
		v := enter(t, "openshift")
		build := []string{"env", "-u", "HOME", "-u", "CONTAINERS_STORAGE_CONF", "oakum", "build"}
		_, said, code := v.try(append(build, v.contexts+"/files")...)
		if code != 4 || !strings.Contains(said, "/.local: read-only file system") || !strings.Contains(said, "hint: to mend it: ") || !strings.Contains(said, "--root DIR") {
			t.Errorf("with no place for images: exit status %d\n%s", code, said)
		}
		v.run(append(build, "--root", "/scratch/here", v.contexts+"/files")...)
	})
	t.Run("no-subids", func(t *testing.T) {
		v := enter(t, "no-subids")
		_, said, code := v.try("oakum", "build", "--no-cache", v.contexts+"/users")
		if code == 0 || !strings.Contains(said, "user 12: the uid 12 is not mapped") {
			t.Errorf("a RUN as another user with one id: exit status %d\n%s", code, said)
		}
	})
}
