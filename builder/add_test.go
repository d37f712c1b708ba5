//go:build linux

package builder_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/oakum-build/oakum/builder"
)

// archives makes a tar of a tree in each compression by this machine's own tools.
func archives(t testing.TB) string {
	t.Helper()
	dir := tree(t, map[string]string{"tree/f": "f", "tree/d/exe": "x", "tree/l": "-> f", "tree/d/empty/": "", "text.tar": "not an archive", "empty.tar": ""})
	ok(t, os.Chmod(filepath.Join(dir, "tree/d/exe"), 0o750))
	ok(t, os.Link(filepath.Join(dir, "tree/f"), filepath.Join(dir, "tree/hard")))
	for _, command := range []string{
		"tar --owner=33 --group=44 --mtime=@1000000 --sort=name -C tree -cf plain .",
		"gzip -k -n plain", "bzip2 -k plain", "xz -k plain",
		"head -c $(($(stat -c %s plain.gz) / 2)) plain.gz >cut.tgz", "cp plain.gz plain.odd-name",
	} {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	plain, err := os.ReadFile(filepath.Join(dir, "plain"))
	ok(t, err)
	z, err := zstd.NewWriter(nil) // zstd(1) may be missing
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(dir, "plain.zst"), z.EncodeAll(plain, nil), 0o644))
	return dir
}

const unpacked = `d 755 33:44 d
d 755 33:44 d/empty
f 750 33:44 d/exe
f 644 33:44 f
f 644 33:44 hard
l 777 33:44 l
`

func TestAdd(t *testing.T) {
	t.Parallel()
	dir := builder.Dir(archives(t))
	b := open(t)
	tests := []struct {
		name   string
		dest   string
		source builder.Source
		want   string // below /out
	}{
		{"tar", "/out/", dir.Select("plain"), unpacked},
		{"gzip", "/out/", dir.Select("plain.gz"), unpacked},
		{"bzip2", "/out/", dir.Select("plain.bz2"), unpacked},
		{"xz", "/out/", dir.Select("plain.xz"), unpacked},
		{"zstd", "/out/", dir.Select("plain.zst"), unpacked},
		{"by content, not by name", "/out", dir.Select("plain.odd-name"), unpacked},
		{"a text called tar", "/out/", dir.Select("text.tar"), "f 644 0:0 text.tar\n"},
		{"an empty file", "/out/", dir.Select("empty.tar"), "f 644 0:0 empty.tar\n"},
		{"a file", "/out/", dir.Select("tree/f"), "f 644 0:0 f\n"},
		{"a directory", "/out/", dir.Select("tree/d"), "d 755 0:0 empty\nf 750 0:0 exe\n"},
		{"archives in a directory stay", "/out/", builder.Dir(tree(t, map[string]string{"x": "x"})), "f 644 0:0 x\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := base(t, b)
			ok(t, errOf(s.Add(t.Context(), test.dest, test.source)))
			equal(t, find(t, s, "/out"), test.want)
			again := base(t, b)
			step, err := again.Add(t.Context(), test.dest, test.source)
			ok(t, err)
			if !step.Cached {
				t.Error("the repeated step was not in the cache")
			}
		})
	}
	s := base(t, b)
	before := find(t, s, "/etc")
	if _, err := s.Add(t.Context(), "/etc", dir.Select("cut.tgz")); err == nil {
		t.Error("half an archive was unpacked")
	}
	equal(t, find(t, s, "/etc"), before)
}

// Unpacking adds to what is there, and replaces it.
func TestAddOver(t *testing.T) {
	t.Parallel()
	dir := builder.Dir(archives(t))
	b := open(t)
	s := base(t, b)
	run(t, s, "mkdir -p /out/d && echo old >/out/f && echo kept >/out/d/kept && mkdir /out/hard && echo >/out/hard/x; ln -s /out /link")
	ok(t, errOf(s.Add(t.Context(), "/link", dir.Select("plain.gz"))))
	equal(t, sh(t, s, "cat /out/f /out/d/kept; test /out/f -ef /out/hard && echo linked; readlink /link"), "fkept\nlinked\n/out\n")
	equal(t, sh(t, s, "stat -c %Y /out/f"), "1000000\n")
}

// An owner that is asked for is that of all that an archive holds; a mode is not, nor has
// it to do with the directory that the archive goes to.
func TestAddArchiveAs(t *testing.T) {
	t.Parallel()
	dir := builder.Dir(archives(t))
	b := open(t)
	s := base(t, b)
	ok(t, errOf(s.Add(t.Context(), "/out/in", dir.Select("plain.gz").Chown("7:8").Chmod("600"))))
	equal(t, find(t, s, "/out"), "d 755 7:8 in\n"+strings.ReplaceAll(unpacked, " 33:44 ", " 7:8 in/"))
}

func TestCopyDoesNotUnpack(t *testing.T) {
	t.Parallel()
	dir := builder.Dir(archives(t))
	b := open(t)
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/out/", dir.Select("plain.gz"))))
	equal(t, sh(t, s, "ls /out"), "plain.gz\n")
}
