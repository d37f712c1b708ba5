//go:build linux

package userns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMapArgs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ranges []idRange
		want   string
	}{
		{nil, "0 1000 1"},
		{[]idRange{{100000, 65536}}, "0 1000 1 1 100000 65536"},
		{[]idRange{{100000, 10}, {300000, 20}}, "0 1000 1 1 100000 10 11 300000 20"},
	} {
		if got := mapArgs(1000, test.ranges); !slices.Equal(got, strings.Fields(test.want)) {
			t.Errorf("%v: got %q, want %q", test.ranges, got, test.want)
		}
	}
}

// A user's good lines count, by name or number, whatever other lines say.
func TestParseSubids(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]subids{
		"":                           {},
		"me:100000:65536\n":          {own: []idRange{{100000, 65536}}, all: []idRange{{100000, 65536}}},
		"1000:100000:65536":          {own: []idRange{{100000, 65536}}, all: []idRange{{100000, 65536}}},
		"you:100000:65536\n":         {all: []idRange{{100000, 65536}}},
		"# me:1:2:3\n\nyou:x\n:::\n": {},
		"me2:1:2\nm:3:4\n":           {all: []idRange{{1, 2}, {3, 4}}},
		"broken\nme:5:6\n1000:20:1":  {own: []idRange{{5, 6}, {20, 1}}, all: []idRange{{5, 6}, {20, 1}}},
		"me:abc:6\nme:5:6\n":         {own: []idRange{{5, 6}}, all: []idRange{{5, 6}}, bad: []string{`line 1, "me:abc:6"`}},
		"me:5\nme:5:6:7\nme:5:0\nme:-5:6\nme:4294967290:6\n": {bad: []string{
			`line 1, "me:5"`, `line 2, "me:5:6:7"`, `line 3, "me:5:0"`, `line 4, "me:-5:6"`, `line 5, "me:4294967290:6"`}},
		"me:10:10\n1000:10:10\nme:15:10\n": {own: []idRange{{10, 10}}, all: []idRange{{10, 10}, {10, 10}, {15, 10}}},
	} {
		if got := parseSubids([]byte(text), "me", "1000"); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

// The range that is proposed is nobody's.
func TestSubidFault(t *testing.T) {
	t.Parallel()
	const none = "user me has no subordinate ids in "
	for _, test := range []struct{ subuid, subgid, missing, fix string }{
		{"", "", none + "/etc/subuid and /etc/subgid", "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 me"},
		{"you:100000:65536\n", "you:165536:65536\n", none + "/etc/subuid and /etc/subgid", "sudo usermod --add-subuids 231072-296607 --add-subgids 231072-296607 me"},
		{"me:100000:65536\n", "a:200000:65536\nb:300000:5\nc:90000:20000", none + "/etc/subgid", "sudo usermod --add-subgids 300005-365540 me"},
		{"me:abc:6\n", "me:100000:65536\n", none + `/etc/subuid (line 1, "me:abc:6", is not NAME:FIRST:COUNT)`, "sudo usermod --add-subuids 165536-231071 me"},
		{"me:1:2\n", "me:3:4\n", "", ""},
	} {
		fault := subidFault("me", []subids{parseSubids([]byte(test.subuid), "me"), parseSubids([]byte(test.subgid), "me")})
		if fault == nil {
			fault = &Fault{}
		}
		if fault.Missing != test.missing || fault.Fix != test.fix {
			t.Errorf("%q, %q: got\n%s\n%s\nwant\n%s\n%s", test.subuid, test.subgid, fault.Missing, fault.Fix, test.missing, test.fix)
		}
	}
}

// What keeps newuidmap from its rights is named, not only its mode.
func TestMapperFix(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "newuidmap")
	if err := os.WriteFile(plain, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := mapperFix(plain); got != "sudo chmod u+s "+plain {
		t.Error(got)
	}
	path, err := exec.LookPath("newuidmap")
	if err != nil {
		t.Fatal(err)
	}
	if got := mapperFix(path); !strings.HasPrefix(got, fmt.Sprintf("check that %s belongs to root", path)) {
		t.Error(got)
	}
	done := make(chan string)
	go func() {
		runtime.LockOSThread() // the thread ends with its no_new_privs
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
		}
		done <- mapperFix(path)
	}()
	if got := <-done; !strings.HasPrefix(got, "no_new_privs is set") {
		t.Error(got)
	}
}

// All that is missing is said at once.
func TestMissingMappers(t *testing.T) {
	t.Parallel()
	for have, want := range map[string]string{
		"": "newuidmap and newgidmap are not installed", "newuidmap": "newgidmap is not installed", "newuidmap newgidmap": "",
	} {
		fault := missingMappers(func(name string) (string, error) {
			if strings.Contains(have, name) {
				return name, nil
			}
			return "", exec.ErrNotFound
		})
		got := ""
		if fault != nil {
			got = fault.Missing
		}
		if got != want {
			t.Errorf("with %q: got %q, want %q", have, got, want)
		}
	}
	a, b := &Fault{Missing: "a", Fix: "x"}, &Fault{Missing: "b", Fix: "y"}
	if both(nil, nil) != nil || both(a, nil) != a || both(nil, b) != b {
		t.Error("one fault is not itself")
	}
	if got := both(a, b); got.Missing != "a; b" || got.Fix != "x; y" {
		t.Errorf("got %+v", got)
	}
}
