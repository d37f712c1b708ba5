//go:build linux

package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// defaultACL gives a directory an ACL that files made in it inherit: user 7 may write all.
func defaultACL(t testing.TB, dir string) {
	t.Helper()
	acl := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, ^uint32(0)}, {2, 7, 7}, {4, 7, ^uint32(0)}, {16, 7, ^uint32(0)}, {32, 7, ^uint32(0)}} {
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, e.perm)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	if err := unix.Setxattr(dir, "system.posix_acl_default", acl, 0); err != nil {
		t.Fatal(err)
	}
}

// What a store's directory hands down to files that are made in it is not in layers: not in
// one of a step, nor in one that is unpacked, also where the store is older than the ACL. It
// is not parallel, for Free changes a list of the storage library that nothing guards.
func TestStoreThatHandsDown(t *testing.T) {
	ofOverlay(t)
	for _, old := range []bool{false, true} {
		root := t.TempDir()
		dirs := []string{root}
		if old {
			s := openIn(t, root)
			layer(t, s, nil, "f", "")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			dirs = append(dirs, filepath.Join(root, "overlay"), s.temp.Name(), filepath.Join(root, "oakum"))
		}
		for _, dir := range dirs {
			defaultACL(t, dir)
			if err := os.Lchown(dir, 0, 7); err != nil {
				t.Fatal(err)
			}
			if err := unix.Chmod(dir, 0o2755); err != nil {
				t.Fatal(err)
			}
		}
		s := openIn(t, root)
		step, err := s.MakeLayer(t.Context(), nil, func(st Staging) error {
			f, err := os.OpenFile(filepath.Join(st.Upper, "file"), os.O_CREATE, 0o666)
			if err != nil {
				return err
			}
			f.Close()
			return os.Mkdir(filepath.Join(st.Upper, "dir"), 0o777)
		})
		if err == nil {
			err = step.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		unpacked, err := s.Layer(unpackedIn(t, s, "file", "dir/"))
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{
			step.path: "40555 0:0", step.path + "/file": "100644 0:0", step.path + "/dir": "40755 0:0",
			unpacked.path: "40555 0:0", unpacked.path + "/file": "104750 7:0", unpacked.path + "/dir": "40750 7:0",
		} {
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid); got != want {
				t.Errorf("old store %t: %s is %s, want %s", old, path[len(root):], got, want)
			}
			for _, acl := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
				if n, err := unix.Lgetxattr(path, acl, nil); err == nil {
					t.Errorf("old store %t: %s has %s of %d bytes", old, path[len(root):], acl, n)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		s.cs.Free()
	}
}

// Other users reach nothing of a store, whatever the mode of its directory and the umask:
// set-user-ID programs of images lie in it.
func TestStoreIsClosed(t *testing.T) {
	if root := os.Getenv(closedEnv); root != "" {
		syscall.Umask(0)
		s := openIn(t, root)
		l := layer(t, s, nil, "f", "")
		unpackedIn(t, s, "file")
		commit(t, s, l, "app")
		_, err := makeLayer(t, s, nil, func(string) error {
			closed(t, root, "")
			return errors.New("looked at")
		})
		if err == nil || err.Error() != "looked at" {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run", "^TestStoreIsClosed$", "-test.v")
	cmd.Env = append(os.Environ(), closedEnv+"="+root)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// closedEnv makes the test process one with another umask, and names the store.
const closedEnv = "OAKUM_TEST_CLOSED"

// closed fails where another user can enter a directory but those that are to be seen
// through, in which all others are closed.
func closed(t testing.TB, root, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case path == "overlay":
			closed(t, root, path)
		case path == "overlay/l": // links
		case e.IsDir() && info.Mode().Perm()&0o077 != 0, !e.IsDir() && info.Mode().Perm()&0o022 != 0:
			t.Errorf("%s has the mode %o", path, info.Mode().Perm())
		}
	}
}
