//go:build linux

package builder_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/mount"
)

// races is how often each race is run.
var races = flag.Int("races", 15, "how often each race with a command is run")

// inBoth runs a test under both sandboxes.
func inBoth(t *testing.T, test func(t *testing.T, run runner)) {
	for _, sandbox := range sandboxes() {
		t.Run(string(sandbox), func(t *testing.T) {
			t.Parallel()
			test(t, func(t testing.TB, s *builder.Stage, script string, mounts ...builder.Mount) (string, error) {
				t.Helper()
				var out strings.Builder
				_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", script}, Mounts: mounts, Ephemeral: true, Stdout: &out, Stderr: &out, Isolation: isolation.Options{Sandbox: sandbox}})
				if strings.Contains(out.String(), secret) {
					t.Errorf("%s: a file of the host was read", script)
				}
				return out.String(), err
			})
		})
	}
}

// What a stage's links lead to is looked for in the stage, also by what is then written to
// (CVE-2024-1753).
func TestMountLinkOfStage(t *testing.T) {
	t.Parallel()
	b := open(t)
	outside := victim(t)
	other, s := base(t, b), base(t, b)
	run(t, other, "ln -s / /root-of-all; ln -s ../../../../../../../../ /up; ln -s "+outside+" /abs; ln -s /proc/self/root /magic; ln -s "+outside+"/marker /file; mkdir -p "+filepath.Dir(outside))
	inBoth(t, func(t *testing.T, run runner) {
		for _, name := range []string{"/root-of-all", "/up", "/root-of-all/up/root-of-all"} {
			out, err := run(t, s, "touch /x/BREAKOUT /x"+outside+"-BREAKOUT && ls -d /x/root-of-all; cat /x"+outside+"/marker; true", builder.Mount{Target: "/x", From: other.Path(name)})
			if err != nil || !strings.HasPrefix(out, "/x/root-of-all\n") {
				t.Errorf("%s: %v, %s", name, err, out)
			}
		}
		for _, name := range []string{"/abs", "/magic", "/file", "/root-of-all" + outside, "/magic" + outside + "/marker", "/../../.." + outside} {
			_, err := run(t, s, "cat /x /x/marker; echo BREAKOUT >/x/new || echo BREAKOUT >/x", builder.Mount{Target: "/x", From: other.Path(name)})
			is(t, err, builder.ErrNotFound)
		}
		// So it is with a directory of this machine.
		dir := tree(t, map[string]string{"abs": "-> " + outside, "up": "-> ../..", "magic": "-> /proc/self/root", "f": "x"})
		for _, name := range []string{"abs", "up" + outside, "magic" + outside, "../.." + outside, "abs/marker"} {
			_, err := run(t, s, "cat /x/marker /x", builder.Mount{Target: "/x", From: builder.Dir(dir).Select(name)})
			is(t, err, builder.ErrNotFound)
			_, err = run(t, s, "cat /x/marker", builder.Mount{Target: "/x", From: builder.Dir(dir).Select(name), Cache: &mount.Cache{}})
			is(t, err, builder.ErrNotFound)
		}
	})
	if _, err := os.Stat("/BREAKOUT"); err == nil {
		t.Error("a file was made in the host's root")
	}
}

// The id of a cache is no path, and its part is looked for in the cache (CVE-2024-9675,
// CVE-2024-23651).
func TestMountCacheOutside(t *testing.T) {
	t.Parallel()
	b := open(t)
	outside := victim(t)
	s := base(t, b)
	inBoth(t, func(t *testing.T, run runner) {
		for _, id := range []string{strings.Repeat("../", 20) + outside[1:], outside, "../mnt", "../../overlay"} {
			out, err := run(t, s, "ls -A /m; cat /m/marker 2>/dev/null; true", builder.Mount{Target: "/m", Cache: &mount.Cache{ID: id}})
			if err != nil || out != "" {
				t.Errorf("%s: %v, %s", id, err, out)
			}
		}
		cache := mount.Cache{ID: "s" + t.Name()}
		all := builder.Mount{Target: "/c", Cache: &cache}
		if _, err := run(t, s, "mkdir -p /c/sel && rm -rf /c/sel && ln -s /etc /c/sel && ln -s "+outside+" /c/out && ln -s ../../../../../../../.. /c/up && mkfifo /c/fifo && ln -s /proc/self/root /c/magic", all); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"sel", "out", "out/marker", "../..", "up" + outside, "../../../../../.." + outside, "magic" + outside} {
			part := cache
			part.Path = path
			out, err := run(t, s, "cat /v/marker /v/hostname /v/passwd; ls -d /v/oakum /v/caches /v/lock /v/data; true", builder.Mount{Target: "/v", Cache: &part})
			if err == nil && path != "../.." { // which is the cache
				t.Errorf("%s was found: %s", path, out)
			}
			if path == "../.." && (err != nil || strings.Contains(out, "\n/v/")) {
				t.Errorf("%s: %v, %s", path, err, out)
			}
		}
		part := cache
		part.Path = "fifo"
		_, err := run(t, s, "true", builder.Mount{Target: "/v", Cache: &part})
		is(t, err, builder.ErrInvalid)
	})
}

type runner = func(t testing.TB, s *builder.Stage, script string, mounts ...builder.Mount) (string, error)

// looping has a command run in a stage of its own until stop.
func looping(t *testing.T, s *builder.Stage, run runner, script string, mounts ...builder.Mount) (stop func()) {
	t.Helper()
	s = fork(t, s)
	flag := builder.Mount{Target: "/flag", Cache: &mount.Cache{ID: "flag " + t.Name()}}
	var ended sync.WaitGroup
	ended.Go(func() {
		if out, err := run(t, s, "touch /flag/go; while [ -e /flag/go ]; do "+script+"; done 2>/dev/null; rm -f /flag/*", append(mounts, flag)...); err != nil {
			t.Errorf("%s: %v, %s", script, err, out)
		}
	})
	other := fork(t, s)
	if out, err := run(t, other, "n=0; until [ -e /flag/go ] || [ $n = 60000 ]; do usleep 1000; n=$((n+1)); done; [ -e /flag/go ]", flag); err != nil {
		t.Errorf("%v, %s", err, out)
	}
	return func() {
		if out, err := run(t, other, "rm -f /flag/go", flag); err != nil {
			t.Errorf("%v, %s", err, out)
		}
		ended.Wait()
	}
}

// A part of a cache that another command swaps with a link at the same moment is never the host's
// (CVE-2024-11218).
func TestMountCacheRace(t *testing.T) {
	t.Parallel()
	b := open(t)
	outside := victim(t)
	s := base(t, b)
	inBoth(t, func(t *testing.T, run runner) {
		cache := mount.Cache{ID: "c " + t.Name()}
		if out, err := run(t, s, "mkdir /c/sel; echo inside >/c/sel/marker; ln -s "+outside+" /c/abs; ln -s ../../../../../../../../../.."+outside+" /c/up", builder.Mount{Target: "/c", Cache: &cache}); err != nil {
			t.Fatal(err, out)
		}
		stop := looping(t, s, run, "for l in abs up; do mv /c/sel /c/x; mv /c/$l /c/sel; usleep 200; mv /c/sel /c/$l; mv /c/x /c/sel; usleep 200; done", builder.Mount{Target: "/c", Cache: &cache})
		defer stop()
		part, inside := cache, 0
		part.Path = "sel"
		for range *races {
			out, err := run(t, s, "cat /v/marker", builder.Mount{Target: "/v", Cache: &part})
			if err == nil && out == "inside\n" {
				inside++
			}
		}
		t.Logf("%d of %d were inside", inside, *races)
	})
}

// A mount point in a cache that another command swaps with a link at the same moment never leads out
// of the command's own files (CVE-2021-30465, CVE-2024-45310).
func TestMountPointRace(t *testing.T) {
	t.Parallel()
	b := open(t)
	outside := victim(t)
	s := base(t, b)
	inBoth(t, func(t *testing.T, run runner) {
		cache := builder.Mount{Target: "/v", Cache: &mount.Cache{ID: "c " + t.Name()}}
		stop := looping(t, s, run, "rm -rf /v/a; ln -s / /v/a; rm /v/a; ln -s "+outside+" /v/a; rm /v/a; ln -s /proc/self/root/tmp /v/a; rm /v/a; mkdir /v/a", cache)
		defer stop()
		mounted := 0
		for range *races {
			out, err := run(t, s, "grep -c oakum-breakout /proc/self/mountinfo", cache, builder.Mount{Target: "/v/a/oakum-breakout/b", Tmpfs: &mount.Tmpfs{}},
				builder.Mount{Target: "/v/a/oakum-breakout/f", From: builder.Bytes("f", []byte("x"))})
			if err == nil && out == "2\n" {
				mounted++
			}
		}
		t.Logf("%d of %d were mounted", mounted, *races)
	})
	for _, dir := range []string{"/", "/tmp", outside} {
		if _, err := os.Lstat(filepath.Join(dir, "oakum-breakout")); err == nil {
			t.Errorf("a mount point was made in %s of the host", dir)
		}
	}
}

// Whatever an image has in the place of a target, the mount is in the image, and what shows the
// machine is not hidden (CVE-2019-16884, CVE-2023-27561).
func TestMountTargetLink(t *testing.T) {
	t.Parallel()
	b := open(t)
	outside := victim(t)
	s := base(t, b)
	run(t, s, "mkdir -p /in /f; ln -s /in /link; ln -s "+outside+" /abs; ln -s ../../../../../.. /up; ln -s /proc /toproc; ln -s /proc/self /toself; ln -s /sys/fs /tosys; ln -s /dev /todev; ln -s / /toroot; ln -s /none/x /dangling")
	inBoth(t, func(t *testing.T, run runner) {
		shows := "grep -c '^Pid:' /proc/self/status && test -e /proc/sys/kernel/ostype && test -d /sys/fs && echo >/dev/null"
		if inChroot { // where /sys is empty
			shows = strings.Replace(shows, "/sys/fs", "/sys", 1)
		}
		for _, target := range []string{"/link", "/abs", "/up/d", "/link/new/deep", "/dangling", "/toproc", "/toself", "/toproc/sys", "/tosys", "/todev", "/toroot", "/toroot/proc"} {
			for _, m := range []builder.Mount{{Tmpfs: &mount.Tmpfs{}}, {Cache: &mount.Cache{ID: "x"}}, {From: builder.Dir(baseDir).Select("etc")}} {
				m.Target = target
				out, err := run(t, s, shows, m)
				if err == nil && out != "1\n" {
					t.Errorf("%s: %s", target, out)
				}
				if want := strings.HasPrefix(target, "/link") || target == "/abs" || target == "/up/d" || target == "/dangling"; want && err != nil {
					t.Errorf("%s: %v, %s", target, err, out)
				}
			}
		}
	})
	equal(t, sh(t, s, "ls -A /in /f; ls -d /none /d 2>&1 | wc -l"), "/f:\n\n/in:\n2\n")
}

// A tmpfs has the size and the mode that were asked for, and goes with the command.
func TestMountTmpfs(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	inBoth(t, func(t *testing.T, run runner) {
		for range 2 {
			out, err := run(t, s, "stat -c '%a %u:%g' /t /u; ls -A /t /u; echo x >/t/x; cat /t/x; head -c 2000000 /dev/zero >/u/x || echo full",
				builder.Mount{Target: "/t", Tmpfs: &mount.Tmpfs{}}, builder.Mount{Target: "/u", Tmpfs: &mount.Tmpfs{Size: 1 << 20, Mode: 0o750}})
			if want := "1777 0:0\n750 0:0\n/t:\n\n/u:\nx\n"; err != nil || !strings.HasPrefix(out, want) || !inChroot && !strings.HasSuffix(out, "full\n") {
				t.Errorf("%v, %s", err, out)
			}
		}
	})
	equal(t, sh(t, s, "ls -d /t /u 2>/dev/null; true"), "")
}
