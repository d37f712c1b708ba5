//go:build linux

package builder_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

// own are attributes by which storage drivers would show another file than there is.
var own = []string{"user.overlay.opaque", "user.overlay.redirect", "user.overlay.overlay.opaque", "user.containers.override_stat", "user.fuseoverlayfs.opaque", "user.rootlesscontainers"}

// attributes shows those of the files below a directory of a stage, which holds no tools for it.
func attributesOf(t *testing.T, b *builder.Builder, s *builder.Stage) string {
	t.Helper()
	var out []string
	for _, e := range lastLayer(t, b, s) {
		for key := range e.PAXRecords {
			if attr, found := strings.CutPrefix(key, "SCHILY.xattr."); found {
				out = append(out, e.Name+" "+attr)
			}
		}
	}
	return strings.Join(sorted(out), "\n")
}

// What a context has of storage drivers' attributes stays there.
func TestStoresOwnAttributesOfAContext(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"d/passwd": "x"})
	for _, attr := range own {
		for _, f := range []string{"/d", "/d/passwd"} {
			setxattr(t, dir+f, attr, "y")
			setxattr(t, dir+f, "user.mine", "y")
		}
	}
	b, warned := warnings(t)
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/etc", builder.Dir(dir).Select("d"))))
	if text := warned(); strings.Count(text, "storage drivers") != 1 || !strings.Contains(text, " of passwd, ") || !strings.Contains(text, " and 3 more") {
		t.Errorf("warned of %q", text)
	}
	ok(t, errOf(s.Copy(t.Context(), "/e", builder.Dir(dir))))
	equal(t, attributesOf(t, b, s), "e/d/ user.mine\ne/d/passwd user.mine")
	equal(t, sh(t, s, "ls /etc /e/d"), "/e/d:\npasswd\n\n/etc:\ngroup\nhosts\npasswd\nresolv.conf\n")
}

// A command's are taken away before anything sees them, with one notice.
func TestStoresOwnAttributesOfARun(t *testing.T) {
	t.Parallel()
	b, warned := warnings(t)
	s := withXattrTool(t, b)
	script := "mkdir -p /d/sub; echo >/d/f; for i in 1 2 3 4; do echo >/d/$i; done\n"
	for _, attr := range own {
		script += "for f in /d /d/sub /d/f /d/1 /d/2 /d/3 /d/4; do /attr set $f " + attr + " y; done\n"
	}
	run(t, s, script+"for f in /d /d/f; do /attr set $f user.mine y; done; exit 0")
	equal(t, sh(t, s, "for f in /d /d/sub /d/f /etc; do /attr list $f; done"), "user.mine\nuser.mine\n")
	equal(t, attributesOf(t, b, s), "d/ user.mine\nd/f user.mine")
	if text := warned(); strings.Count(text, "storage drivers") != 1 || !strings.Contains(text, " of /d") || strings.Contains(text, "overlay.overlay.overlay") {
		t.Errorf("warned of %q", text)
	}
	// The root has none at all.
	run(t, s, "/attr set / user.mine y; /attr set / user.containers.override_stat y; exit 0")
	if text := warned(); !strings.Contains(text, "/ were changed") {
		t.Errorf("warned of %q", text)
	}
	equal(t, sh(t, s, "/attr list /"), "")
	// What is removed in a directory that looked opaque is what stays removed.
	run(t, s, "/attr set /etc user.overlay.opaque y; echo >/etc/new; exit 0")
	equal(t, sh(t, s, "cat /etc/passwd"), passwd)
}

// withXattrTool gives a stage with a program that sets and lists attributes, which busybox
// cannot.
func withXattrTool(t *testing.T, b *builder.Builder) *builder.Stage {
	t.Helper()
	dir := tree(t, map[string]string{"main.go": xattrTool})
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "attr"), filepath.Join(dir, "main.go"))
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GO111MODULE=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/attr", builder.Dir(dir).Select("attr").Chmod("755"))))
	return s
}

const xattrTool = `package main

import (
	"os"
	"strings"
	"syscall"
)

func main() {
	var err error
	switch os.Args[1] {
	case "set":
		err = syscall.Setxattr(os.Args[2], os.Args[3], []byte(os.Args[4]), 0)
	case "list":
		buf, n := make([]byte, 4096), 0
		n, err = syscall.Listxattr(os.Args[2], buf)
		for _, name := range strings.Split(string(buf[:n]), "\x00") {
			if strings.HasPrefix(name, "user.") {
				os.Stdout.WriteString(name + "\n")
			}
		}
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
`

// A layer that another program put into root's store may have overlay's attributes; a directory
// that says it is another one is not followed.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/lib", builder.Dir(tree(t, map[string]string{"f": "f"})))))
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	dirs, err := filepath.Glob(filepath.Join(root, "overlay", "*", "diff", "lib"))
	ok(t, err)
	if len(dirs) != 1 {
		t.Fatalf("the directory is at %q", dirs)
	}
	redirect := "trusted.overlay.redirect"
	if rootless() {
		redirect = "user.overlay.redirect"
	}
	ok(t, unix.Lsetxattr(dirs[0], redirect, []byte("/bin"), 0))
	var out strings.Builder
	_, err = stage(t, b, img.ID, builder.StageOptions{}).Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "ls /lib"}, Stdout: &out})
	if strings.Contains(out.String(), "busybox") {
		t.Errorf("%v: /lib is /bin:\n%s", err, out.String())
	}
}
