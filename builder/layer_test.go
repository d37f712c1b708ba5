//go:build linux

package builder_test

import (
	"archive/tar"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

func TestDeletions(t *testing.T) {
	t.Parallel()
	b := open(t)
	tests := []struct{ name, script, want string }{
		{"a file", "rm /d/a", "d/\nd/.wh.a"},
		{"a directory", "rm -r /d", ".wh.d"},
		{"a replaced directory", "rm -r /d && mkdir /d && echo >/d/new", "d/\nd/.wh..wh..opq\nd/new"},
		{"a directory replaced by a file", "rm -r /d/sub && echo >/d/sub", "d/\nd/sub"},
		{"a file replaced by a directory", "rm /d/a && mkdir /d/a", "d/\nd/a/\nd/a/.wh..wh..opq"},
		{"a renamed file", "mv /d/a /d/c", "d/\nd/.wh.a\nd/c"},
		{"a renamed directory", "mv /d /e", ".wh.d\ne/\ne/a\ne/b\ne/sub/\ne/sub/c"},
		{"what comes and goes", "echo >/new && rm /new", ""},
		{"nothing", "cat /d/a", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := base(t, b)
			ok(t, errOf(s.Copy(t.Context(), "/d", builder.Dir(tree(t, map[string]string{"a": "1", "b": "2", "sub/c": "3"})))))
			run(t, s, test.script)
			// An opaque directory may come as the whiteouts of all that was in it.
			got := strings.ReplaceAll(names(lastLayer(t, b, s)), "d/.wh.a\nd/.wh.b\nd/.wh.sub\n", "d/.wh..wh..opq\n")
			equal(t, got, test.want)
			img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
			ok(t, err)
			// The next stage sees what the script left.
			want := sh(t, s, "find / -xdev | sort")
			equal(t, sh(t, stage(t, b, img.ID, builder.StageOptions{}), "find / -xdev | sort"), want)
			// So does who reads the image from elsewhere.
			ok(t, func() error {
				_, err := b.Push(t.Context(), img.ID, "oci-archive:"+t.TempDir()+"/a.tar:x/y:z", asIs)
				return err
			}())
		})
	}
}

func TestLayerHoldsWhatFilesAre(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	run(t, s, `mkdir -m 1770 /d && chown 33:44 /d && cd /d && echo x >f && chmod 4711 f && ln f hard && ln -s ../f soft && mkfifo -m 600 pipe && chown -h 5:6 soft && touch -d '2001-02-03 04:05:06' f`)
	layer := lastLayer(t, b, s)
	equal(t, names(layer), "d/\nd/f\nd/hard\nd/pipe\nd/soft")
	for _, want := range []struct {
		name     string
		kind     byte
		mode     int64
		uid, gid int
		link     string
	}{
		{"d", tar.TypeDir, 0o1770, 33, 44, ""},
		{"d/f", tar.TypeReg, 0o4711, 0, 0, ""},
		{"d/hard", tar.TypeLink, 0o4711, 0, 0, "d/f"},
		{"d/pipe", tar.TypeFifo, 0o600, 0, 0, ""},
		{"d/soft", tar.TypeSymlink, 0o777, 5, 6, "../f"},
	} {
		e := entryOf(t, layer, want.name)
		if e.Typeflag != want.kind || e.Mode != want.mode || e.Uid != want.uid || e.Gid != want.gid || e.Linkname != want.link {
			t.Errorf("%s: %c %o %d:%d %q, want %c %o %d:%d %q", want.name, e.Typeflag, e.Mode, e.Uid, e.Gid, e.Linkname,
				want.kind, want.mode, want.uid, want.gid, want.link)
		}
		if e.Uname != "" || e.Gname != "" {
			t.Errorf("%s belongs to %q:%q of this machine", want.name, e.Uname, e.Gname)
		}
	}
	equal(t, entryOf(t, layer, "d/f").ModTime.UTC().Format("2006-01-02 15:04:05"), "2001-02-03 04:05:06")
}

// The mount points of a RUN are not in its layer, whatever the image has in their
// place, and what the image has stays.
func TestRunLeavesNoTrace(t *testing.T) {
	t.Parallel()
	b := open(t)
	tests := []struct {
		name  string
		files map[string]string // beside busybox
		rm    string            // removed in a layer of its own
	}{
		{"nothing there", nil, ""},
		{"all there", map[string]string{"etc/hosts": "mine", "etc/resolv.conf": "mine", "dev/x": "x", "proc/x": "x", "sys/x": "x"}, ""},
		{"directories there", map[string]string{"etc/x": "x", "dev/": "", "proc/": "", "sys/": ""}, ""},
		{"a link to a file", map[string]string{"etc/resolv.conf": "-> ../run/r", "run/r": "mine"}, ""},
		{"a dangling link", map[string]string{"etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf"}, ""},
		{"an absolute dangling link", map[string]string{"etc/hosts": "-> /no/where"}, ""},
		{"a dangling link into a directory", map[string]string{"etc/hosts": "-> ../run/hosts", "run/": ""}, ""},
		{"a link out", map[string]string{"etc/hosts": "-> ../../../../../../no/where"}, ""},
		{"the directory is a link", map[string]string{"etc": "-> usr/etc", "usr/etc/passwd": passwd}, ""},
		{"the directory is a dangling link", map[string]string{"etc": "-> usr/etc"}, ""},
		{"removed", map[string]string{"etc/hosts": "mine", "etc/resolv.conf": "mine"}, "rm etc/hosts etc/resolv.conf"},
		{"all removed", map[string]string{"etc/hosts": "mine", "dev/x": "x", "proc/x": "x", "sys/x": "x"}, "rm -r etc dev proc sys"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := scratch(t, b)
			ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(tree(t, test.files)), builder.Dir(baseDir).Exclude("etc", "dev", "proc", "sys"))))
			if test.rm != "" {
				s = without(t, b, s, test.rm)
			}
			seen := base(t, b)
			ok(t, errOf(seen.Copy(t.Context(), "/seen", s.Path("/"))))
			before := find(t, seen, "/seen")
			// The kernel's directories stay, as with other builders.
			var kept, lines []string
			for _, dir := range []string{"dev", "proc", "sys"} {
				if line := "d 755 0:0 " + dir + "\n"; !strings.Contains(before, line) {
					kept, lines = append(kept, dir+"/"), append(lines, line)
				}
			}
			ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo x >/made; grep -q localhost /etc/hosts"}})))
			want := append([]string{"made"}, kept...)
			slices.Sort(want)
			equal(t, names(lastLayer(t, b, s)), strings.Join(want, "\n"))
			after := base(t, b)
			ok(t, errOf(after.Copy(t.Context(), "/seen", s.Path("/"))))
			left := find(t, after, "/seen")
			for _, line := range append(lines, "f 644 0:0 made\n") {
				left = strings.ReplaceAll(left, line, "")
			}
			equal(t, left, before)
		})
	}
}

// What a command does to a directory stays, where the runtime has to make a mount point
// in it too.
func TestRunKeepsDirectories(t *testing.T) {
	t.Parallel()
	b := open(t)
	for _, test := range []struct{ name, dir, rm string }{
		{"ordinary", "etc", ""},
		{"a link", "usr/etc", ""},
		{"removed files", "etc", "rm etc/hosts etc/resolv.conf"},
		{"a dangling link into it", "run", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := probed(t, b)
			switch test.name {
			case "a link":
				linked := scratch(t, b)
				ok(t, errOf(linked.Copy(t.Context(), "/", builder.Dir(baseDir).Exclude("etc"), builder.Dir(tree(t, map[string]string{"etc": "-> usr/etc", "usr/etc/passwd": passwd})))))
				ok(t, errOf(linked.Copy(t.Context(), "/bin/", s.Path("/bin/probe"))))
				s = linked
			case "a dangling link into it":
				run(t, s, "mkdir /run")
				ok(t, errOf(s.Copy(t.Context(), "/etc/", builder.Dir(tree(t, map[string]string{"hosts": "-> ../run/hosts"})))))
			case "removed files":
				ok(t, errOf(s.Copy(t.Context(), "/etc/", builder.Dir(tree(t, map[string]string{"hosts": "mine", "resolv.conf": "mine"})))))
				s = without(t, b, s, test.rm)
			}
			dir := "/" + test.dir
			for i, change := range []string{"touch -d @1000000000 " + dir, "touch " + dir + "/x && touch -d @1100000000 " + dir, "rm " + dir + "/x && touch -d @1200000000 " + dir, "probe setxattr " + dir + " user.a b"} {
				run(t, s, change)
				entry := entryOf(t, lastLayer(t, b, s), test.dir)
				want := []int64{1000000000, 1100000000, 1200000000, 1200000000}[i]
				if entry.ModTime.Unix() != want {
					t.Errorf("%s: the time in the layer is %v", change, entry.ModTime)
				}
				equal(t, sh(t, s, "stat -c %Y "+dir), fmt.Sprintln(want))
				if got := entry.PAXRecords["SCHILY.xattr.user.a"]; i == 3 && got != "b" {
					t.Errorf("the attribute is %q", got)
				}
			}
			// And what it does not change is in no layer.
			run(t, s, "echo x >/made")
			equal(t, names(lastLayer(t, b, s)), "made")
		})
	}
}

// without gives a stage in which a command has removed files of a lower layer. The
// command runs elsewhere, on a copy: the image is to have the whiteouts, and no RUN.
func without(t testing.TB, b *builder.Builder, s *builder.Stage, rm string) *builder.Stage {
	t.Helper()
	dir := t.TempDir()
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	_, err = b.Push(t.Context(), img.ID, "oci:"+dir+"/image:x", asIs)
	ok(t, err)
	addWhiteouts(t, dir+"/image", strings.Fields(rm))
	pulled, err := b.Pull(t.Context(), "oci:"+dir+"/image:x", builder.PullOptions{})
	ok(t, err)
	return stage(t, b, pulled.ID, builder.StageOptions{})
}
