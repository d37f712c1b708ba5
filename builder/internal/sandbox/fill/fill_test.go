//go:build linux

package fill

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { os.Exit(sandboxtest.Main(m)) }

// tree is a root file system, what is mounted, and what must not be reached.
type tree struct{ root, source, aside, outside string }

func newTree(t *testing.T) *tree {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	ok(t, err)
	tr := &tree{dir + "/root", dir + "/source", dir + "/aside", dir + "/outside"}
	for _, name := range []string{tr.root + "/mnt", tr.root + "/etc", tr.source + "/cache/deep", tr.outside} {
		ok(t, os.MkdirAll(name, 0o755))
	}
	write(t, tr.source+"/cache/deep/f", "kept\n")
	write(t, tr.source+"/file", "file\n")
	write(t, tr.outside+"/marker", "outside\n")
	return tr
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	ok(t, os.WriteFile(name, []byte(text), 0o644))
}

func want(t *testing.T, name, text string) {
	t.Helper()
	if got, err := os.ReadFile(name); err != nil || string(got) != text {
		t.Errorf("%s: %q, %v, want %q", name, got, err, text)
	}
}

// filled fills a mount's target, does something as a command would, and empties it.
func (tr *tree) filled(t *testing.T, do func(), mounts ...sandbox.Mount) error {
	t.Helper()
	f, err := New(tr.root, tr.aside)
	ok(t, err)
	for _, m := range mounts {
		if err := f.Mount(t.Context(), m); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	do()
	err = f.Close()
	if _, statErr := os.Lstat(tr.aside); !errors.Is(statErr, os.ErrNotExist) {
		t.Errorf("left: %v", statErr)
	}
	return err
}

func (tr *tree) cache(owned bool) sandbox.Mount {
	return sandbox.Mount{Kind: sandbox.BindDir, Source: tr.source + "/cache", Target: "/mnt", Owned: owned}
}

// What is owned is itself where it is seen, goes back with what the command has changed, wherever that has put it,
// and is empty where that has removed it.
func TestOwned(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(tr *tree)
		has  string // a file of the cache, afterwards
		text string
	}{
		"changed": {func(tr *tree) { write(t, tr.root+"/mnt/new", "new\n") }, "new", "new\n"},
		"renamed": {func(tr *tree) { ok(t, os.Rename(tr.root+"/mnt", tr.root+"/etc/other")) }, "deep/f", "kept\n"},
		"replaced by a link": {func(tr *tree) {
			ok(t, os.Rename(tr.root+"/mnt", tr.root+"/moved"))
			ok(t, os.Symlink("../outside", tr.root+"/mnt"))
		}, "deep/f", "kept\n"},
		"removed":                {func(tr *tree) { ok(t, os.RemoveAll(tr.root+"/mnt")) }, "", ""},
		"removed with its place": {func(tr *tree) { ok(t, os.RemoveAll(tr.root)); ok(t, os.Mkdir(tr.root, 0o755)) }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t)
			err := tr.filled(t, func() {
				want(t, tr.root+"/mnt/deep/f", "kept\n")
				c.do(tr)
			}, tr.cache(true))
			if name != "removed with its place" {
				ok(t, err)
				if entries, err := os.ReadDir(tr.root + "/mnt"); err != nil || len(entries) > 0 {
					t.Errorf("left in the place: %v, %v", entries, err)
				}
			}
			if c.has != "" {
				want(t, tr.source+"/cache/"+c.has, c.text)
			} else if entries, err := os.ReadDir(tr.source + "/cache"); name == "removed" && (err != nil || len(entries) > 0) {
				t.Errorf("of what was removed there is %v, %v", entries, err)
			}
			want(t, tr.outside+"/marker", "outside\n")
		})
	}
}

// What is not owned is a copy, and what the command writes to it is lost.
func TestCopies(t *testing.T) {
	tr := newTree(t)
	ok(t, os.Chmod(tr.source+"/cache", 0o711))
	ok(t, os.Chown(tr.source+"/cache", 5, 7))
	ok(t, tr.filled(t, func() {
		var st unix.Stat_t
		if ok(t, unix.Stat(tr.root+"/mnt", &st)); st.Mode&0o7777 != 0o711 || st.Uid != 5 || st.Gid != 7 {
			t.Errorf("mode %o of %d:%d", st.Mode, st.Uid, st.Gid)
		}
		want(t, tr.root+"/mnt/deep/f", "kept\n")
		want(t, tr.root+"/etc/file", "file\n")
		write(t, tr.root+"/mnt/deep/f", "changed\n")
		write(t, tr.root+"/etc/file", "changed\n")
	}, tr.cache(false), sandbox.Mount{Kind: sandbox.BindFile, Source: tr.source + "/file", Target: "/etc/file"}))
	want(t, tr.source+"/cache/deep/f", "kept\n")
	want(t, tr.source+"/file", "file\n")
	if _, err := os.Lstat(tr.root + "/etc/file"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

// What is in the way is not seen, and is there again, with the time of the directory it is in; also in what was
// mounted before.
func TestAside(t *testing.T) {
	tr := newTree(t)
	write(t, tr.root+"/etc/hosts", "own\n")
	write(t, tr.root+"/mnt/own", "own\n")
	old := unix.NsecToTimespec(1e18)
	ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, tr.root+"/etc", []unix.Timespec{old, old}, 0))
	f, err := New(tr.root, tr.aside)
	ok(t, err)
	ok(t, f.File("/etc/hosts", "ours\n", 0o644))
	ok(t, f.Mount(t.Context(), tr.cache(true)))
	ok(t, f.Mount(t.Context(), sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/mnt/deep", Mode: 0o700}))
	want(t, tr.root+"/etc/hosts", "ours\n")
	if entries, err := os.ReadDir(tr.root + "/mnt/deep"); err != nil || len(entries) > 0 {
		t.Errorf("in the tmpfs: %v, %v", entries, err)
	}
	write(t, tr.root+"/mnt/deep/lost", "")
	ok(t, os.Remove(tr.root+"/etc/hosts"))
	ok(t, os.Mkdir(tr.root+"/etc/hosts", 0o755))
	ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, tr.root+"/etc", []unix.Timespec{old, old}, 0))
	ok(t, f.Close())
	want(t, tr.root+"/etc/hosts", "own\n")
	want(t, tr.root+"/mnt/own", "own\n")
	want(t, tr.source+"/cache/deep/f", "kept\n")
	if _, err := os.Lstat(tr.source + "/cache/deep/lost"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of the tmpfs is left: %v", err)
	}
	var st unix.Stat_t
	ok(t, unix.Stat(tr.root+"/etc", &st))
	if st.Mtim != old {
		t.Errorf("the time of /etc is %v", st.Mtim)
	}
}

// The directory around a mount has the time of what the command has changed in it itself, whatever is mounted.
func TestTimes(t *testing.T) {
	old := unix.NsecToTimespec(1e18)
	for name, m := range map[string]sandbox.Mount{
		"owned": {Kind: sandbox.BindDir, Source: "cache", Target: "/etc/x", Owned: true}, "a copy": {Kind: sandbox.BindDir, Source: "cache", Target: "/etc/x"},
		"a file": {Kind: sandbox.BindFile, Source: "file", Target: "/etc/x"}, "a tmpfs": {Kind: sandbox.Tmpfs, Target: "/etc/x"},
	} {
		for _, there := range []bool{false, true} {
			for _, changes := range []bool{false, true} {
				tr := newTree(t)
				if m.Kind != sandbox.Tmpfs {
					m.Source = tr.source + "/" + filepath.Base(m.Source)
				}
				if there {
					ok(t, os.Mkdir(tr.root+"/etc/x", 0o755))
				}
				ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, tr.root+"/etc", []unix.Timespec{old, old}, 0))
				ok(t, tr.filled(t, func() {
					if changes {
						write(t, tr.root+"/etc/own", "")
					}
				}, m))
				var st unix.Stat_t
				ok(t, unix.Stat(tr.root+"/etc", &st))
				if (st.Mtim != old) != changes {
					t.Errorf("%s, there %v, changed %v: the time is %v", name, there, changes, st.Mtim)
				}
			}
		}
	}
}

// The command may remove the directory that a mount is in.
func TestRemoved(t *testing.T) {
	for _, m := range []sandbox.Mount{{Kind: sandbox.Tmpfs, Target: "/gone/x"}, {Kind: sandbox.BindDir, Source: "cache", Target: "/gone/x"}} {
		tr := newTree(t)
		m.Source = tr.source + "/" + m.Source
		ok(t, os.MkdirAll(tr.root+"/gone/x", 0o755))
		ok(t, tr.filled(t, func() { ok(t, os.RemoveAll(tr.root+"/gone")) }, m))
		if _, err := os.Lstat(tr.root + "/gone"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is back: %v", err)
		}
	}
}

// Links of the root file system lead nowhere outside, and to nothing that must not be hidden.
func TestLinks(t *testing.T) {
	tr := newTree(t)
	ok(t, os.Symlink("../../../../../../../../.."+tr.outside, tr.root+"/up"))
	ok(t, os.Symlink(tr.outside, tr.root+"/away"))
	for _, target := range []string{"/up/x", "/away/x", "/up", "/away"} {
		ok(t, tr.filled(t, func() {}, sandbox.Mount{Kind: sandbox.Tmpfs, Target: target}))
		entries, err := os.ReadDir(tr.outside)
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: outside are %v, %v", target, entries, err)
		}
	}
	for _, name := range []string{"/", "/proc", "/dev", "/sys", "/proc/self"} {
		ok(t, os.Symlink(name, tr.root+"/link"))
		err := tr.filled(t, func() {}, sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/link"})
		if !errors.Is(err, sandbox.ErrInvalid) || !strings.Contains(err.Error(), "/link") {
			t.Errorf("-> %s: %v", name, err)
		}
		ok(t, os.Remove(tr.root+"/link"))
	}
	ok(t, os.Symlink("etc", tr.root+"/dev"))
	f, err := New(tr.root, tr.aside)
	ok(t, err)
	if _, err := f.Dir("/dev"); err == nil {
		t.Error("a link was taken for /dev")
	}
	ok(t, f.Close())
}

// A socket cannot be copied, and is itself where it is seen; so is a mode.
func TestSocket(t *testing.T) {
	tr := newTree(t)
	at := tr.source + "/socket"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	defer unix.Close(fd)
	dir, err := os.Open(tr.source)
	ok(t, err)
	defer dir.Close()
	ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: descriptor(dir) + "/socket"}))
	var before, seen, after unix.Stat_t
	ok(t, unix.Stat(at, &before))
	ok(t, tr.filled(t, func() { ok(t, unix.Stat(tr.root+"/run/agent", &seen)) }, sandbox.Mount{Kind: sandbox.BindFile, Source: at, Target: "/run/agent", Owned: true}))
	ok(t, unix.Stat(at, &after))
	if seen.Ino != before.Ino || after.Ino != before.Ino {
		t.Errorf("inodes %d, %d, %d", before.Ino, seen.Ino, after.Ino)
	}
}

// A cache that overlayfs has from a layer below, as that of the image of a container, cannot be moved, and keeps what
// commands leave in it all the same, owners and modes too.
func TestFromBelow(t *testing.T) {
	tr := newTree(t)
	ok(t, os.Chmod(tr.source+"/cache", os.ModeSticky|0o770))
	ok(t, os.Chown(tr.source+"/cache", 5, 7))
	lower := filepath.Dir(tr.root)
	layers, err := filepath.EvalSymlinks(t.TempDir())
	ok(t, err)
	ok(t, unix.Mount("tmpfs", layers, "tmpfs", 0, ""))
	defer func() { ok(t, unix.Unmount(layers, unix.MNT_DETACH)) }()
	for _, name := range []string{"upper", "work", "merged"} {
		ok(t, os.Mkdir(layers+"/"+name, 0o755))
	}
	merged := layers + "/merged"
	ok(t, unix.Mount("overlay", merged, "overlay", 0, "userxattr,redirect_dir=nofollow,lowerdir="+lower+",upperdir="+layers+"/upper,workdir="+layers+"/work"))
	defer func() { ok(t, unix.Unmount(merged, unix.MNT_DETACH)) }()
	*tr = tree{merged + "/of-a-build", merged + "/source", merged + "/aside", merged + "/outside"}
	ok(t, os.MkdirAll(tr.root+"/mnt", 0o755))
	if err := os.Rename(tr.source+"/cache", tr.source+"/other"); !errors.Is(err, unix.EXDEV) {
		t.Fatalf("the cache can be moved: %v", err)
	}
	var before, seen, after unix.Stat_t
	ok(t, unix.Stat(tr.source+"/cache", &before))
	for _, text := range []string{"first\n", "second\n"} {
		ok(t, tr.filled(t, func() {
			want(t, tr.root+"/mnt/deep/f", "kept\n")
			ok(t, unix.Stat(tr.root+"/mnt", &seen))
			write(t, tr.root+"/mnt/new", text)
		}, tr.cache(true)))
		want(t, tr.source+"/cache/new", text)
	}
	ok(t, unix.Stat(tr.source+"/cache", &after))
	for _, st := range []unix.Stat_t{seen, after} {
		if st.Mode != before.Mode || st.Uid != before.Uid || st.Gid != before.Gid {
			t.Errorf("mode %o of %d:%d, and before %o of %d:%d", st.Mode, st.Uid, st.Gid, before.Mode, before.Uid, before.Gid)
		}
	}
}
