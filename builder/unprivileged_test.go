//go:build linux

package builder_test

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// plain opens a Builder whose worker has no namespace and no mount. An ordinary user's owns nothing but
// its own files.
func plain(t testing.TB) *builder.Builder {
	t.Helper()
	return openIn(t, builder.Options{Root: tempDir(t), Isolation: isolation.Choice{Most: isolation.Chroot}})
}

// eachWorker runs a test with a worker in namespaces, and with one that has none.
func eachWorker(t *testing.T, test func(t *testing.T, b *builder.Builder)) {
	t.Parallel()
	t.Run("namespaces", func(t *testing.T) { test(t, open(t)) })
	t.Run("plain", func(t *testing.T) { test(t, plain(t)) })
}

// described is all that a layer says but times.
func described(layer []tarEntry) string {
	var out []string
	for _, e := range layer {
		attrs := ""
		for _, name := range slices.Sorted(maps.Keys(e.PAXRecords)) {
			if strings.HasPrefix(name, "SCHILY.xattr.") {
				attrs += fmt.Sprintf(" %s=%q", name, e.PAXRecords[name])
			}
		}
		out = append(out, fmt.Sprintf("%c %s %o %d:%d %d,%d %q %.20q%s", e.Typeflag, e.Name, e.Mode, e.Uid, e.Gid, e.Devmajor, e.Devminor, e.Linkname, e.content, attrs))
	}
	return strings.Join(out, "\n")
}

const netRaw = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// oddLayer has what an ordinary user cannot make.
func oddLayer(t testing.TB) []byte {
	attributes := map[string]string{"SCHILY.xattr.security.capability": netRaw, "SCHILY.xattr.user.x": "y"}
	return tarOf(t,
		tar.Header{Name: "odd/", Typeflag: tar.TypeDir, Mode: 0o2010, Uid: 33, Gid: 34},
		tar.Header{Name: "odd/closed", Typeflag: tar.TypeReg, Linkname: "c", Mode: 0o004, Uid: 65000, Gid: 60000},
		tar.Header{Name: "odd/set-id", Typeflag: tar.TypeReg, Linkname: "s", Mode: 0o6755, Uid: 1000, Gid: 42, PAXRecords: attributes},
		tar.Header{Name: "odd/linked", Typeflag: tar.TypeLink, Linkname: "odd/set-id", Mode: 0o6755, Uid: 1000, Gid: 42, PAXRecords: attributes},
		tar.Header{Name: "odd/link", Typeflag: tar.TypeSymlink, Linkname: "closed", Uid: 5, Gid: 6},
		tar.Header{Name: "odd/pipe", Typeflag: tar.TypeFifo, Mode: 0o640, Uid: 7},
		tar.Header{Name: "odd/sub/", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 8},
		tar.Header{Name: "odd/sub/f", Typeflag: tar.TypeReg, Linkname: "f", Mode: 0o600},
		tar.Header{Name: "odd/passwd", Typeflag: tar.TypeReg, Linkname: "p"},
	)
}

// assembled builds an image of all that needs no command, and gives what its layers say. What of it cannot be, is
// refused in the same words.
func assembled(t testing.TB, b *builder.Builder) (out []string) {
	t.Helper()
	odd := oddLayer(t)
	img, err := tampered(t, b, func(dir string) { addLayer(t, dir, odd) })
	ok(t, err)
	context := tree(t, map[string]string{"f": "f", "d/g": "g", "d/sub/h": "h"})
	ok(t, os.Chmod(filepath.Join(context, "d"), 0o700))
	ok(t, os.Chmod(filepath.Join(context, "f"), 0o4755))
	from := stage(t, b, img.ID, builder.StageOptions{})
	s := stage(t, b, img.ID, builder.StageOptions{})
	ok(t, errOf(s.Copy(t.Context(), "/etc/passwd", builder.Bytes("passwd", []byte("app:x:70:71::/:\n")))))
	for name, step := range []func() error{
		func() error { return errOf(s.Copy(t.Context(), "/from", from.Path("/odd"))) },
		func() error { return errOf(s.Copy(t.Context(), "/rooted/", from.Path("/odd").OwnedByRoot())) },
		func() error {
			return errOf(s.Copy(t.Context(), "/again/", from.Path("/odd").Chown("app").Chmod("u=rws,go=x")))
		},
		func() error { return errOf(s.Copy(t.Context(), "/odd", builder.Dir(context).Select("d"))) },
		func() error {
			return errOf(s.Copy(t.Context(), "/a/b/", builder.Dir(context).Select("f").Chown("65000:60000")))
		},
		func() error {
			return errOf(s.Copy(t.Context(), "/odd/passwd", builder.Dir(context).Select("d/g").Chmod("0000")))
		},
		func() error {
			return errOf(s.Copy(t.Context(), "/fs/", builder.FS(fstest.MapFS{"none": {Data: []byte("n")}, "dir": {Mode: fs.ModeDir | 0o100}, "dir/x": {Mode: 0o7000}})))
		},
		func() error { return errOf(s.Add(t.Context(), "/added/", packedFile(odd))) },
		func() error { return errOf(s.Add(t.Context(), "/owned/", packedFile(odd).Chown("3:4"))) },
		func() error { return errOf(s.Copy(t.Context(), "/linked/", from.Path("/odd").Exclude("pipe"))) },
	} {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", name, err)
		}
	}
	committed, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	for _, layer := range layers(t, b, committed.ID) {
		out = append(out, described(layer))
	}
	return out
}

// Without any privilege, an image is the same: owners, modes, attributes.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	want := assembled(t, open(t))
	got := assembled(t, plain(t))
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("layer %d: got\n%s\nwant\n%s", i, got[min(i, len(got)-1)], want[i])
		}
	}
	if last := want[len(want)-1]; !strings.Contains(last, "6755 1000:42") || !strings.Contains(last, "security.capability") || len(got) != len(want) {
		t.Errorf("%d layers, of %d; the last is\n%s", len(got), len(want), want[len(want)-1])
	}
}

// Where a device may not be made, layers have it all the same.
func TestUnprivilegedDevices(t *testing.T) {
	t.Parallel()
	data := tarOf(t,
		tar.Header{Name: "dev/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
		tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8, Gid: 6, Mode: 0o660},
	)
	b := plain(t)
	img, err := tampered(t, b, func(dir string) { addLayer(t, dir, data) })
	ok(t, err)
	from := stage(t, b, img.ID, builder.StageOptions{})
	s := scratch(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/", from.Path("/dev"))))
	equal(t, described(lastLayer(t, b, s)), "3 null 666 0:0 1,3 \"\" \"\"\n4 sda 660 0:6 8,0 \"\" \"\"")
	ok(t, errOf(s.Add(t.Context(), "/added/", packedFile(data))))
	equal(t, described(lastLayer(t, b, s)), "5 added/ 755 0:0 0,0 \"\" \"\"\n5 added/dev/ 755 0:0 0,0 \"\" \"\"\n3 added/dev/null 666 0:0 1,3 \"\" \"\"\n4 added/dev/sda 660 0:6 8,0 \"\" \"\"")
	latest, err := s.LatestTime(t.Context())
	ok(t, err)
	if !latest.Equal(time.Time{}) {
		t.Errorf("a device counts as a file, of %s", latest)
	}
}
