//go:build linux

package workspacetest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/openat2"
)

// points are mount points as sandboxes have them, and others.
var points = []string{"/dev/", "/proc/", "/sys/", "/etc/hosts", "/etc/resolv.conf", "/a/b/c/", "/a/b/file", "/d/mount", "/d/sub/dir/", "/none"}

// imagesWithPoints are what images have in the place of mount points.
var imagesWithPoints = map[string]struct {
	image string // what it has
	then  string // what a second layer does to that
}{
	"nothing there":                   {"true", ""},
	"all there":                       {"mkdir -p dev proc sys etc a/b/c d/sub/dir; printf h >etc/hosts; printf r >etc/resolv.conf; printf f >a/b/file; printf m >d/mount; printf x >proc/x; printf n >none", ""},
	"some directories there":          {"mkdir -p dev etc a d/sub; printf x >etc/x; chmod 2711 etc; chown 5:6 a", ""},
	"others of the kinds":             {"touch dev; mkdir -p etc/hosts; ln -s /none a; touch d", ""},
	"a link to a file":                {"mkdir etc run; ln -s ../run/r etc/resolv.conf; printf r >run/r", ""},
	"a dangling link":                 {"mkdir etc; ln -s ../run/systemd/resolve/stub etc/resolv.conf", ""},
	"a dangling link into something":  {"mkdir etc run; ln -s /run/hosts etc/hosts; chmod 700 run", ""},
	"a link out":                      {"mkdir etc; ln -s ../../../../../no/where etc/hosts; ln -s ../../../.. a", ""},
	"a link in a circle":              {"mkdir etc; ln -s hosts etc/hosts; ln -s b a; ln -s a b", ""},
	"links to directories":            {"mkdir -p usr/etc usr/a; ln -s usr/etc etc; ln -s /usr/a a; ln -s usr/no dev", ""},
	"a link to a directory not there": {"ln -s usr/etc etc; ln -s deep/er/still a", ""},
	"files removed":                   {"mkdir -p etc d; touch etc/hosts etc/resolv.conf etc/x d/mount none", "rm etc/hosts etc/resolv.conf d/mount none"},
	"directories removed":             {"mkdir -p dev proc etc a/b/c d/sub/dir; touch dev/x etc/hosts a/b/file", "rm -r dev proc etc a d"},
	"directories in their own place":  {"mkdir -p etc a/b/c d/sub; touch etc/hosts a/b/file d/mount", "rm -r etc a d; mkdir -p etc a d/sub; touch etc/other"},
}

// mounts are there while a sandbox needs them, whatever the image has in their place, and leave no
// trace: what the image has stays as it was, and the layer has what the change made alone.
func mounts(t *testing.T, open Implementation) {
	m := start(t, open)
	const change = "mkdir -p made; printf x >made/file"
	for name, test := range imagesWithPoints {
		below := m.make(t, nil, workspace.Change{}, sh(test.image), old)
		if test.then != "" {
			below = m.make(t, below, workspace.Change{}, sh(test.then), old)
		}
		was := m.see(t, below)
		for _, apart := range []bool{false, true} {
			l := m.make(t, below, workspace.Change{Apart: apart, Mounts: points}, pointsAreThere(t, name), sh(change))
			if got := m.top(t, l); got != "made/ made/file" {
				t.Errorf("%s: the layer has %s", name, got)
			}
			now := m.see(t, l)
			delete(now, "made")
			delete(now, "made/file")
			same(t, name, now, was)
		}
	}
}

// old gives all an old time, so that a change of a directory is seen.
func old(dir string) error { return sh("find . -exec touch -h -d @1000000000 {} +")(dir) }

// pointsAreThere checks that something can be mounted on all points, but where other things are in
// the way.
func pointsAreThere(t *testing.T, name string) step {
	return func(dir string) error {
		if strings.Contains(name, "circle") || strings.Contains(name, "others") || strings.Contains(name, "links to directories") {
			return nil
		}
		root, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		for _, p := range points {
			flags := uint64(unix.O_PATH | unix.O_CLOEXEC)
			if strings.HasSuffix(p, "/") {
				flags |= unix.O_DIRECTORY
			}
			fd, err := openat2.Open(int(root.Fd()), p, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_IN_ROOT})
			if err != nil {
				t.Errorf("%s: the mount point %s: %v", name, p, err)
				continue
			}
			var st unix.Stat_t
			err = unix.Fstat(fd, &st)
			unix.Close(fd)
			if file := st.Mode&unix.S_IFMT == unix.S_IFREG; err != nil || file == strings.HasSuffix(p, "/") {
				t.Errorf("%s: the mount point %s is %o, %v", name, p, st.Mode, err)
			}
		}
		return nil
	}
}

// mountsThatAreUsed are no traces any more: what a command does to a mount point or to the
// directories around it is its change.
func mountsThatAreUsed(t *testing.T, open Implementation) {
	m := start(t, open)
	bare := m.make(t, nil, workspace.Change{}, sh("mkdir etc d run; touch etc/hosts etc/resolv.conf; ln -s ../run/x/y d/mount"), old)
	bare = m.make(t, bare, workspace.Change{}, sh("rm etc/hosts etc/resolv.conf; touch -d @1000000000 etc"))
	for name, test := range map[string]struct{ do, want string }{
		"a file beside":              {"touch etc/new", "etc/ etc/new"},
		"a file beside that goes":    {"touch etc/new; rm etc/new", "etc/"},
		"the directory's mode":       {"chmod 700 etc", "etc/"},
		"the directory's owner":      {"chown 3:4 etc", "etc/"},
		"the directory's time":       {"touch -d @1200000000 etc", "etc/"},
		"a file in a made directory": {"touch run/x/new", "run/ run/x/ run/x/new"},
		"text in a mount point":      {"printf x >>etc/hosts", "etc/ etc/hosts"},
		"a removed mount point":      {"rm etc/hosts", "etc/"},
		"a made directory renamed":   {"mv run/x run/z", "run/ run/z/"},
		"another file in its place":  {"rm etc/hosts; printf x >new; mv new etc/hosts", "etc/ etc/hosts"},
		"nothing":                    {"cat etc/hosts; ls etc dev", ""},
	} {
		l := m.make(t, bare, workspace.Change{Mounts: points}, sh(test.do))
		// What is said of a mount point that was renamed with its directory does not matter.
		got := strings.TrimSuffix(m.top(t, l), " run/z/y")
		if got != test.want {
			t.Errorf("%s: the layer has %s, want %s", name, got, test.want)
		}
	}
	full := m.make(t, bare, workspace.Change{}, sh("touch etc/other; touch -d @1000000000 etc"))
	for _, do := range []string{"rm -r etc; mkdir etc; touch -d @1000000000 etc", "rm -r etc; mkdir etc"} {
		if got := m.see(t, m.make(t, full, workspace.Change{Mounts: points}, sh(do))); got["etc/other"] != "" || got["etc"] == "" {
			t.Errorf("after %s: %s", do, got.names())
		}
	}
	l := m.make(t, bare, workspace.Change{Mounts: points, Times: []workspace.Times{{Limit: time.Unix(1100000000, 0)}}}, sh("touch etc/new"))
	if got := m.see(t, l)["etc/new"]; !strings.Contains(got, " at 2004-") {
		t.Errorf("with limited times: %s", got)
	}
}

// kept directories become part of the first layer that mounts over them, when the image has none.
func kept(t *testing.T, open Implementation) {
	m := start(t, open)
	c := workspace.Change{Mounts: points, Kept: []string{"/dev", "/proc", "/sys"}}
	nothing := m.make(t, nil, workspace.Change{}, sh("touch x"))
	some := m.make(t, nil, workspace.Change{}, sh("mkdir dev sys; chmod 700 sys; touch dev/x; ln -s nowhere proc"), old)
	gone := m.make(t, some, workspace.Change{}, sh("rm -r dev sys proc"))
	for name, test := range map[string]struct {
		below *storage.Layer
		want  string
	}{
		"nil": {nil, "dev/ proc/ sys/"}, "nothing there": {nothing, "dev/ proc/ sys/"}, "some there": {some, ""}, "removed": {gone, "dev/ proc/ sys/"},
	} {
		l := m.make(t, test.below, c)
		if got := m.top(t, l); got != test.want {
			t.Errorf("%s: the layer has %s, want %s", name, got, test.want)
		}
		seen := m.see(t, l)
		for _, dir := range strings.Fields(test.want) {
			if line := seen[strings.TrimSuffix(dir, "/")]; !strings.HasPrefix(line, "40755 0:0") {
				t.Errorf("%s: %s is %s", name, dir, line)
			}
		}
		if name == "removed" && slices.Contains(strings.Fields(seen.names()), "dev/x") {
			t.Error("what was removed is back")
		}
		if got := m.top(t, m.make(t, l, c)); got != "" {
			t.Errorf("%s: the second layer has %s", name, got)
		}
	}
}
