//go:build linux

package passwd

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/limits"
)

// rootfs is a directory with the given files.
func rootfs(t testing.TB, files map[string]string) *os.File {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(text, "-> "); link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

var users = map[string]string{
	"etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n# a comment\nbad line\n12:x:500:501::/odd:\n",
	"etc/group":  "root:x:0:\napps:x:1001:\nextra:x:2000:app,root\n7:x:70:\n",
}

func TestLookupUser(t *testing.T) {
	t.Parallel()
	tests := []struct {
		spec string
		want User
	}{
		{"", User{0, 0, []int{0, 2000}, "/root"}},
		{"root", User{0, 0, []int{0, 2000}, "/root"}},
		{"0", User{0, 0, []int{0, 2000}, "/root"}},
		{"app", User{1000, 1001, []int{1001, 2000}, "/home/app"}},
		{"1000", User{1000, 1001, []int{1001, 2000}, "/home/app"}},
		{"app:extra", User{1000, 2000, []int{2000}, "/home/app"}},
		{"app:0", User{1000, 0, []int{0}, "/home/app"}},
		{"5", User{5, 0, []int{0}, "/"}},
		{"5:6", User{5, 6, []int{6}, "/"}},
		{":extra", User{0, 2000, []int{2000}, "/root"}},
		{"app:", User{1000, 1001, []int{1001, 2000}, "/home/app"}},
	}
	root := rootfs(t, users)
	for _, test := range tests {
		got, err := LookupUser(root, test.spec)
		if err != nil || got.UID != test.want.UID || got.GID != test.want.GID || got.Home != test.want.Home || !slices.Equal(got.Groups, test.want.Groups) {
			t.Errorf("%q: got %+v, %v, want %+v", test.spec, got, err, test.want)
		}
	}
	for _, spec := range []string{"nobody", "app:nobody", "-1", "5:-1", "99999999999", "5:99999999999", "ap", "app ", "a:b:c"} {
		if got, err := LookupUser(root, spec); !errors.Is(err, errdefs.ErrUserNotFound) {
			t.Errorf("%q: got %+v, %v, want errdefs.ErrUserNotFound", spec, got, err)
		}
	}
}

func TestLookupOwner(t *testing.T) {
	t.Parallel()
	root := rootfs(t, users)
	for spec, want := range map[string][2]int{
		"0": {0, 0}, "5": {5, 5}, "1000": {1000, 1000}, "5:6": {5, 6}, "app": {1000, 1001}, "app:extra": {1000, 2000}, "app:9": {1000, 9},
		":extra": {0, 2000}, ":9": {0, 9}, "7:apps": {7, 1001}, "root": {0, 0},
		"1000:": {1000, 1000}, "5:": {5, 5}, "app:": {1000, 1001}, "root:": {0, 0}, "root:root": {0, 0}, "app:root": {1000, 0}, ":": {0, 0},
	} {
		uid, gid, err := LookupOwner(root, spec)
		if err != nil || uid != want[0] || gid != want[1] {
			t.Errorf("%q: got %d:%d, %v, want %v", spec, uid, gid, err, want)
		}
	}
	for _, spec := range []string{"1:2:3", "nobody", "app:nobody", "-1", "-1:0", "4294967295", "99999999999999999999"} {
		if uid, gid, err := LookupOwner(root, spec); !errors.Is(err, errdefs.ErrUserNotFound) {
			t.Errorf("%q: got %d:%d, %v, want errdefs.ErrUserNotFound", spec, uid, gid, err)
		}
	}
}

// The directory of a WORKDIR is root's where the user is unknown.
func TestLookupDirOwner(t *testing.T) {
	t.Parallel()
	root := rootfs(t, users)
	for spec, want := range map[string][2]int{
		"": {0, 0}, "app": {1000, 1001}, "5": {5, 5}, "none": {0, 0}, "none:extra": {0, 2000}, "app:none": {1000, 1001}, "5:none": {5, 5}, "none:none": {0, 0}, ":none": {0, 0}, "none:7": {0, 7},
	} {
		uid, gid, err := LookupDirOwner(root, spec)
		if err != nil || uid != want[0] || gid != want[1] {
			t.Errorf("%q: got %d:%d, %v, want %v", spec, uid, gid, err, want)
		}
	}
}

// A root file system may have anything, or nothing, where its users should be.
func TestLookupInOddFiles(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(outside, []byte("evil:x:666:666::/:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		files map[string]string
		spec  string
		uid   int // -1 is an error
	}{
		{"nothing", nil, "5", 5},
		{"nothing by name", nil, "app", -1},
		{"a file for a directory", map[string]string{"etc": "x"}, "5", 5},
		{"a link inside", map[string]string{"etc/passwd": "-> ../usr/passwd", "usr/passwd": "in:x:8:8::/:\n"}, "in", 8},
		{"an absolute link inside", map[string]string{"etc/passwd": "-> /usr/passwd", "usr/passwd": "in:x:8:8::/:\n"}, "in", 8},
		{"a link out", map[string]string{"etc/passwd": "-> " + outside}, "evil", -1},
		{"a link up", map[string]string{"etc/passwd": "-> ../../../../../../../../../../.." + outside}, "evil", -1},
		{"the directory out", map[string]string{"etc": "-> " + filepath.Dir(outside)}, "evil", -1},
		{"a loop", map[string]string{"etc/passwd": "-> passwd"}, "5", -1},
		{"a directory", map[string]string{"etc/passwd/x": "x"}, "5", -1},
		{"no lines", map[string]string{"etc/passwd": strings.Repeat("x", 1<<20)}, "5", -1},
	}
	for _, test := range tests {
		root := rootfs(t, test.files)
		u, err := LookupUser(root, test.spec)
		if (err != nil) != (test.uid < 0) || err == nil && u.UID != test.uid {
			t.Errorf("%s: got %+v, %v, want %d", test.name, u, err, test.uid)
		}
	}
	root := rootfs(t, map[string]string{"etc/group": ""})
	if err := unix.Mkfifo(filepath.Join(root.Name(), "etc/passwd"), 0o600); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { panic("a pipe is waited for") })
	defer timer.Stop()
	if _, err := LookupUser(root, "5"); err == nil {
		t.Error("a pipe was read")
	}
}

// Files that are made to fill the memory: what is looked for is found without keeping the
// rest, and what is beyond a limit is an error that names it.
func TestLookupInHugeFiles(t *testing.T) {
	many := "root:x:0:0::/root:\n"
	groups := strings.Repeat("g:x:7:root\n", limits.MaxGroups-1)
	crowd := "crowd:x:8:" + strings.Repeat("nobody,", 100_000) + "\n"
	root := rootfs(t, map[string]string{"etc/passwd": many, "etc/group": strings.Repeat(crowd, 20) + groups})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	u, err := LookupUser(root, "root")
	runtime.ReadMemStats(&after)
	if err != nil || len(u.Groups) != limits.MaxGroups {
		t.Errorf("%d groups, %v", len(u.Groups), err)
	}
	if grown := after.Sys - before.Sys; grown > 128<<20 {
		t.Errorf("the look-up took %d MB", grown>>20)
	}

	for name, files := range map[string]map[string]string{
		"groups": {"etc/passwd": many, "etc/group": groups + "g:x:7:root\ng:x:7:root\n"},
		"lines":  {"etc/passwd": many, "etc/group": strings.Repeat(strings.Repeat("g", 1000)+":x:7:\n", limits.MaxUserFile/1000)},
		"line":   {"etc/passwd": strings.Repeat("x", 1<<17)},
		"group":  {"etc/passwd": many, "etc/group": strings.Repeat("x", 1<<21)},
	} {
		var limit *limits.LimitError
		if _, err := LookupUser(rootfs(t, files), "root"); !errors.As(err, &limit) || !strings.HasPrefix(limit.Name, "/etc/") {
			t.Errorf("too many or too long %s: %v", name, err)
		}
	}
	// What is found first is not looked for in the rest.
	beyond := rootfs(t, map[string]string{"etc/passwd": many + strings.Repeat("x", 1<<17)})
	if _, err := LookupUser(beyond, "0:0"); err != nil {
		t.Error(err)
	}
}

func FuzzLookupUser(f *testing.F) {
	f.Add("app:extra", users["etc/passwd"], users["etc/group"])
	f.Add("0", "", "")
	f.Add("a", "a:::::", "b::::")
	root := rootfs(f, users)
	f.Fuzz(func(t *testing.T, spec, passwd, group string) {
		for name, text := range map[string]string{"etc/passwd": passwd, "etc/group": group} {
			if err := os.WriteFile(filepath.Join(root.Name(), name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		u, err := LookupUser(root, spec)
		if err == nil && (u.UID < 0 || u.GID < 0 || len(u.Groups) == 0 || slices.Min(u.Groups) < 0) {
			t.Errorf("%q: %+v", spec, u)
		}
		if uid, gid, err := LookupOwner(root, spec); err == nil && (uid < 0 || gid < 0) {
			t.Errorf("%q: %d:%d", spec, uid, gid)
		}
	})
}
