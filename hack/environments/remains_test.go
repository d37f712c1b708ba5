//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// remains is what a build could leave in an environment.
type remains struct {
	mounts map[string]bool // ids and places
	files  map[string]bool // a container's own, besides those of its image
}

// storePlaces are the directories where a store and its run-time state are, by default, and what
// has them in it: nothing else of a container's own files may change. That /tmp is empty is checked, too.
var storePlaces = []string{"/var/lib/containers", "/run/containers", "/tmp", "/contexts", "/etc/hosts", "/etc/resolv.conf", "/etc/mtab", "/etc/hostname",
	"/run/.containerenv", "/run/secrets", "/dev", "/proc", "/sys"}

// look sees what there is now.
func (v *visit) look() remains {
	v.t.Helper()
	mounts, err := os.ReadFile(v.proc + "/mountinfo")
	if err != nil {
		v.t.Fatal(err)
	}
	r := remains{mounts: map[string]bool{}, files: map[string]bool{}}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		r.mounts[fields[0]+" "+fields[4]] = true
	}
	if v.id != "" {
		diff, err := output(v.podman(v.t.Context(), "diff", v.id))
		if err != nil {
			v.t.Fatal(err)
		}
		for line := range strings.Lines(diff) {
			r.files[strings.TrimSpace(line)] = true
		}
	}
	return r
}

// checkRemains checks that all builds since before left nothing but the store.
func (v *visit) checkRemains(before remains) {
	v.t.Helper()
	now := v.look()
	for mount := range now.mounts {
		// Those of the machine may go meanwhile.
		if !before.mounts[mount] {
			v.t.Errorf("%s: a mount is left: %s", v.name, mount)
		}
	}
	for line := range now.files {
		_, path, _ := strings.Cut(line, " ")
		if !before.files[line] && !slices.ContainsFunc(storePlaces, func(place string) bool {
			return path == place || strings.HasPrefix(path, place+"/") || strings.HasPrefix(place, path+"/")
		}) {
			v.t.Errorf("%s: the container's own files are not as they were: %s", v.name, line)
		}
	}
	for _, process := range v.processesDownTo(0) {
		v.t.Errorf("%s: a process is left: %s", v.name, process)
	}
	// The store's run-time state is there where there is no XDG_RUNTIME_DIR.
	if files := v.run("sh", "-c", `ls -A "${TMPDIR:-/tmp}" | grep -v "^storage-run-$(id -u)$" || true`); files != "" {
		v.t.Errorf("%s: files are left in the directory for temporary ones: %s", v.name, files)
	}
}

// processesDownTo are those of the place when no more than n are left: one that was killed may take a moment to go.
func (v *visit) processesDownTo(n int) []string {
	v.t.Helper()
	left := v.processes()
	for deadline := time.Now().Add(time.Minute); len(left) > n && time.Now().Before(deadline); left = v.processes() {
		time.Sleep(50 * time.Millisecond)
	}
	return left
}

// processes are those of the place besides its first, and their descendants in other PID namespaces.
func (v *visit) processes() []string {
	v.t.Helper()
	namespace, err := os.Readlink(v.proc + "/ns/pid")
	if err != nil {
		v.t.Fatal(err)
	}
	statuses, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		v.t.Fatal(err)
	}
	parents, found := map[int]int{}, map[int]string{}
	for _, path := range statuses {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		parents[pid], _ = strconv.Atoi(fields[1])
		if own, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); own == namespace && !isFirst(pid) {
			found[pid] = string(stat)
		}
	}
	for more := true; more; {
		more = false
		for pid, parent := range parents {
			if _, ok := found[pid]; !ok && found[parent] != "" {
				found[pid], more = fmt.Sprintf("%d, of process %s", pid, found[parent]), true
			}
		}
	}
	var list []string
	for _, process := range found {
		list = append(list, process)
	}
	return list
}

// isFirst reports whether a process is the first of its PID namespace.
func isFirst(pid int) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return strings.HasSuffix(numbers, "\t1\n")
		}
	}
	return false
}

// TestRemains sees that what a build could leave would be found.
func TestRemains(t *testing.T) {
	v := enter(t, "podman")
	before := v.look()
	v.checkRemains(before)
	v.run("sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 & echo x >/var/x && echo x >/etc/passwd && mkdir -p /var/lib/containers/storage")
	found := v.look()
	for _, line := range []string{"A /var/x", "C /etc/passwd", "A /var/lib/containers/storage"} {
		if !found.files[line] || before.files[line] {
			t.Errorf("%q is not seen: %v", line, found.files)
		}
	}
	if left := v.processesDownTo(1); len(left) != 1 {
		t.Errorf("processes left: %q, want one", left)
	}
}
