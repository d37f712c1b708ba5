//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

// exchange swaps two names of a directory, again and again, until the test ends.
func exchange(t testing.TB, dir, a, b string) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, a), unix.AT_FDCWD, filepath.Join(dir, b), unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(20 * time.Microsecond)
		}
	}()
	t.Cleanup(sync.OnceFunc(func() { close(stop); <-done }))
}

// A directory that is swapped with a link while it is copied never lets files from outside
// of the source in (CVE-2018-15664).
func TestSwappedDirectory(t *testing.T) {
	t.Parallel()
	b := open(t)
	outside := victim(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"sel/marker": "inside", "sel/d/f": "inside", "deep/sel/marker": "inside"} {
		ok(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		ok(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	for _, at := range []string{"", "deep"} {
		ok(t, os.Symlink(outside, filepath.Join(dir, at, "link")))
		exchange(t, filepath.Join(dir, at), "sel", "link")
	}
	inside := 0
	for range 30 {
		s := stage(t, b, builder.Scratch, builder.StageOptions{NoCache: true})
		for _, select1 := range []string{"sel", "sel/marker", "deep", "s*", "."} {
			_, _ = s.Copy(t.Context(), "/", builder.Dir(dir).Select(select1)) // what is in the way may be an error
		}
		for _, name := range []string{"marker", "d/f", "sel/marker", "sel/d/f"} {
			text, err := s.ReadFile(t.Context(), name, 100)
			if strings.Contains(string(text), secret) {
				t.Fatalf("%s is the host's", name)
			}
			if err == nil && string(text) == "inside" {
				inside++
			}
		}
		// Nor does a file that is read by itself.
		if text, _ := b.ReadFile(t.Context(), dir, "sel/marker", 100); strings.Contains(string(text), secret) {
			t.Fatal("sel/marker was read outside of the directory")
		}
		ok(t, s.Close())
	}
	if inside == 0 {
		t.Error("nothing was copied at all")
	}
}

// A command that leaves a process behind, which swaps a directory of the stage with a link
// to the host's, cannot send the next step's files there: nothing of it runs any more.
func TestSwappingProcess(t *testing.T) {
	t.Parallel()
	b := open(t)
	outside := victim(t)
	s := base(t, b)
	for range 5 {
		run(t, s, "rm -rf /d /e /now; mkdir /d; ln -s "+outside+" /e; "+
			"(setsid sh -c 'while :; do mv /d /x; mv /e /d; mv /d /e; mv /x /d; echo >>/now; done' </dev/null >/dev/null 2>&1 &) ; until [ -s /now ]; do :; done")
		before, err := s.ReadFile(t.Context(), "/now", 1<<20)
		ok(t, err)
		_, _ = s.Copy(t.Context(), "/d/f", builder.FS(fstest.MapFS{"d/f": {Data: []byte("of the build"), Mode: 0o644}}).Select("d/f")) // d may not be there
		time.Sleep(20 * time.Millisecond)
		after, err := s.ReadFile(t.Context(), "/now", 1<<20)
		ok(t, err)
		equal(t, string(after), string(before))
	}
}

// What a stage has in the place of programs and libraries that unpack archives and look
// up users is never started or loaded (CVE-2019-14271).
func TestNothingOfTheImageRuns(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	trap := "#!/bin/sh\necho ran >/ran\n"
	for _, name := range []string{"unpigz", "pigz", "gzip", "xz", "unxz", "bzip2", "zstd", "tar", "git", "getent", "id", "newuidmap"} {
		run(t, s, "mkdir -p /usr/bin /usr/local/bin; printf '"+strings.ReplaceAll(trap, "\n", "\\n")+"' >/usr/bin/"+name+"; chmod 755 /usr/bin/"+name+"; cp /usr/bin/"+name+" /usr/local/bin/")
	}
	for _, lib := range []string{"libnss_files.so.2", "libnss_evil.so.2", "libc.so.6"} {
		run(t, s, "mkdir -p /lib /lib64; cp /usr/bin/xz /lib/"+lib+"; cp /usr/bin/xz /lib64/"+lib)
	}
	run(t, s, "echo 'passwd: evil files' >/etc/nsswitch.conf")

	dir := t.TempDir()
	var packed bytes.Buffer
	gz := gzip.NewWriter(&packed)
	w := tar.NewWriter(gz)
	ok(t, w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Uname: "app", Gname: "apps"}))
	ok(t, w.Close())
	ok(t, gz.Close())
	ok(t, os.WriteFile(filepath.Join(dir, "a.tar.gz"), packed.Bytes(), 0o644))
	for _, compress := range []string{"gunzip -k a.tar.gz", "xz -k a.tar", "bzip2 -k a.tar"} {
		cmd := exec.Command("sh", "-c", compress)
		cmd.Dir = dir
		ok(t, cmd.Run())
	}
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"} {
		ok(t, errOf(s.Add(t.Context(), "/"+name+"/", builder.Dir(dir).Select(name).Chown("app:apps"))))
		if _, err := s.ReadFile(t.Context(), "/"+name+"/file", 1); err != nil {
			t.Errorf("%s was not unpacked: %v", name, err)
		}
	}
	s.Configure("", func(c *builder.Config) { c.User = "app"; c.Cmd = []string{"xz"} })
	ok(t, errOf(s.Workdir(t.Context(), "/home/app/new", "")))
	_, err := s.CheckCommand(t.Context())
	ok(t, err)
	if text, err := s.ReadFile(t.Context(), "/ran", 10); err == nil {
		t.Errorf("something of the image ran: %s", text)
	}
	s.Configure("", func(c *builder.Config) { c.User = "" })
	run(t, s, "/usr/bin/xz") // so that the trap is one
	if _, err := s.ReadFile(t.Context(), "/ran", 10); err != nil {
		t.Error("the trap does not work")
	}
}
