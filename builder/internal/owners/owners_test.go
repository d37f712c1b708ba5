//go:build linux

package owners

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners/ownerstest"
)

// kinds runs a test as several users.
func kinds(t *testing.T, test func(t *testing.T, dir *os.File, o *Owners)) {
	ownerstest.Kinds(t, func(t *testing.T, path string) {
		dir, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		test(t, dir, New())
	})
}

// netRaw is a file's capabilities, as they are kept.
var netRaw = []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

func ok(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func create(t *testing.T, dir *os.File, name string) {
	t.Helper()
	ok(t, os.WriteFile(dir.Name()+"/"+name, nil, 0o644))
}

func shown(t *testing.T, o *Owners, dir *os.File, name string) string {
	t.Helper()
	var st unix.Stat_t
	ok(t, o.Stat(dir, name, &st))
	return fmt.Sprintf("%o %d:%d %d", st.Mode, st.Uid, st.Gid, st.Rdev)
}

func expect(t *testing.T, o *Owners, dir *os.File, name, want string) {
	t.Helper()
	if got := shown(t, o, dir, name); got != want {
		t.Errorf("%s is %s, want %s", name, got, want)
	}
}

// What is asked for is there, whoever asks, and whatever of it is remembered.
func TestAsked(t *testing.T) {
	kinds(t, func(t *testing.T, dir *os.File, o *Owners) {
		create(t, dir, "f")
		ok(t, o.Chown(dir, "f", 0, 0), o.Chmod(dir, "f", 0o644))
		expect(t, o, dir, "f", "100644 0:0 0")
		ok(t, o.Chown(dir, "f", 1000, 33), o.Chmod(dir, "f", 0o6050))
		expect(t, o, dir, "f", "106050 1000:33 0")

		ok(t, os.Mkdir(dir.Name()+"/d", 0o755), o.Chown(dir, "d", 70000, 70001), o.Chmod(dir, "d", 0o3000))
		expect(t, o, dir, "d", "43000 70000:70001 0")
		sub, err := os.OpenFile(dir.Name()+"/d", unix.O_PATH, 0)
		ok(t, err)
		defer sub.Close()
		ok(t, o.Chown(sub, "", 5, 6), o.Chmod(sub, "", 0o1000))
		expect(t, o, sub, "", "41000 5:6 0")
		create(t, sub, "in it") // whatever its permissions

		ok(t, os.Symlink("f", dir.Name()+"/l"), o.Chown(dir, "l", 7, 8), o.Chmod(dir, "l", 0o600))
		expect(t, o, dir, "l", "120777 7:8 0")
		expect(t, o, dir, "f", "106050 1000:33 0")

		ok(t, o.Mknod(dir, "null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3)), o.Chown(dir, "null", 0, 9), o.Chmod(dir, "null", 0o620))
		expect(t, o, dir, "null", "20620 0:9 259")
		var none *Owners
		var real unix.Stat_t
		if ok(t, none.Stat(dir, "null", &real)); real.Mode&unix.S_IFMT != unix.S_IFREG {
			t.Errorf("there is a node of a device, %o", real.Mode)
		}
		ok(t, o.Mknod(dir, "pipe", unix.S_IFIFO|0o600, 0), o.Chmod(dir, "pipe", 0o604))
		expect(t, o, dir, "pipe", "10604 0:0 0")
	})
}

// What is remembered is that of the file, whatever it is called, and of no other.
func TestFollows(t *testing.T) {
	kinds(t, func(t *testing.T, dir *os.File, o *Owners) {
		create(t, dir, "f")
		ok(t, o.Chown(dir, "f", 70000, 70000), o.Chmod(dir, "f", 0o4755))
		ok(t, os.Rename(dir.Name()+"/f", dir.Name()+"/g"), os.Link(dir.Name()+"/g", dir.Name()+"/h"))
		create(t, dir, "f")
		ok(t, o.Chown(dir, "f", 0, 0), o.Chmod(dir, "f", 0o644))
		expect(t, o, dir, "g", "104755 70000:70000 0")
		expect(t, o, dir, "h", "104755 70000:70000 0")
		expect(t, o, dir, "f", "100644 0:0 0")

		// A number that is used again, as file systems do at once.
		ok(t, o.Unlink(dir, "h", 0))
		expect(t, o, dir, "g", "104755 70000:70000 0")
		for range 20 {
			ok(t, o.Unlink(dir, "g", 0))
			create(t, dir, "g")
			ok(t, o.Chmod(dir, "g", 0o644))
			expect(t, o, dir, "g", "100644 0:0 0")
			ok(t, o.Chown(dir, "g", 70000, 70000))
		}
		ok(t, o.Unlink(dir, "g", 0), o.Unlink(dir, "f", 0))
		if len(o.files) != 0 {
			t.Errorf("%d files that are gone are remembered", len(o.files))
		}
	})
}

// A file that has the number of one that was removed by somebody else, at another time, is another.
func TestBorn(t *testing.T) {
	kinds(t, func(t *testing.T, dir *os.File, o *Owners) {
		create(t, dir, "f")
		if !o.able || o.alone {
			ok(t, o.Chmod(dir, "f", 0o4644))
		}
		ok(t, o.Setxattr(dir, "f", "trusted.x", []byte("y")), o.Chown(dir, "f", 70000, 70000))
		again := func() {
			for _, f := range o.files {
				f.birth.Nsec++
			}
		}
		if again(); o.able && len(o.files) == 0 {
			return // root of the machine remembers nothing
		}
		expect(t, o, dir, "f", "100644 0:0 0")
		ok(t, o.Chmod(dir, "f", 0o1111))
		again()
		ok(t, o.Chown(dir, "f", 5, 70000))
		if got := shown(t, o, dir, "f"); !strings.HasSuffix(got, " 5:70000 0") || strings.HasPrefix(got, "101111") == o.alone {
			t.Errorf("it is %s", got)
		}
		if got, err := o.Xattrs(dir, "f", func(attr string) bool { return attr == "trusted.x" }); err != nil || len(got) != 0 {
			t.Errorf("it has the attributes %v, %v", got, err)
		}
	})
}

// A change that somebody else makes counts.
func TestChanged(t *testing.T) {
	kinds(t, func(t *testing.T, dir *os.File, o *Owners) {
		create(t, dir, "f")
		ok(t, o.Chmod(dir, "f", 0o4111), os.Chmod(dir.Name()+"/f", 0o640))
		expect(t, o, dir, "f", "100640 0:0 0")
		ok(t, o.Mknod(dir, "n", unix.S_IFBLK|0o600, unix.Mkdev(7, 0)))
		ok(t, os.WriteFile(dir.Name()+"/n", []byte("x"), 0))
		expect(t, o, dir, "n", "100600 0:0 0")
	})
}

// A change of the owner takes from a file what the system takes from it.
func TestChownTakes(t *testing.T) {
	kinds(t, func(t *testing.T, dir *os.File, o *Owners) {
		for _, to := range []int{0, 5, 70000} {
			name := fmt.Sprint(to)
			create(t, dir, name)
			ok(t, o.Chown(dir, name, 33, 33), o.Chmod(dir, name, 0o6714), o.Setxattr(dir, name, "security.capability", netRaw), o.Setxattr(dir, name, "user.x", nil))
			ok(t, o.Chown(dir, name, to, to))
			expect(t, o, dir, name, fmt.Sprintf("100714 %d:%d 0", to, to))
			if got, err := o.Xattrs(dir, name, func(string) bool { return true }); err != nil || len(got) != 1 || got[0].Name != "user.x" {
				t.Errorf("%d: the attributes are %v, %v", to, got, err)
			}
		}
		ok(t, os.Mkdir(dir.Name()+"/d", 0o755), o.Chmod(dir, "d", 0o3710), o.Chown(dir, "d", 70000, 5))
		expect(t, o, dir, "d", "43710 70000:5 0")
	})
}

// A file of which something is remembered is another one than before to who looks at its times.
func TestMoves(t *testing.T) {
	kinds(t, func(t *testing.T, dir *os.File, o *Owners) {
		create(t, dir, "f")
		ok(t, os.Symlink("x", dir.Name()+"/l"))
		for _, name := range []string{"f", "l"} {
			var before, after unix.Stat_t
			ok(t, unix.Lstat(dir.Name()+"/"+name, &before))
			for range 1000 { // the clock of a file system is coarse
				ok(t, o.Chown(dir, name, 70000, 70000), unix.Lstat(dir.Name()+"/"+name, &after))
				if after.Ctim != before.Ctim {
					break
				}
				ok(t, unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil))
			}
			if after.Ctim == before.Ctim {
				t.Errorf("%s has the time of before", name)
			}
		}
	})
}

func TestXattrs(t *testing.T) {
	kinds(t, func(t *testing.T, dir *os.File, o *Owners) {
		create(t, dir, "f")
		ok(t, os.Symlink("f", dir.Name()+"/l"))
		ok(t, o.Setxattr(dir, "f", "user.b", []byte("1")), o.Setxattr(dir, "f", "security.capability", netRaw), o.Setxattr(dir, "f", "user.a", nil))
		ok(t, o.Setxattr(dir, "l", "user.link", []byte("2"))) // which the kernel refuses
		f, err := os.OpenFile(dir.Name()+"/f", unix.O_PATH, 0)
		ok(t, err)
		defer f.Close()
		all := func(string) bool { return true }
		for _, at := range []struct {
			dir  *os.File
			name string
		}{{dir, "f"}, {f, ""}} {
			got, err := o.Xattrs(at.dir, at.name, all)
			ok(t, err)
			if fmt.Sprint(got) != fmt.Sprint([]Xattr{{"security.capability", netRaw}, {"user.a", nil}, {"user.b", []byte("1")}}) {
				t.Errorf("got %v", got)
			}
		}
		got, err := o.Xattrs(dir, "l", func(attr string) bool { return attr == "user.link" })
		ok(t, err)
		if len(got) != 1 || !slices.Equal(got[0].Value, []byte("2")) {
			t.Errorf("got %v of a link", got)
		}
	})
}

// Without Owners, what may not be is an error.
func TestNone(t *testing.T) {
	kinds(t, func(t *testing.T, dir *os.File, _ *Owners) {
		var o *Owners
		create(t, dir, "f")
		var st unix.Stat_t
		ok(t, o.Chmod(dir, "f", 0o4111), o.Stat(dir, "f", &st))
		if st.Mode != unix.S_IFREG|0o4111 || st.Uid != uint32(os.Geteuid()) {
			t.Errorf("it is %o of %d", st.Mode, st.Uid)
		}
		if os.Geteuid() != 0 && o.Chown(dir, "f", 0, 0) == nil {
			t.Error("an ordinary user gave a file to root")
		}
		ok(t, o.Unlink(dir, "f", 0))
	})
}
