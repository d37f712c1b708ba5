//go:build linux

package builder_test

import (
	"archive/tar"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

const (
	capability = "security.capability"
	// bindService is cap_net_bind_service as a file's capability: the second revision, which
	// names no user namespace.
	bindService = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

// What gives a file's program more than who starts it has survives archives, copies and layers,
// also a change of owner, with which the kernel takes it away.
func TestPrivilegedFiles(t *testing.T) {
	t.Parallel()
	b := open(t)
	record := map[string]string{"SCHILY.xattr." + capability: bindService}
	s := base(t, b)
	ok(t, errOf(s.Add(t.Context(), "/p/", packedFile(tarOf(t,
		tar.Header{Name: "cap", Typeflag: tar.TypeReg, Mode: 0o755, Uid: 5, Linkname: "c", PAXRecords: record},
		tar.Header{Name: "suid", Typeflag: tar.TypeReg, Mode: 0o6755, Uid: 5, Gid: 6, Linkname: "s"},
	)))))
	check := func(s *builder.Stage, dir string, uid, gid int) {
		t.Helper()
		layer := lastLayer(t, b, s)
		file, suid := entryOf(t, layer, dir+"/cap"), entryOf(t, layer, dir+"/suid")
		if got := file.PAXRecords["SCHILY.xattr."+capability]; got != bindService {
			t.Errorf("the capability is %q, want %q", got, bindService)
		}
		if suid.Mode != 0o6755 || suid.Uid != uid || suid.Gid != gid {
			t.Errorf("the set-uid file is %o %d:%d", suid.Mode, suid.Uid, suid.Gid)
		}
	}
	check(s, "p", 5, 6)
	copied := base(t, b)
	ok(t, errOf(copied.Copy(t.Context(), "/q", s.Path("/p"))))
	check(copied, "q", 5, 6)
	ok(t, errOf(copied.Copy(t.Context(), "/r", s.Path("/p").Chown("7:8"))))
	check(copied, "r", 7, 8)
	ok(t, errOf(copied.CopyWith(t.Context(), builder.CopyOptions{Link: true}, "/l", s.Path("/p"))))
	check(copied, "l", 5, 6)
	run(t, copied, "cp -a /q/suid /q/cap /root; echo >>/q/none")
	run(t, copied, "mv /q/cap /q/suid /tmp")
	check(copied, "tmp", 5, 6)
	img, err := copied.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	again := stage(t, b, img.ID, builder.StageOptions{})
	run(t, again, "mv /tmp/cap /tmp/suid /home")
	check(again, "home", 5, 6)
}
