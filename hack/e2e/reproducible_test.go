//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const reproducible = `FROM busybox AS made
WORKDIR /w
COPY . .
RUN mkdir -p out/d; for i in 1 2 3; do cat a b >out/d/$i; done; ln out/d/1 out/link; ln -s d out/to; rm b
FROM busybox AS other
RUN echo other >/other; chmod 4755 /other; mkdir /empty
FROM busybox
COPY --from=made /w/out /out
COPY --from=other --chown=33:44 /other /empty /
COPY --link a /linked/
RUN rm /out/d/2; touch /out/d/3; echo more >>/linked/a
ENV A=1
LABEL b=2
CMD ["cat", "/out/link"]
`

// TestReproducible: the same input gives the same digest, also as it is in a registry, in stores that have
// nothing in common, with any number of jobs and without namespaces, and at other times: files of the context are
// of other days, and what commands make and what is written into the image is of other seconds. That these would show
// is seen by the images without --source-date-epoch, which all differ. (Another day of the whole machine's
// clock cannot be had: a time namespace does not move it, and programs that are static take it from the kernel.)
func TestReproducible(t *testing.T) {
	const epoch = "1000000000"
	ways := [][]string{{"--jobs", "1"}, {"--jobs", "4"}}
	if os.Geteuid() == 0 { // for an ordinary user nothing is run without namespaces
		ways = append(ways, []string{"--isolation", "chroot"})
	}
	fixed := []string{"--source-date-epoch", epoch, "--rewrite-timestamp"}
	for name, test := range map[string]struct {
		shape []string
		same  bool
	}{
		"plain":            {fixed, true},
		"squashed":         {append(slices.Clip(fixed), "--squash"), true},
		"without an epoch": {nil, false},
	} {
		seen := map[string]bool{}
		for i, flags := range ways {
			h := newHome(t)
			dir := h.context("context", reproducible)
			for name, content := range map[string]string{"a": "a\n", "b": "b\n", "d/c": "c\n"} {
				path := h.write(filepath.Join("context", name), content)
				day := time.Now().AddDate(0, 0, -i) // but after the epoch
				if err := os.Chtimes(path, day, day); err != nil {
					t.Fatal(err)
				}
			}
			nextSecond()
			archive := filepath.Join(h.dir, "app.tar")
			args := append([]string{"build", "--quiet", "-t", "localhost/app", "-o", "type=oci,dest=" + archive}, append(flags, test.shape...)...)
			here := strings.TrimSpace(h.run(oakum, append(args, dir)...))
			sent := strings.TrimSpace(h.run("skopeo", "inspect", "--format", "{{.Digest}}", "oci-archive:"+archive))
			seen[here+" sent as "+sent] = true
		}
		if n := len(seen); test.same != (n == 1) || !test.same && n != len(ways) {
			t.Errorf("%s: %d images of %d builds: %v", name, n, len(ways), seen)
		}
	}
}

// nextSecond waits until times in whole seconds are others than before.
func nextSecond() {
	now := time.Now()
	time.Sleep(now.Truncate(time.Second).Add(time.Second).Sub(now))
}
