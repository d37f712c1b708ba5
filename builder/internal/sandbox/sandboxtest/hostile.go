//go:build linux

package sandboxtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// hostileTests are of root file systems and neighbours that mean to lead a sandbox out of its place.
var hostileTests = map[string]func(*testing.T, *place, sandbox.Isolation){
	"links over mount points": testLinkedPoints, "programs by /proc": testProgramsByProc, "race for a mount point": testRace, "targets of links": testLinkedTargets,
}

// racesEnv says how often a race is run.
const racesEnv = "OAKUM_RACES"

func races() int {
	if n, err := strconv.Atoi(os.Getenv(racesEnv)); err == nil {
		return n
	}
	return 20
}

// victim is a directory outside the root file system in which nothing may change.
func victim(t *testing.T, p *place) (dir string, unchanged func()) {
	t.Helper()
	dir = filepath.Join(filepath.Dir(p.root), "victim")
	ok(t, os.MkdirAll(dir+"/b", 0o755))
	for _, name := range []string{"ptmx", "null", "marker"} {
		ok(t, os.WriteFile(filepath.Join(dir, name), []byte("host\n"), 0o600))
	}
	before := listing(t, dir)
	return dir, func() {
		t.Helper()
		equal(t, "outside the root file system", listing(t, dir), before)
		ok(t, os.RemoveAll(dir))
	}
}

// testLinkedPoints: links of an image in the place of /proc, /sys and /dev lead nowhere outside
// (CVE-2019-19921, CVE-2026-41579), and without a /proc of its own nothing is run.
func testLinkedPoints(t *testing.T, p *place, _ sandbox.Isolation) {
	dir, unchanged := victim(t, p)
	defer unchanged()
	for _, name := range []string{"proc", "sys", "dev"} {
		for _, target := range []string{"/tmp", "../../../../../../../../../.." + dir, dir} {
			at := filepath.Join(p.root, name)
			ok(t, os.Rename(at, at+".old"))
			ok(t, os.Symlink(target, at))
			out, code, err := p.run(t.Context(), t, p.command("/bin/sh", "-c", "busybox cat /"+name+"/marker; [ -e /proc/self ] && echo ran; : >/"+name+"/new"))
			// What fills mount points has put the link out of the way.
			if strings.Contains(out, "host") || name == "proc" && !p.sandbox.Fills() && (err == nil || strings.Contains(out, "ran")) {
				t.Errorf("/%s -> %s: %q, status %d, %v", name, target, out, code, err)
			}
			ok(t, os.Remove(at))
			ok(t, os.Rename(at+".old", at))
			_ = os.RemoveAll(p.root + "/tmp/new")
		}
	}
}

// testProgramsByProc: no file that the sandbox has open is a way out, nor is its own program
// (CVE-2019-5736, CVE-2024-21626).
func testProgramsByProc(t *testing.T, p *place, _ sandbox.Isolation) {
	var names []string
	for n := 3; n < 30; n++ {
		names = append(names, fmt.Sprintf("/proc/self/fd/%d%s", n, busybox), fmt.Sprintf("/proc/self/fd/%d/../../../../../../..%s", n, busybox))
	}
	for _, name := range names {
		out, code, err := p.run(t.Context(), t, p.command(name, "echo", "ran"))
		var start *sandbox.StartError
		if strings.Contains(out, "ran") || err == nil && code == 0 || err != nil && !errors.As(err, &start) {
			t.Errorf("%s: %q, status %d, %v", name, out, code, err)
		}
	}
}

// testRace: while a neighbour swaps a directory in what both see for a link out, mounts on it stay inside
// (CVE-2021-30465, CVE-2024-45310, CVE-2024-11218).
func testRace(t *testing.T, p *place, _ sandbox.Isolation) {
	dir, unchanged := victim(t, p)
	defer unchanged()
	shared := filepath.Join(filepath.Dir(p.root), "shared")
	ok(t, os.MkdirAll(shared+"/a/b", 0o755))
	defer os.RemoveAll(shared)
	ok(t, os.MkdirAll(p.root+"/tmp/v", 0o755))
	defer os.Remove(p.root + "/tmp/v")
	swapped := swapping(t, shared, []string{dir, "/", "../../../../../../../../../../.." + dir, "/proc/self"})
	mounted := 0
	for range races() {
		c := p.command("/bin/sh", "-c", "echo x >/tmp/v/a/b/new; busybox cat /tmp/v/a/marker; busybox grep -c ' /tmp/v/' /proc/self/mountinfo")
		c.Mounts = []sandbox.Mount{{Kind: sandbox.BindDir, Source: shared, Target: "/tmp/v"}, {Kind: sandbox.Tmpfs, Target: "/tmp/v/a/b"}}
		out, code, err := p.run(t.Context(), t, c)
		if strings.Contains(out, "host") {
			t.Errorf("status %d, %v: %s", code, err, out)
		}
		if err == nil {
			mounted++
		}
	}
	t.Logf("%d of %d mounts were made, in %d swaps", mounted, races(), swapped())
}

// swapping swaps the directory "a" of dir for links to targets and back, until what it gives is called, which tells how often
// that was. Now and then there is neither for a moment: whoever mounts then makes the directory anew, and that goes.
func swapping(t *testing.T, dir string, targets []string) (swapped func() int) {
	a, link, aside := filepath.Join(dir, "a"), filepath.Join(dir, "link"), filepath.Join(dir, "aside")
	exchange := func() {
		if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
			t.Errorf("swapping: %v", err)
		}
	}
	begun, stop, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	n := 0
	go func() {
		defer close(stopped)
		for ; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Symlink(targets[n%len(targets)], link)
			exchange()
			if n == 0 {
				close(begun)
			}
			time.Sleep(time.Duration(n%4) * time.Millisecond)
			exchange()
			_ = os.Remove(link)
			if n%8 == 7 {
				_ = os.Rename(a, aside)
				for os.Rename(aside, a) != nil {
					_ = os.RemoveAll(a)
				}
			}
		}
	}()
	<-begun
	return func() int { close(stop); <-stopped; return n }
}

// testLinkedTargets: a target that leads to the root or to /proc hides nothing of them.
func testLinkedTargets(t *testing.T, p *place, _ sandbox.Isolation) {
	for _, target := range []string{"/", "/proc", "/dev", "/sys", "/proc/self", "..", "../proc"} {
		ok(t, os.Symlink(target, p.root+"/tmp/away"))
		c := p.command("/bin/sh", "-c", "[ -e /proc/self/status ] && [ -e /bin/busybox ] && [ -c /dev/null ] && echo whole")
		c.Mounts = []sandbox.Mount{{Kind: sandbox.Tmpfs, Target: "/tmp/away"}}
		out, code, err := p.run(t.Context(), t, c)
		if err == nil && out != "whole\n" {
			t.Errorf("%s: %q, status %d", target, out, code)
		}
		ok(t, os.Remove(p.root+"/tmp/away"))
	}
}
