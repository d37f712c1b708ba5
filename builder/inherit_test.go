//go:build linux

package builder_test

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

// An image does not depend on the directory of the store: what RUN, COPY, ADD and WORKDIR make
// in one that hands down an ACL and a group is as elsewhere.
func TestStoreThatHandsDown(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"file": "x", "dir/inside": "y"})
	archive := tree(t, map[string]string{"a.tar": string(tarOf(t,
		tar.Header{Name: "packed/", Typeflag: tar.TypeDir, Mode: 0o750}, tar.Header{Name: "packed/file", Typeflag: tar.TypeReg, Mode: 0o604}))})
	built := func(root string) string {
		b := openIn(t, builder.Options{Root: root})
		s := base(t, b)
		run(t, s, "mkdir -p /made/by/run && echo >/made/file && ln -s file /made/link && mkfifo /made/fifo && cp /bin/busybox /made/copy && chmod o+t /bin")
		ok(t, errOf(s.Copy(t.Context(), "/copied/to/", builder.Dir(context))))
		ok(t, errOf(s.Add(t.Context(), "/added/", builder.Dir(archive).Select("a.tar"))))
		ok(t, errOf(s.Workdir(t.Context(), "/work/dir", "")))
		img, err := s.Commit(t.Context(), "app", builder.CommitOptions{})
		ok(t, err)
		var lines []string
		for _, l := range layers(t, b, img.ID) {
			for _, e := range l {
				lines = append(lines, fmt.Sprintf("%s %o %d:%d %v", e.Name, e.Mode, e.Uid, e.Gid, e.PAXRecords))
			}
		}
		slices.Sort(lines)
		lines = append(lines, sh(t, s, "cd /; find . -xdev ! -path './proc*' ! -path './sys*' ! -path './dev*' ! -name mtab | sort | xargs stat -c '%n %a %u:%g'"))
		ok(t, b.Close())
		return strings.Join(lines, "\n")
	}
	odd := tempDir(t)
	acl := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 7, ^uint32(0)}, {2, 7, 0}, {4, 7, ^uint32(0)}, {16, 7, ^uint32(0)}, {32, 7, ^uint32(0)}} {
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[0]))
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[1]))
		acl = binary.LittleEndian.AppendUint32(acl, e[2])
	}
	ok(t, unix.Setxattr(odd, "system.posix_acl_default", acl, 0))
	ok(t, unix.Chmod(odd, 0o2700))
	equal(t, built(odd), built(tempDir(t)))
	if info, err := os.Stat(odd); err != nil || info.Mode()&os.ModeSetgid == 0 {
		t.Errorf("the directory that the user made is changed: %v, %v", info.Mode(), err)
	}
}
