//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

const secret = "the host's secret"

// victim is a directory of the host that no build may read or change. The test fails
// when it has changed.
func victim(t testing.TB) string {
	t.Helper()
	dir := tree(t, map[string]string{"marker": secret, "d/f": secret, "link": "-> marker"})
	ok(t, os.Chmod(dir, 0o777))
	before := snapshot(t, dir)
	t.Cleanup(func() {
		if after := snapshot(t, dir); after != before {
			t.Errorf("the host's directory was\n%s\nand is now\n%s", before, after)
		}
	})
	return dir
}

func snapshot(t testing.TB, dir string) string {
	t.Helper()
	var out strings.Builder
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		sum := [32]byte{}
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(data)
		}
		fmt.Fprintf(&out, "%s %d %o %d:%d %x\n", path, st.Ino, st.Mode, st.Uid, st.Gid, sum[:4])
		return nil
	}))
	return out.String()
}

// up leads from any directory that a test has to the host's root.
const up = "../../../../../../../../../../../.."

func TestCopyDestinationStaysInside(t *testing.T) {
	t.Parallel()
	host := victim(t)
	b := open(t)
	s := base(t, b)
	run(t, s, "ln -s "+host+" /abs; ln -s "+up+host+" /rel; ln -s / /root/r; ln -s /proc/1/root /proc-root; mkdir /links; ln -s "+host+"/marker /links/f; ln -s "+host+" /links/d")
	f := file("f", "mine")
	for _, dest := range []string{"/abs/x", "/rel/x", "/abs/", "/root/r" + host + "/y", "/proc-root" + host + "/z", "/abs/../../up", up + host + "/w", "/links"} {
		ok(t, errOf(s.Copy(t.Context(), dest, f)))
	}
	// Directories of the source meet links of the image.
	is(t, errOf(s.Copy(t.Context(), "/links", builder.FS(fstest.MapFS{"d/marker": {Data: []byte("mine"), Mode: 0o644}}))), builder.ErrInvalid)
	ok(t, errOf(s.Copy(t.Context(), "/links", builder.FS(fstest.MapFS{"f": {Data: []byte("mine"), Mode: 0o644}}))))
	equal(t, sh(t, s, "cat "+host+"/x "+host+"/y "+host+"/w; ls "+host), "mineminemine"+"f\nw\nx\ny\n")
	ok(t, errOf(s.Workdir(t.Context(), "/abs/made/here", "")))
	ok(t, errOf(s.Add(t.Context(), "/rel/added/", f)))
}

func TestContextLinksStayInside(t *testing.T) {
	t.Parallel()
	host := victim(t)
	b := open(t)
	s := base(t, b)
	context := tree(t, map[string]string{
		"abs": "-> " + host + "/marker", "rel": "-> " + up + host + "/marker", "dir": "-> " + host, "up": "-> ..", "proc": "-> /proc/self/root" + host,
		"in/abs": "-> " + host + "/marker", "inside": "-> /in/real", "in/real": "real",
	})
	dir := builder.Dir(context)
	for _, name := range []string{"abs", "rel", "dir/marker", "up/" + filepath.Base(filepath.Dir(context)), "proc/marker", "dir/*", up + host + "/marker", "dir/d"} {
		_, err := s.Copy(t.Context(), "/stolen/", dir.Select(name))
		if !strings.Contains(name, "*") {
			is(t, err, builder.ErrNotFound)
		}
	}
	// A link that is named is followed inside the context; others are copied as links.
	ok(t, errOf(s.Copy(t.Context(), "/named", dir.Select("inside"))))
	ok(t, errOf(s.Copy(t.Context(), "/all", dir)))
	equal(t, sh(t, s, "cat /named; readlink /all/abs; cat /all/abs /all/in/abs /stolen/* 2>/dev/null; true"), "real"+host+"/marker\n")
}

func TestStageLinksStayInside(t *testing.T) {
	t.Parallel()
	host := victim(t)
	b := open(t)
	from := base(t, b)
	run(t, from, "ln -s "+host+"/marker /file; ln -s "+up+host+" /dir; ln -s / /all; ln -s ../../../../etc/passwd /own")
	to := base(t, b)
	is(t, errOf(to.Copy(t.Context(), "/x", from.Path("/file"))), builder.ErrNotFound)
	is(t, errOf(to.Copy(t.Context(), "/x", from.Path("/dir/marker"))), builder.ErrNotFound)
	is(t, errOf(to.Copy(t.Context(), "/x", from.Path("/all"+host+"/marker"))), builder.ErrNotFound)
	is(t, errOf(to.Copy(t.Context(), "/x", from.Path("/proc/1/root"+host+"/marker"))), builder.ErrNotFound)
	ok(t, errOf(to.Copy(t.Context(), "/y", from.Path("/own"))))
	equal(t, sh(t, to, "head -n 1 /y"), "root:x:0:0:root:/root:/bin/sh\n")
	ok(t, errOf(to.Copy(t.Context(), "/z", from.Path("/"))))
	equal(t, sh(t, to, "readlink /z/file"), host+"/marker\n")
}

// archive is a tar with the entries as they are.
func archive(t testing.TB, headers ...tar.Header) builder.Source {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		data := ""
		if h.Typeflag == tar.TypeReg {
			data = "evil"
		}
		h.Size, h.Mode = int64(len(data)), 0o644
		if h.Typeflag == tar.TypeDir {
			h.Mode = 0o777
		}
		ok(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(data))
		ok(t, err)
	}
	ok(t, w.Close())
	return builder.FS(fstest.MapFS{"a.tar": {Data: buf.Bytes(), Mode: 0o644}}).Select("a.tar")
}

// hostileArchives are archives that would lead to a directory of the host.
func hostileArchives(t testing.TB, host string) map[string]builder.Source {
	t.Helper()
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to} }
	return map[string]builder.Source{
		"up":                    archive(t, reg(up+host+"/evil")),
		"up at its end":         archive(t, tar.Header{Name: "x/../..", Typeflag: tar.TypeDir}),
		"absolute":              archive(t, reg(host+"/evil")),
		"through a link":        archive(t, link("l", host), reg("l/evil")),
		"through a link up":     archive(t, link("l", up+host), reg("l/marker")),
		"over a link":           archive(t, link("l", host+"/marker"), reg("l")),
		"mode through a link":   archive(t, link("l", host), tar.Header{Name: "l", Typeflag: tar.TypeDir}),
		"hard link out":         archive(t, hard("h", host+"/marker"), reg("h")),
		"hard link up":          archive(t, hard("h", up+host+"/marker"), reg("h")),
		"whiteout through link": archive(t, link("l", host), reg("l/.wh.marker"), reg("l/.wh..wh..opq")),
		"a sibling":             archive(t, link("l", "../in-evil"), reg("l/f"), reg("../in-evil/f"), hard("h", "../in-evil/f"), hard("h", "/in-evil/f")),
		"whiteouts":             archive(t, reg(".wh..."), reg(".wh.."), reg(up+host+"/.wh.marker")),
	}
}

func TestAddedArchiveStaysInside(t *testing.T) {
	t.Parallel()
	host := victim(t)
	b := open(t)
	for name, source := range hostileArchives(t, host) {
		t.Run(name, func(t *testing.T) {
			s := base(t, b)
			ok(t, errOf(s.Copy(t.Context(), "/in-evil/", file("f", "of the image"))))
			_, err := s.Add(t.Context(), "/in/", source)
			t.Log(err)
			equal(t, sh(t, s, "cat /in-evil/f; ls /in-evil"), "of the imagef\n")
			if strings.Contains(sh(t, s, "cat /in/* /in/*/* 2>/dev/null; true"), secret) {
				t.Error("the secret is in the stage")
			}
		})
	}
}

func TestSpecialFilesDoNotHang(t *testing.T) {
	t.Parallel()
	context := tree(t, map[string]string{"f": "f"})
	ok(t, unix.Mkfifo(filepath.Join(context, "fifo"), 0o600))
	l, err := net.Listen("unix", filepath.Join(context, "socket"))
	ok(t, err)
	defer l.Close()
	b := open(t)
	s := base(t, b)
	within(t, time.Minute, func() {
		ok(t, errOf(s.Copy(t.Context(), "/all", builder.Dir(context))))
		ok(t, errOf(s.Add(t.Context(), "/one/", builder.Dir(context).Select("fifo"))))
	})
	equal(t, find(t, s, "/all")+find(t, s, "/one"), "f 644 0:0 f\nfifo 600 0:0 fifo\nf 755 0:0 socket\nfifo 600 0:0 fifo\n")
	// In the place of files that are looked into.
	for _, script := range []string{
		"rm /etc/passwd && mkfifo /etc/passwd", "rm /etc/group && mkfifo /etc/group", "ln -sf /proc/kmsg /etc/passwd",
		"rm /etc/passwd && mkdir /etc/passwd", "ln -sf /dev/zero /etc/group", "ln -sf passwd /etc/passwd",
	} {
		odd := base(t, b)
		run(t, odd, script)
		within(t, time.Minute, func() {
			if _, err := odd.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, User: "app:extra"}); err == nil {
				t.Errorf("%s: the user was found", script)
			}
			if _, err := odd.Copy(t.Context(), "/x", file("f", "x").Chown("app:extra")); err == nil {
				t.Errorf("%s: the owner was found", script)
			}
		})
	}
}

// within fails the test when f takes longer.
func within(t testing.TB, limit time.Duration, f func()) {
	t.Helper()
	timer := time.AfterFunc(limit, func() { panic(t.Name() + " hangs") })
	defer timer.Stop()
	f()
}

// The users of an image are its own, not the host's, also by a link.
func TestUsersAreTheImages(t *testing.T) {
	t.Parallel()
	host := tree(t, map[string]string{"passwd": "evil:x:6666:6666::/:/bin/sh\n"})
	b := open(t)
	s := base(t, b)
	run(t, s, "ln -sf "+host+"/passwd /etc/passwd")
	is(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, User: "evil"})), builder.ErrUserNotFound)
	is(t, errOf(s.Copy(t.Context(), "/x", file("f", "x").Chown("evil"))), builder.ErrUserNotFound)
	// A link inside the image is followed.
	run(t, s, "mkdir -p /usr/lib && printf 'in:x:77:78::/in:/bin/sh\\n' >/usr/lib/passwd && ln -sf ../usr/lib/passwd /etc/passwd")
	equal(t, output(t, s, builder.Cmd{Args: []string{"/bin/sh", "-c", "id -u; id -g; echo $HOME"}, User: "in", Ephemeral: true}), "77\n78\n/in\n")
}

// Mount points that are links lead nowhere but into the image.
func TestMountPointsThatAreLinks(t *testing.T) {
	t.Parallel()
	host := victim(t)
	b := open(t)
	for _, name := range []string{"dev", "proc", "sys", "etc"} {
		for _, target := range []string{host, up + host} {
			s := scratch(t, b)
			ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(baseDir).Exclude("etc", "dev", "proc", "sys"), builder.Dir(tree(t, map[string]string{name: "-> " + target})))))
			var out strings.Builder
			_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "cat " + host + "/marker /" + name + "/marker; echo x >/" + name + "/x"}, Stdout: &out})
			if strings.Contains(out.String(), secret) {
				t.Errorf("/%s -> %s: %v: the secret is out", name, target, err)
			}
		}
	}
}

// What an image configures is no more trusted than what it holds.
func TestHostileConfiguration(t *testing.T) {
	t.Setenv("CI_TOKEN", secret)
	b := open(t)
	s := base(t, b)
	s.Configure("", func(c *builder.Config) {
		c.Env = []string{"CI_TOKEN", "LD_PRELOAD=/evil.so", "_OAKUM_WORKER=root", "_LIBCONTAINER_INITPIPE=3", "_OAKUM_WORKER_CHILD=1", "GODEBUG=x", "="}
	})
	_, err := s.Commit(t.Context(), "evil", builder.CommitOptions{})
	ok(t, err)
	next := stage(t, b, "evil", builder.StageOptions{})
	if got := sh(t, next, "env"); strings.Contains(got, secret) {
		t.Errorf("the host's environment is in the command's:\n%s", got)
	}
	// An image's JSON cannot hold it.
	next.Configure("", func(c *builder.Config) { c.Env = []string{"\xff=\xfe"} })
	_, err = next.Commit(t.Context(), "evil", builder.CommitOptions{})
	is(t, err, builder.ErrInvalid)
	next.Configure("", func(c *builder.Config) { c.Env = []string{"A=\x00B=evil"} })
	is(t, errOf(next.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}})), builder.ErrInvalid)
	next.Configure("", func(c *builder.Config) { c.Env = nil })
	is(t, errOf(next.Run(t.Context(), builder.Cmd{Args: []string{"/bin/echo", "a\x00b"}})), builder.ErrInvalid)
	is(t, errOf(next.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Dir: "/a\x00b"})), builder.ErrInvalid)
}
