//go:build linux

package workspacetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// before is what each case finds in its directory.
const before = `mkdir -p d/sub/deep e
printf 1 >d/a; printf 2 >d/b; printf 3 >d/sub/c; printf 4 >d/sub/deep/f
ln -s a d/l; ln -s sub d/ls; mkfifo d/p
printf 5 >h1; ln h1 h2; ln h1 e/h3
chown 33:44 d/b; chmod 4711 d/b; chmod 1770 e
find . -exec touch -h -d @1000000000 {} +
`

// caseOf changes what before has made, a layer a step.
type caseOf struct {
	name  string
	steps []step
}

var cases = []caseOf{
	{"nothing", []step{sh("cat d/a; ls -lR .; stat d/sub")}},
	{"a new file", []step{sh("printf new >d/new"), sh("printf newer >>d/new")}},
	{"new directories", []step{sh("mkdir -m 700 -p n/o/p && printf x >n/o/p/q && chmod 2755 n/o"), sh("printf y >n/o/r")}},
	{"new links", []step{sh("ln -s ../nowhere d/dangling; ln -s / d/root; ln -s d dl")}},
	{"a new fifo", []step{sh("mkfifo -m 640 fifo"), sh("rm fifo")}},
	{"a changed file", []step{sh("printf more >>d/a"), sh("printf less >d/a")}},
	{"an emptied file", []step{sh(": >d/sub/c")}},
	{"other text of the same length and time", []step{sh("printf 9 >d/a; printf 8 >d/sub/c; touch -d @1000000000 d/a d/sub/c")}},
	{"an equal file in its place", []step{sh("cp -p d/a new && printf 6 >new && touch -r d/a new && mv new d/a")}},
	{"a changed mode", []step{sh("chmod 0 d/a; chmod 6755 d/sub/c; chmod 1777 d/sub")}},
	{"a changed owner", []step{sh("chown 5:6 d/a; chown 7:8 d/sub; chown -h 9:10 d/l")}},
	{"a changed time", []step{sh("touch -d @1500000000 d/a d/sub; touch -h -d @1500000001 d/l")}},
	{"a removed file", []step{sh("rm d/a"), sh("printf again >d/a"), sh("rm d/a d/b")}},
	{"a removed link", []step{sh("rm d/l d/ls")}},
	{"a removed directory", []step{sh("rm -r d"), sh("mkdir d && printf other >d/a"), sh("rm -r d e")}},
	{"all removed", []step{sh("rm -r d e h1 h2"), sh("mkdir -p d/sub && printf back >d/sub/c")}},
	{"what comes and goes", []step{sh("printf x >x; mkdir y; touch y/z; rm -r x y; find . -maxdepth 0 -exec touch -d @1000000000 {} +")}},
	{"a directory in place of itself", []step{sh("rm -r d && mkdir d && printf new >d/new"), sh("printf more >d/more"), sh("rm -r d && mkdir d")}},
	{"an empty one in place of itself", []step{sh("rm -r d/sub && mkdir d/sub"), sh("mkdir d/sub/deep")}},
	{"directories in place of themselves", []step{sh("rm -r d && mkdir -p d/sub/deep && printf x >d/sub/deep/x && printf 1 >d/a")}},
	{"a file in place of a directory", []step{sh("rm -r d/sub && printf f >d/sub"), sh("rm d/sub && mkdir d/sub && printf n >d/sub/n"), sh("rm -r d/sub && printf f >d/sub")}},
	{"a directory in place of a file", []step{sh("rm d/a && mkdir d/a && printf i >d/a/i"), sh("rm -r d/a && printf a >d/a"), sh("rm d/a && mkdir d/a")}},
	{"a link in place of a directory", []step{sh("rm -r d && ln -s e d"), sh("rm d && mkdir d && printf d >d/d")}},
	{"a directory in place of a link", []step{sh("rm d/ls && mkdir d/ls && printf i >d/ls/i"), sh("rm -r d/ls && ln -s sub d/ls")}},
	{"a file in place of a fifo", []step{sh("rm d/p && printf p >d/p"), sh("rm d/p && mkfifo d/p")}},
	{"a renamed file", []step{sh("mv d/a d/z"), sh("mv d/z e/a")}},
	{"a file renamed over another", []step{sh("mv d/a d/b"), sh("mv d/sub/c h1")}},
	{"a renamed directory", []step{sh("mv d f"), sh("mv f d"), sh("mv d/sub d/other && mkdir d/sub")}},
	{"directories that change places", []step{sh("mv d t && mv e d && mv t e")}},
	{"a renamed new directory", []step{sh("mkdir n && printf x >n/x && mv n o && mkdir n")}},
	{"a directory moved into another", []step{sh("mv d/sub e/"), sh("rm -r e/sub/deep && printf x >e/sub/x")}},
	{"new hard links", []step{sh("printf x >n1; ln n1 n2; ln n1 d/n3"), sh("rm n1")}},
	{"a hard link to a file below", []step{sh("ln d/a d/hard")}},
	{"hard links removed", []step{sh("rm h1 h2 e/h3"), sh("printf x >h2; ln h2 h1")}},
	{"one of several names removed", []step{sh("rm h1"), sh("printf n >n && mv n e/h3"), sh("chmod 600 h2")}},
	{"names removed of what has changed", []step{sh("rm h1; printf 6 >h2; touch -d @1000000000 h2"), sh("rm h2; chown 5:6 e/h3; touch -d @1000000000 e/h3")}},
	{"a name removed, and an attribute", []step{func(dir string) error {
		return errors.Join(os.Remove(filepath.Join(dir, "h1")), xattr("h2", "user.x", "y")(dir))
	}}},
	{"links that become files", []step{sh("rm h2 e/h3 && mkdir h2; rm h1; printf 5 >h1")}},
	{"odd names", []step{sh(`printf x >'with space'; printf x >"$(printf 'new\nline')"; printf x >"$(printf 'no\377utf8')"; printf x >-; printf x >.w; printf x >'back\slash'; printf x >d/ä`),
		sh(`rm 'with space' "$(printf 'no\377utf8')"`)}},
	{"long names", []step{longNames}},
	{"a large and a sparse file", []step{sh("yes oakum | head -c 300000 >large; truncate -s 200000 sparse")}},
	{"attributes", []step{xattr("d/a", "user.colour", "blue\x00\xff"), xattr("d/a", "user.colour", "red"), xattr("d/sub", "user.x", "")}},
	{"attributes removed", []step{xattr("e", "user.a", "1"), noXattr("e", "user.a"), xattr("e", "user.a", "1"), sh("rm -r e; mkdir e")}},
	{"a capability", []step{func(dir string) error {
		return xattr("d/sub/c", "security.capability", "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")(dir)
	}}},
}

// deviceCases are for who may make devices.
var deviceCases = []step{sh("mknod -m 600 null c 1 3; mknod disk b 7 200; chown 3:4 disk"), sh("rm null; mknod null b 1 3")}

func longNames(dir string) error {
	name := strings.Repeat("n", 255)
	deep := filepath.Join(dir, name, name, name, name)
	return errors.Join(os.MkdirAll(deep, 0o755), os.WriteFile(filepath.Join(deep, name), []byte("x"), 0o644))
}

// changes makes layers on top of each other, in which each case changes a directory of its own.
// What one leaves in its workspace is what is seen of its layer, in this store and in one that
// has pulled it; the layer's stream says what has changed and nothing else; and no layer
// below is another one than before.
func changes(t *testing.T, open Implementation) {
	m := start(t, open)
	all := cases
	if tarfilter.MayMakeDevices() {
		all = append(slices.Clone(all), caseOf{"devices", deviceCases})
	}
	layers := []*storage.Layer{m.make(t, nil, workspace.Change{}, func(dir string) error {
		for i := range all {
			if err := inCase(dir, i, sh(before)); err != nil {
				return err
			}
		}
		return nil
	})}
	seen := []files{m.see(t, layers[0])}
	for n := range slices.MaxFunc(all, func(a, b caseOf) int { return len(a.steps) - len(b.steps) }).steps {
		var inside files
		l, err := m.Make(t.Context(), layers[n], workspace.Change{}, func(w workspace.Workspace) (err error) {
			if err := allSteps(fdPath(w.Root()), all, n); err != nil {
				return err
			}
			inside, err = describe(w)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		layers, seen = append(layers, l), append(seen, m.see(t, l))
		same(t, fmt.Sprintf("layer %d", n+1), seen[n+1].counted(), inside.counted())
		if len(inside) < 500 {
			t.Fatalf("only %d files", len(inside))
		}
	}
	for n, l := range layers {
		same(t, fmt.Sprintf("layer %d afterwards", n), m.see(t, l), seen[n])
	}
	dir := m.image(t, layers[len(layers)-1])
	for n, e := range entries(t, dir) {
		from := files{}
		if n > 0 {
			from = seen[n-1]
		}
		if got, want := told(e, from, seen[n]), difference(from, seen[n]); !slices.Equal(got, want) {
			t.Errorf("layer %d says %q, want %q", n, but(got, want), but(want, got))
		}
	}
	same(t, "elsewhere", elsewhere(t, start(t, open), dir), seen[len(seen)-1])
}

// allSteps does the step n of all cases.
func allSteps(dir string, all []caseOf, n int) error {
	for i, c := range all {
		if n >= len(c.steps) {
			continue
		}
		if err := inCase(dir, i, c.steps[n]); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// inCase does a step in the directory of a case.
func inCase(dir string, i int, s step) error {
	dir = filepath.Join(dir, fmt.Sprint(i))
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return s(dir)
}

// but are those that are not among others.
func but(these, others []string) []string {
	return slices.DeleteFunc(slices.Clone(these), func(s string) bool { return slices.Contains(others, s) })
}

// rootDirectory changes what belongs to the root itself, of which layers say nothing.
func rootDirectory(t *testing.T, open Implementation) {
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh("mkdir d; touch d/f g"))
	for name, do := range map[string]step{
		"mode": sh("chmod 1777 ."), "owner": sh("chown 7:8 ."), "attribute": xattr(".", "user.x", "y"), "all": sh("chmod 0 . && chown 7:8 ."),
	} {
		for _, on := range []*storage.Layer{nil, below} {
			l := m.make(t, on, workspace.Change{}, do)
			if got := m.see(t, l)["."]; got != "40555 0:0" {
				t.Errorf("%s: the root is %q", name, got)
			}
			if notices := strings.Join(l.Notices(), " "); !strings.Contains(notices, " of / ") {
				t.Errorf("%s: told %q", name, notices)
			}
			if got := m.top(t, l); got != "" {
				t.Errorf("%s: the layer has %s", name, got)
			}
		}
	}
	l := m.make(t, below, workspace.Change{}, sh("rm -r d g; touch h"))
	if got := m.top(t, l); got != ".wh.d .wh.g h" {
		t.Errorf("removed in the root: %s", got)
	}
	if got := m.see(t, l).names(); got != ". h" {
		t.Errorf("left in the root: %s", got)
	}
}

// fewerNames takes names from a file that has several, of which the layer says nothing more.
func fewerNames(t *testing.T, open Implementation) {
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh("printf 5 >h1; ln h1 h2; ln h1 h3; ln -s h1 l1; ln l1 l2"))
	for do, want := range map[string]string{
		"rm h1": ".wh.h1", "rm h1 h2": ".wh.h1 .wh.h2", "printf n >n && mv n h2": "h2", "rm l1": ".wh.l1", "rm h2; mkdir h2": "h2/ h2/.wh..wh..opq",
	} {
		l := m.make(t, below, workspace.Change{}, sh(do))
		if got := m.top(t, l); got != want {
			t.Errorf("%s: the layer has %s, want %s", do, got, want)
		}
		if got := m.top(t, m.make(t, l, workspace.Change{}, sh("touch next"))); got != "next" {
			t.Errorf("%s: the next layer has %s", do, got)
		}
	}
}

// unfit are files that no layer can hold. Nothing of the change is left.
func unfit(t *testing.T, open Implementation) {
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh("mkdir d; touch d/f"))
	count := m.layers(t)
	for name, do := range map[string]step{
		"the name of a whiteout":    sh("touch d/.wh.f"),
		"of an opaque directory":    sh("mkdir -p new/.wh..wh..opq"),
		"a path that is too long":   tooLong,
		"the device of a whiteout":  device("d/f"),
		"a new one":                 device("new"),
		"one in a new directory":    sh("mkdir -p n/o; mknod n/o/p c 0 0"),
		"one with other attributes": sh("mknod q c 0 0; chown 5:6 q; chmod 600 q"),
	} {
		for _, c := range []workspace.Change{{}, {Apart: true}, {Mounts: []string{"/dev/"}}} {
			for _, on := range []*storage.Layer{nil, below} {
				l, err := m.Make(t.Context(), on, c, in(sh("mkdir -p d"), do))
				if err == nil {
					t.Errorf("%s: %+v makes a layer: %v", name, c, m.see(t, l))
				} else if strings.Contains(name, "name") && !errors.Is(err, tarfilter.ErrUnfit) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	if now := m.layers(t); now != count {
		t.Errorf("%d layers instead of %d", now, count)
	}
}

// device puts a device with the numbers of a whiteout in place of a file.
func device(name string) step {
	return func(dir string) error {
		os.Remove(filepath.Join(dir, name))
		return unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR|0o644, 0)
	}
}

func tooLong(dir string) error {
	at, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	name := strings.Repeat("n", 250)
	for range 17 {
		if err := at.Mkdir(name, 0o755); err != nil {
			return err
		}
		next, err := at.OpenRoot(name)
		at.Close()
		if err != nil {
			return err
		}
		at = next
	}
	return at.Close()
}

// attributes are those in which storage drivers keep book: they never mean anything, and are in
// no layer.
func attributes(t *testing.T, open Implementation) {
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh("mkdir d e; touch d/a e/b"))
	own := []string{"user.overlay.opaque", "user.overlay.whiteout", "user.overlay.redirect", "user.overlay.metacopy", "user.overlay.overlay.opaque",
		"user.containers.override_stat", "user.fuseoverlayfs.opaque", "user.rootlesscontainers"}
	if !Rootless() {
		own = append(own, "trusted.overlay.opaque", "trusted.overlay.redirect")
	}
	do := []step{sh("mkdir -p d n; touch d/new n/f")}
	for _, attr := range own {
		for _, name := range []string{"d", "d/new", "n", "n/f"} {
			do = append(do, xattr(name, attr, "y"), xattr(name, "user.mine", "1"))
		}
	}
	for _, c := range []workspace.Change{{}, {Apart: true}, {Mounts: []string{"/proc/"}}} {
		for _, on := range []*storage.Layer{nil, below} {
			l := m.make(t, on, c, do...)
			seen := m.see(t, l)
			for _, name := range []string{"d", "d/new", "n", "n/f"} {
				if !strings.HasSuffix(seen[name], ` user.mine="1"`) || strings.Count(seen[name], "user.") != 1 {
					t.Errorf("%+v: %s is %s", c, name, seen[name])
				}
			}
			if on != nil && (seen["d/a"] == "" || seen["e/b"] == "") {
				t.Errorf("%+v: hidden: %s", c, seen.names())
			}
			if text := strings.Join(l.Notices(), " "); !strings.Contains(text, "storage drivers") || strings.Contains(text, "overlay.overlay.overlay") {
				t.Errorf("%+v: told %q", c, text)
			}
			for _, h := range slices.Concat(entries(t, m.image(t, l))...) {
				for key := range h.PAXRecords {
					if strings.HasPrefix(key, "SCHILY.xattr.") && key != "SCHILY.xattr.user.mine" {
						t.Errorf("%+v: %s has %s", c, h.Name, key)
					}
				}
			}
		}
	}
}

// times limits those of the layer's files, and of no others.
func times(t *testing.T, open Implementation) {
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh(before), sh("touch -d @1700000000 d/b"))
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	do := sh("touch -d @900000000 old; mkdir n; touch -d @1600000000 n/f; ln -s f n/l; mkfifo n/p; rm d/sub/c; ln n/f n/h; touch -d @1234567890 n")
	for _, test := range []struct {
		limits []workspace.Times
		want   map[string]int64
	}{
		{[]workspace.Times{{Limit: at(1300000000)}}, map[string]int64{"old": 900000000, "n/f": 1300000000, "n": 1234567890, "n/l": 1300000000, "n/p": 1300000000, "d/sub": 1300000000}},
		{[]workspace.Times{{Limit: at(1300000000), All: true}}, map[string]int64{"old": 1300000000, "n/f": 1300000000, "n": 1300000000, "n/l": 1300000000, "d/sub": 1300000000}},
		{[]workspace.Times{{Limit: at(0), All: true}, {Limit: at(1300000000)}}, map[string]int64{"old": 0, "n/f": 0, "n": 0, "n/h": 0}},
		{[]workspace.Times{{Limit: at(1500000000)}, {Limit: at(1100000000), All: true}}, map[string]int64{"old": 1100000000, "n/f": 1100000000, "n": 1100000000}},
	} {
		for _, c := range []workspace.Change{{Times: test.limits}, {Times: test.limits, Mounts: []string{"/etc/hosts"}}} {
			l := m.make(t, below, c, do)
			seen := m.see(t, l)
			test.want["d/a"], test.want["d/b"] = 1000000000, 1700000000
			for name, want := range test.want {
				if text := " at " + at(want).UTC().Format(time.DateTime); !strings.Contains(seen[name], text) {
					t.Errorf("%+v: %s is %s, want%s", test.limits, name, seen[name], text)
				}
			}
			for _, h := range entries(t, m.image(t, l))[1] {
				if limit := slices.MaxFunc(test.limits, func(a, b workspace.Times) int { return a.Limit.Compare(b.Limit) }).Limit; h.ModTime.After(limit) {
					t.Errorf("%+v: %s is of %v", test.limits, h.Name, h.ModTime)
				}
			}
			// Their new times are no change of the next layer's.
			if got := m.top(t, m.make(t, l, workspace.Change{}, sh("touch next"))); got != "next" {
				t.Errorf("%+v: the next layer has %s", test.limits, got)
			}
		}
	}
}
