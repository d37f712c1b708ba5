//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
)

const rootIs = "555 0:0\n"

func rootOf(t *testing.T, s *builder.Stage) string {
	t.Helper()
	return sh(t, s, "stat -c '%a %u:%g' /")
}

// The root is no part of an image: it is the same in the next step, in the store, and for who
// pulls the image, whatever a command or a layer says of it.
func TestRootOfAnImage(t *testing.T) {
	t.Parallel()
	var warned []string
	b := openIn(t, builder.Options{Root: tempDir(t), Events: func(e event.Event) {
		if e.Kind == event.Warning && !strings.Contains(e.Text, "not kept apart") {
			warned = append(warned, e.Text)
		}
	}})
	plain := base(t, b)
	equal(t, rootOf(t, plain), rootIs)
	run(t, plain, "echo >/new && rmdir /home/app; touch -d 2001-01-01 /")
	equal(t, strings.Join(warned, "\n"), "")
	for _, script := range []string{"chmod 711 / && chown 3:4 /", "chmod 1777 /", "chown 1:0 /"} {
		warned = nil
		s := base(t, b)
		run(t, s, script)
		if len(warned) != 1 || !strings.Contains(warned[0], "/ were changed") {
			t.Errorf("%s: warned of %q", script, warned)
		}
		equal(t, rootOf(t, s), rootIs)
		layer := lastLayer(t, b, s)
		equal(t, names(layer), "")
		img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
		ok(t, err)
		equal(t, rootOf(t, stage(t, b, img.ID, builder.StageOptions{})), rootIs)
		ref := "oci-archive:" + filepath.Join(t.TempDir(), "a.tar")
		_, err = b.Push(t.Context(), img.ID, ref, asIs)
		ok(t, err)
		other := open(t)
		pulled, err := other.Pull(t.Context(), ref, builder.PullOptions{})
		ok(t, err)
		equal(t, pulled.ID, img.ID)
		equal(t, rootOf(t, stage(t, other, pulled.ID, builder.StageOptions{})), rootIs)
	}
}

// Layers made of temporary directories have entries for their root that would lock everybody out.
func TestRootEntryOfABase(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"./", ".", "/", "x/.."} {
		b := open(t)
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		ok(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o700, Uid: 5, Gid: 6, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}))
		ok(t, w.WriteHeader(&tar.Header{Name: "./f", Typeflag: tar.TypeReg, Mode: 0o644}))
		ok(t, w.Close())
		img, err := tampered(t, b, func(dir string) { addLayer(t, dir, buf.Bytes()) })
		ok(t, err)
		s := stage(t, b, img.ID, builder.StageOptions{})
		ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/ls", "/f"}, User: "app"})))
		equal(t, rootOf(t, s), rootIs)
		// The bytes of the layer are what they were.
		all := layers(t, b, img.ID)
		equal(t, names(all[len(all)-1]), strings.Join(sorted([]string{name, "./f"}), "\n"))
	}
}

// A directory that is copied on the root gives it nothing.
func TestCopyOnTheRoot(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := tree(t, map[string]string{"f": "f"})
	ok(t, unix.Chmod(dir, 0o700))
	setxattr(t, dir, "user.x", "y")
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(dir).Chown("7:8").Chmod("700"))))
	ok(t, errOf(s.Copy(t.Context(), "/", base(t, b).Path("/"))))
	equal(t, rootOf(t, s), rootIs)
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, User: "1234"})))
}
