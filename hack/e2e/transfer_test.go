//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oakum-build/oakum/hack/chaos"
)

// patience is how long a test waits for what comes for certain.
const patience = 2 * time.Minute

// An ending is a way in which oakum is ended.
type ending struct {
	name   string
	signal func(pid int) error
	status int
}

var (
	// Nobody is left to remove a scratch directory; the next one must.
	killed = ending{"killed", func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }, -1}
	// The terminal signals the whole foreground group.
	interrupted = ending{"interrupted", func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) }, 130}
)

// noisy is a Dockerfile with layers that take their time to be sent.
const noisy = `FROM busybox
RUN head -c 2000000 /dev/urandom >/a
RUN head -c 2500000 /dev/urandom >/b
ARG pause=0
RUN sleep $pause
`

// A moment is when a request of a registry is answered halfway.
type moment struct {
	name  string
	of    string
	skip  int // so many are answered before
	after int // bytes of its body
}

// reach lets a registry halt at a moment, and waits for that. over ends it.
func (m moment) reach(t *testing.T, r *chaos.Registry) (wait, over func()) {
	reached, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.Break(chaos.Rule{Of: m.of, Skip: m.skip, Fault: chaos.Halt(m.after, func() { once.Do(func() { close(reached) }) }, done)})
	over = sync.OnceFunc(func() { close(done) })
	t.Cleanup(over)
	return func() {
		t.Helper()
		select {
		case <-reached:
		case <-time.After(patience):
			t.Fatal("the transfer has not come that far")
		}
	}, over
}

// gone checks that an oakum that was ended has left nothing: no process, no mount, no file outside of the
// store, and in the store nothing but what the next one removes.
func (v *victim) gone(e ending, outside []string) {
	v.t.Helper()
	waitFor(v.t, patience, "processes and mounts are gone", v.remains)
	if e.status != killed.status {
		waitFor(v.t, patience, "the store is as it was", func() string { return v.newFiles("") })
	}
	if left := without(v.outside(), outside); len(left) > 0 {
		v.t.Errorf("it left %q", left)
	}
}

// outside lists the files of the home that are not in the store. containers/storage replaces small files in its run
// root, which a restart of the machine empties; what it was about to put there when it was killed stays.
func (h *testHome) outside() []string {
	h.t.Helper()
	replacing := filepath.Join(h.dir, "run/containers/overlay-layers/.tmp-mountpoints.json")
	var names []string
	err := filepath.WalkDir(h.dir, func(name string, _ fs.DirEntry, err error) error {
		if name == h.graph {
			return fs.SkipDir
		}
		if !strings.HasPrefix(name, replacing) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return names
}

func without(names, known []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(known, name) })
}

// TestPushEnds: a push that is ended leaves blobs and no manifest. The next one sends no blob that arrived.
func TestPushEnds(t *testing.T) {
	h := newHome(t)
	h.run(oakum, "build", "-q", "-t", "app", h.context("app", noisy))
	h.run(oakum, "push", "-q", "--tls-verify=false", "app", chaos.New(t).Host+"/app:1")
	for _, m := range []moment{
		{"at its first upload", "POST /v2/app/blobs", 0, 0},
		{"at a piece", "PATCH /v2/app/blobs", 1, 300 << 10},
		{"at the end of a layer", "PUT /v2/app/blobs", 2, 0},
		{"at the manifest", "PUT /v2/app/manifests", 0, 0},
	} {
		for _, e := range []ending{killed, interrupted} {
			t.Run(m.name+" "+e.name, func(t *testing.T) {
				h := *h
				h.t = t
				r := chaos.New(t)
				p := pushed{&h, r, 0}
				reach, over := m.reach(t, r)
				outside := h.outside()
				args := []string{"push", "-q", "--tls-verify=false", "app", r.Host + "/app:1"}
				v := h.begin(args...)
				reach()
				v.look()
				v.end(e.signal, e.status)
				v.gone(e, outside)
				p.again(v, over, strings.Contains(m.of, "/blobs"), args)
			})
		}
	}
}

// TestPushBesideBuildEnds is the same for a push that goes on while a command runs.
func TestPushBesideBuildEnds(t *testing.T) {
	h := newHome(t)
	h.run(oakum, "build", "-q", "--push", "--tls-verify=false", "-t", chaos.New(t).Host+"/app:1", h.context("app", noisy))
	for _, m := range []moment{
		{"at a piece", "PATCH /v2/app/blobs", 1, 300 << 10},
		{"at the end of a layer", "PUT /v2/app/blobs", 2, 0},
		{"when all is sent", "", 0, 0},
	} {
		for _, e := range []ending{killed, interrupted} {
			t.Run(m.name+" "+e.name, func(t *testing.T) {
				h := *h
				h.t = t
				r := chaos.New(t)
				p := pushed{&h, r, 1} // what asks whether it may is sent again
				reach, over := func() {
					// The busybox layer, those of two commands, and what asked.
					waitFor(t, patience, "the layers are sent", func() string {
						if n := len(r.Blobs("app")); n < 4 {
							return fmt.Sprintf("%d blobs", n)
						}
						return ""
					})
				}, func() {}
				if m.of != "" {
					reach, over = m.reach(t, r)
				}
				outside := h.outside()
				args := []string{"build", "-q", "--push", "--tls-verify=false", "-t", r.Host + "/app:1", "app"}
				b := &sleepingBuild{mark: newMark()}
				b.victim = h.begin(append(args, "--build-arg", "pause="+b.mark)...)
				reach()
				waitFor(t, patience, "the command runs", func() string {
					if len(sleeping(t, b.mark)) == 0 {
						return "no sleep"
					}
					return ""
				})
				b.look()
				b.end(e.signal, e.status)
				waitFor(t, patience, "the command is gone", b.remains)
				b.gone(e, outside)
				p.again(b.victim, over, true, args)
			})
		}
	}
}

// pushed is a registry that a push to has ended early.
type pushed struct {
	*testHome
	r    *chaos.Registry
	asks int
}

// again pushes again.
func (p pushed) again(v *victim, over func(), uncertain bool, args []string) {
	p.t.Helper()
	if _, raw := p.r.Manifest("app", "1"); raw != nil {
		p.t.Error("the manifest is there")
	}
	over()
	p.r.Rest(p.t)
	// A blob whose arrival oakum was not told of before it ended may come again.
	arrived, unsure := len(p.r.Blobs("app")), 0
	if uncertain {
		unsure = len(p.r.Requests("PUT /v2/app/blobs"))
	}
	p.r.Break()
	p.run(oakum, args...)
	if _, raw := p.r.Manifest("app", "1"); raw == nil {
		p.t.Error("there is no manifest")
	}
	sent, news := len(p.r.Requests("PUT /v2/app/blobs")), len(p.r.Blobs("app"))-arrived
	if sent < news || sent > news+unsure+p.asks {
		p.t.Errorf("the next push sent %d blobs; %d were missing, and of %d it could not know", sent, news, unsure)
	}
	if files := v.newFiles("overlay/tempdirs/oakum/"); files != "" {
		p.t.Errorf("the next push left %s", files)
	}
}

// TestPullEnds: a pull that is ended has left no image and no layer, and the next one succeeds.
func TestPullEnds(t *testing.T) {
	h, from := newHome(t), newHome(t)
	r := chaos.New(t)
	from.run(oakum, "build", "-q", "-t", "app", from.context("app", noisy))
	from.run(oakum, "push", "-q", "--tls-verify=false", "app", r.Host+"/app:1")
	args := []string{"pull", "-q", "--tls-verify=false", r.Host + "/app:1"}
	id := h.run(oakum, args...) // what a store makes when it is first needed is there then
	h.run(oakum, "rmi", "-af")
	for _, m := range []moment{
		{"at the manifest", "GET /v2/app/manifests", 0, 100},
		{"at its first blob", "GET /v2/app/blobs", 0, 100},
		{"in a layer", "GET /v2/app/blobs", 1, 1 << 20},
		{"at the last layer", "GET /v2/app/blobs", 4, 1 << 20},
	} {
		for _, e := range []ending{killed, interrupted} {
			t.Run(m.name+" "+e.name, func(t *testing.T) {
				h := *h
				h.t = t
				reach, over := m.reach(t, r)
				outside := h.outside()
				v := h.begin(args...)
				reach()
				v.look()
				v.end(e.signal, e.status)
				v.gone(e, outside)
				over()
				r.Break()
				if out := h.run(oakum, "images", "-q"); out != "" {
					t.Errorf("there are the images %s", out)
				}
				if files := v.newFiles(""); files != "" {
					t.Errorf("when the next one had run there was %s", files)
				}
				if got := h.run(oakum, args...); got != id {
					t.Errorf("then it pulled %s, want %s", got, id)
				}
				h.run(oakum, "rmi", "-af")
			})
		}
	}
}

// TestOutputsEnd: an output that is ended on its way is not there, or not in part, and the next one is whole.
func TestOutputsEnd(t *testing.T) {
	h := newHome(t)
	h.run(oakum, "build", "-q", "-t", "app", h.context("app", `FROM busybox
RUN head -c 20000000 /dev/urandom >/noise
RUN mkdir /many; for i in $(seq 600); do head -c 1000 /dev/zero >/many/$i; done
`))
	build := func(output string) func(dest string) []string {
		return func(dest string) []string { return []string{"build", "-q", "-o", output + dest, "app"} }
	}
	for name, args := range map[string]func(dest string) []string{
		"save":           func(dest string) []string { return []string{"save", "-q", "-o", dest, "app"} },
		"pushed":         func(dest string) []string { return []string{"push", "-q", "app", "oci-archive:" + dest} },
		"pushed, Docker": func(dest string) []string { return []string{"push", "-q", "app", "docker-archive:" + dest} },
		"tar":            build("type=tar,dest="),
		"archive":        build("type=oci,dest="),
		"layout":         build("type=oci,tar=false,dest="),
		"directory":      build("type=local,dest="),
	} {
		whole, part := filepath.Join(h.dir, name, "whole"), filepath.Join(h.dir, name, "part")
		if err := os.Mkdir(filepath.Join(h.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		h.run(oakum, args(whole)...)
		size := bytesOf(t, nil, whole)
		for _, step := range []struct {
			at float64
			ending
		}{{.4, killed}, {.6, interrupted}} {
			t.Run(fmt.Sprintf("%s %s at %v", name, step.name, step.at), func(t *testing.T) {
				h := *h
				h.t = t
				outside := h.outside()
				v := h.atBytes(max(1, int64(step.at*float64(size))), part, args(part), step.ending)
				v.notInPart(part, whole, outside, step.ending)
				h.run(oakum, args(part)...)
				h.run("diff", "-r", "--no-dereference", whole, part)
				if left := without(h.outside(), outside); len(left) == 0 || slices.ContainsFunc(left, func(name string) bool { return !strings.HasPrefix(name, part) }) {
					t.Errorf("the next one left %q", left)
				}
				if err := os.RemoveAll(part); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// atBytes ends an oakum when it has written some bytes of an output. It may be done before that is seen;
// then it is tried again.
func (h *testHome) atBytes(n int64, dest string, args []string, e ending) *victim {
	h.t.Helper()
	for range 20 {
		v := h.begin(args...)
		reached := false
		for ; !reached && v.alive(); time.Sleep(time.Millisecond) {
			v.look()
			reached = bytesOf(h.t, v.family, dest) >= n
		}
		if reached {
			if err := e.signal(v.cmd.Process.Pid); err != nil {
				h.t.Fatal(err)
			}
		}
		_ = v.cmd.Wait()
		switch code := v.cmd.ProcessState.ExitCode(); {
		case code == e.status:
			return v
		case code != 0:
			h.t.Fatalf("oakum ended with %v\n%s", v.cmd.ProcessState, v.output.String())
		}
		if err := os.RemoveAll(dest); err != nil {
			h.t.Fatal(err)
		}
	}
	h.t.Fatalf("it was never seen to have written %d bytes", n)
	return nil
}

// alive tells whether oakum has not ended yet.
func (v *victim) alive() bool {
	p, ok := readProcess(fmt.Sprint(v.cmd.Process.Pid))
	return ok && p.state != "Z"
}

// bytesOf is how many bytes processes have written of an output: of files in its place, and of those that are open
// beside it and have no name yet.
func bytesOf(t *testing.T, family []process, dest string) (n int64) {
	t.Helper()
	seen := map[string]bool{}
	add := func(path string) {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return
		}
		if st := info.Sys().(*syscall.Stat_t); !seen[fmt.Sprint(st.Dev, st.Ino)] {
			seen[fmt.Sprint(st.Dev, st.Ino)] = true
			n += info.Size()
		}
	}
	for _, p := range family {
		open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.pid))
		for _, fd := range open {
			if to, err := os.Readlink(fd); err == nil && filepath.Dir(to) == filepath.Dir(dest) {
				add(fd)
			}
		}
	}
	_ = filepath.WalkDir(dest, func(path string, _ fs.DirEntry, err error) error {
		add(path)
		return nil // it is being written
	})
	return n
}

// notInPart checks what an output that was ended has left: of what it should become only what is whole, and nothing
// elsewhere.
func (v *victim) notInPart(dest, whole string, outside []string, e ending) {
	v.t.Helper()
	waitFor(v.t, patience, "processes and mounts are gone", v.remains)
	for _, name := range without(v.outside(), outside) {
		rel, err := filepath.Rel(dest, name)
		if err != nil {
			v.t.Fatal(err)
		}
		own, _, _ := strings.Cut(strings.TrimPrefix(rel, "../"), "/") // in the output or beside it
		if e.status == killed.status && strings.HasPrefix(own, ".oakum-") {
			continue // the next one removes it
		}
		if !filepath.IsLocal(rel) || !sameFile(name, filepath.Join(whole, rel)) {
			v.t.Errorf("left: %s", name)
		}
	}
}

// sameFile tells whether two files are the same, but for what is in directories.
func sameFile(one, other string) bool {
	a, err := os.Lstat(one)
	b, otherErr := os.Lstat(other)
	if err != nil || otherErr != nil || a.Mode().Type() != b.Mode().Type() {
		return false
	}
	if !a.Mode().IsRegular() {
		return true
	}
	got, err := os.ReadFile(one)
	want, otherErr := os.ReadFile(other)
	return err == nil && otherErr == nil && bytes.Equal(got, want)
}
