//go:build linux

package storage

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
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
// one of a step, nor in one that is unpacked, also where the store is older than the ACL.
func TestStoreThatHandsDown(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		root := t.TempDir()
		dirs := []string{root}
		if old {
			s := openIn(t, root)
			layer(t, s, nil, "f", "")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			dirs = append(dirs, filepath.Join(root, "overlay"), s.temp.Name(), filepath.Join(root, "oakum"), filepath.Join(root, "oakum/stub"))
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
		stub := filepath.Join(root, "oakum/stub/etc")
		for path, want := range map[string]string{
			step.path: "40555 0:0", step.path + "/file": "100644 0:0", step.path + "/dir": "40755 0:0",
			unpacked.path: "40555 0:0", unpacked.path + "/file": "104750 7:0", unpacked.path + "/dir": "40750 7:0", stub: "40755 0:0",
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
