//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// soakEnv says how long TestSoak goes on, such as 5m. It is some seconds without.
const soakEnv = "OAKUM_SOAK"

// soakFile is one of some Dockerfiles that have steps in common. A build of it fails when a step finds another content
// than it was built for.
func soakFile(n int) string {
	return fmt.Sprintf(`FROM busybox AS one
RUN echo shared > /shared
RUN test "$(cat /shared)" = shared && echo %[1]d > /one
FROM busybox AS two
COPY --from=one /one /two
RUN --mount=type=cache,target=/c echo %[2]d >> /c/n; test "$(cat /two)" = %[1]d && echo %[2]d >> /two
FROM busybox
COPY --from=one /shared /
COPY --from=two /two /
COPY file /
RUN test "$(cat /two /file /shared | tr -d '\n')" = %[1]d%[2]dfile%[2]dshared && cp /two /result
CMD ["cat", "/result"]
`, n%2, n%3)
}

// soak is what goes on in a store.
type soak struct {
	*testHome
	end      time.Time
	contexts []string
	all      sync.WaitGroup
	counts   [5]atomic.Int64 // of builds, prunes, rmis, runs and podman's
}

// during calls do again and again until the time is over.
func (s *soak) during(count *atomic.Int64, do func()) {
	s.all.Go(func() {
		for time.Now().Before(s.end) && !s.t.Failed() {
			do()
			count.Add(1)
		}
	})
}

// may runs a command that may also fail in one of some ways.
func (s *soak) may(fails []string, name string, args ...string) (stdout string, ok bool) {
	stdout, stderr, err := s.try(name, args...)
	if err == nil {
		return stdout, true
	}
	for _, text := range fails {
		if strings.Contains(stderr, text) {
			return "", false
		}
	}
	s.t.Errorf("%s %v: %v\n%s%s", name, args, err, stdout, stderr)
	return "", false
}

// want is what an image of soakFile prints.
func want(n int) string { return fmt.Sprintf("%d\n%d\n", n%2, n%3) }

// TestSoak builds overlapping Dockerfiles in ten processes in one store, beside prune, rmi and Podman. No build fails
// or finds a wrong content, and what du says of the store in the end is right.
func TestSoak(t *testing.T) {
	length := 10 * time.Second
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	s := &soak{testHome: newHome(t)}
	s.run(oakum, "pull", "busybox")
	const files, builders = 6, 10
	for n := range files {
		dir := s.context(fmt.Sprint("soak", n), soakFile(n))
		s.write(fmt.Sprintf("soak%d/file", n), fmt.Sprintf("file%d", n%3))
		s.contexts = append(s.contexts, dir)
	}
	s.end = time.Now().Add(length)
	for i := range builders {
		s.during(&s.counts[0], func() { s.build(i) })
	}
	prunes := [][]string{nil, {"--max-used-space", "1MB"}, {"--all"}, {"--keep-duration", "2s"}, {"--filter", "type=regular"}, {"--dry-run"}}
	s.during(&s.counts[1], func() {
		s.may(nil, oakum, append([]string{"prune"}, prunes[rand.IntN(len(prunes))]...)...)
		time.Sleep(100 * time.Millisecond)
	})
	// What builds are on, or have just renamed or removed, need not be had. Podman takes an id for a name when the image
	// loses its last name while it looks it up, which it then says.
	gone := []string{"image not found", "is using it", "image is in use", "not known", "no such", "No such", "was removed from the store", "has dependent child images", "uses it"}
	podmanGone := append([]string{"cannot specify 64-byte hexadecimal strings"}, gone...)
	name := func() (int, string) { i := rand.IntN(builders); return i, "localhost/soak" + strconv.Itoa(i) }
	s.during(&s.counts[2], func() {
		_, image := name()
		s.may(gone, oakum, "rmi", image)
		time.Sleep(50 * time.Millisecond)
	})
	s.during(&s.counts[4], func() {
		_, image := name()
		s.may(podmanGone, "podman", "run", "--rm", "--pull=never", "--network", "none", image)
		s.may(podmanGone, "podman", "rmi", image)
		s.may(podmanGone, "podman", "images", "-a")
	})
	s.all.Wait()
	t.Logf("in %v: %d builds, %d runs, %d prunes, %d rmis, %d rounds of podman", length, s.counts[0].Load(), s.counts[3].Load(), s.counts[1].Load(), s.counts[2].Load(), s.counts[4].Load())
	s.sameAsDu()
	if t.Failed() {
		return
	}
	for _, id := range strings.Fields(s.run(oakum, "images", "-q", "--no-trunc")) {
		s.may(gone, oakum, "rmi", "-f", id)
	}
	s.run(oakum, "prune", "--all")
	s.sameAsDu()
	if out := strings.Join(strings.Fields(s.run(oakum, "info")), " "); !strings.Contains(out, "layers: 0") {
		t.Errorf("something is left:\n%s\n%s", out, s.run(oakum, "du", "-v"))
	}
}

// build builds one of the Dockerfiles, and runs what was built.
func (s *soak) build(i int) {
	n := rand.IntN(len(s.contexts))
	args := []string{"build", "-q", "-t", "soak" + strconv.Itoa(i)}
	if rand.IntN(8) == 0 {
		args = append(args, "--no-cache")
	}
	id, ok := s.may(nil, oakum, append(args, s.contexts[n])...)
	if !ok || rand.IntN(3) > 0 {
		return
	}
	got, ok := s.may([]string{"image not found", "was removed from the store", "not known"}, oakum, "run", strings.TrimSpace(id))
	if ok && got != want(n) {
		s.t.Errorf("an image of %s printed %q, not %q", s.contexts[n], got, want(n))
	}
	s.counts[3].Add(1)
}

// sameAsDu compares what oakum says is on disk with what du does, once nothing goes on any more.
func (s *soak) sameAsDu() {
	s.t.Helper()
	du := []string{"du", "-sx", "--block-size=1", s.graph}
	if os.Geteuid() != 0 {
		du = append([]string{"podman", "unshare"}, du...)
	}
	said, is, before := "", "", ""
	for range 5 { // Podman's last process may be about to end
		before = s.run(du[0], du[1:]...)
		lines := strings.Split(strings.TrimSpace(s.run(oakum, "du")), "\n")
		said = lines[len(lines)-1]
		is = s.run(du[0], du[1:]...)
		if is == before && strings.Contains(said, s.graph+": "+strings.Fields(is)[0]+" bytes on disk") {
			return
		}
	}
	s.t.Errorf("du says %s and %s, oakum %s\n%s", before, is, said, s.run(oakum, "du", "-v"))
}
