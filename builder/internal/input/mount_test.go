package input

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/builder/mount"
)

func bind(patterns ...string) *Source {
	return &Source{Dir: "/d", Selection: filecopy.Selection{Patterns: patterns}}
}

func TestCheckMounts(t *testing.T) {
	t.Parallel()
	tmpfs := func(target string) Mount { return Mount{Target: target, Tmpfs: &mount.Tmpfs{}} }
	cache := func(c mount.Cache) Mount { return Mount{Target: "/c", Cache: &c} }
	for _, test := range []struct {
		mounts []Mount
		want   string // in the error; "" is none
	}{
		{nil, ""},
		{[]Mount{tmpfs("/a"), tmpfs("/a/b"), tmpfs("/b"), tmpfs("/dev/shm"), tmpfs("/dev/shm/x"), tmpfs("/devices"), tmpfs("/process/x")}, ""},
		{[]Mount{{Target: "/a"}}, "the mount on /a: it must be one"},
		{[]Mount{{Target: "/a", Tmpfs: &mount.Tmpfs{}, Bind: bind()}}, "the bind and tmpfs mount on /a: it must be one"},
		{[]Mount{{Target: "/a", Cache: &mount.Cache{ID: "x"}, Secret: &mount.Secret{}}}, "the cache and secret mount on /a"},
		{[]Mount{{Target: "/a", Cache: &mount.Cache{ID: "x"}, Bind: bind("sub")}}, ""},
		{[]Mount{tmpfs("")}, "the tmpfs mount without a target: it needs a target"},
		{[]Mount{{Secret: &mount.Secret{Env: "A"}}, {Secret: &mount.Secret{Env: "B"}}}, ""},
		{[]Mount{{Secret: &mount.Secret{}}}, "needs a target"},
		{[]Mount{tmpfs("a")}, `"a" is no absolute path`},
		{[]Mount{tmpfs("/a/../b")}, "is no absolute path"},
		{[]Mount{tmpfs("/a\x00")}, "is no absolute path"},
		{[]Mount{tmpfs("/" + strings.Repeat("a/", 2046) + "aa")}, ""},
		{[]Mount{tmpfs("/" + strings.Repeat("a/", 2047) + "a")}, "a path of 4096 bytes, and the kernel takes 4095"},
		{[]Mount{tmpfs("/")}, "over /;"},
		{[]Mount{tmpfs("/proc")}, "for /proc shows the machine"}, {[]Mount{tmpfs("/proc/sys/kernel")}, "for /proc shows the machine"}, {[]Mount{tmpfs("/sys/fs")}, "for /sys shows the machine"},
		{[]Mount{tmpfs("/dev")}, "for /dev shows the machine"}, {[]Mount{tmpfs("/dev/pipes")}, "for /dev shows the machine"}, {[]Mount{tmpfs("/dev/shmem")}, "for /dev shows the machine"},
		{[]Mount{tmpfs("/a"), {Target: "/b", Bind: bind()}, {Target: "/a", Bind: bind()}}, "the tmpfs mount on /a and the bind mount on /a have the same target"},
		{[]Mount{{Target: "/a", Bind: bind("a", "b")}}, `one file or directory, and 2 are named: ["a" "b"]`},
		{[]Mount{{Target: "/a", Bind: bind("a*")}}, `"a*" may be several`}, {[]Mount{{Target: "/a", Bind: bind(`a\*\\[b`)}}, "may be several"},
		{[]Mount{{Target: "/a", Bind: bind(`a\*\\\[b`)}}, ""},
		{[]Mount{{Target: "/a", Bind: &Source{}}}, "names no files"},
		{[]Mount{{Target: "/a", Bind: &Source{Dir: "/d", Chown: "1"}}}, "no meaning for a mount"},
		{[]Mount{{Target: "/a", Bind: &Source{Dir: "/d", Chmod: "700"}}}, "no meaning for a mount"},
		{[]Mount{{Target: "/a", Bind: &Source{Dir: "/d", Selection: filecopy.Selection{Parents: true}}}}, "no meaning for a mount"},
		{[]Mount{cache(mount.Cache{ID: "../../x", Sharing: mount.Locked, Mode: fs.ModeSticky | 0o777, UID: 1, GID: 1})}, ""},
		{[]Mount{cache(mount.Cache{})}, "needs an id"},
		{[]Mount{cache(mount.Cache{ID: "x", Sharing: "shared?"})}, `its sharing is "shared?"`},
		{[]Mount{cache(mount.Cache{ID: "x", Mode: fs.ModeDir | 0o755})}, "its mode"}, {[]Mount{cache(mount.Cache{ID: "x", Mode: 0o1777})}, "its mode"},
		{[]Mount{cache(mount.Cache{ID: "x", UID: -1})}, "-1 is not the id"}, {[]Mount{cache(mount.Cache{ID: "x", GID: 1<<32 - 1})}, "4294967295 is not the id"},
		{[]Mount{{Target: "/a", Tmpfs: &mount.Tmpfs{Size: -1}}}, "its size is -1"}, {[]Mount{{Target: "/a", Tmpfs: &mount.Tmpfs{Mode: fs.ModeNamedPipe}}}, "its mode"},
		{[]Mount{{Target: "/a", Secret: &mount.Secret{GID: -5}}}, "-5 is not the id"}, {[]Mount{{Target: "/a", SSH: &mount.SSH{UID: -6}}}, "-6 is not the id"},
	} {
		err := CheckMounts(test.mounts)
		if test.want == "" && err == nil {
			continue
		}
		if test.want == "" || !errors.Is(err, limits.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.200s: %.200v, want %q", fmt.Sprintf("%+v", test.mounts), err, test.want)
		}
	}
}

func TestSelected(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"": ".", ".": ".", "/": ".", "a/b": "a/b", "/a//b/": "a/b", "../../a": "a", `a\*b`: "a*b", `a\\b`: `a\b`, `a\`: `a\`, `\a`: "a",
	} {
		if got := bind(pattern).Selected(); got != want {
			t.Errorf("%q is %q, want %q", pattern, got, want)
		}
	}
	if got := bind().Selected(); got != "." {
		t.Errorf("nothing selected is %q", got)
	}
}

func TestMountOrder(t *testing.T) {
	t.Parallel()
	var mounts []Mount
	for _, target := range []string{"/a/b/c", "/z", "/a", "", "/a/b", "/y/x"} {
		mounts = append(mounts, Mount{Target: target})
	}
	if got := MountOrder(mounts); !slices.Equal(got, []int{3, 1, 2, 4, 5, 0}) {
		t.Errorf("the order is %v", got)
	}
}
