//go:build linux

package e2e

import (
	"slices"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/hack/internal/home"
	"github.com/oakum-build/oakum/hack/internal/imagetree"
)

// shaped has layers that remove and replace what others have, of the base and of the build.
const shaped = `FROM localhost/base
RUN rm -r /d/sub /usr && mkdir -p /d/sub/n && echo new >/d/f && ln /d/f /d/hard && chmod 4755 /d/hard
RUN mkdir /made && echo x >/made/x && ln -s made /link && chown 3:4 /made
RUN rm /d/hard && rm -r /made && echo file >/made && chown -R 5:6 /d
CMD ["x"]
`

// TestShapesLikePeers compares images that are squashed, or have no history, with those of Debian's buildah
// and podman: the files and settings, how many layers they have of their own and of their base, and
// whether they have a history. Neither can leave out labels of a base.
func TestShapesLikePeers(t *testing.T) {
	h := newHome(t)
	h.context("shaped", shaped)
	base := h.context("base", "FROM busybox:1.36\nRUN mkdir -p /d/sub && echo s >/d/sub/s && echo old >/d/f\nLABEL a=base b=base\n")
	h.run(oakum, "build", "-q", "-t", "localhost/base", base)
	below := h.export("localhost/base").Spec.RootFS.DiffIDs
	buildah := append([]string{"buildah"}, home.BuildahArgs("oci")...)
	podman := []string{"podman", "build", "--isolation", "oci", "--network", "host", "--format", "oci"}
	for name, test := range map[string]struct {
		args, peer []string
	}{
		"squash": {[]string{"--squash"}, append(slices.Clip(podman), "--squash")},
		// That of Debian's buildah takes the base along, also with --layers; its manual says otherwise.
		"squash of buildah":     {[]string{"--squash-all"}, append(slices.Clip(buildah), "--layers", "--squash")},
		"squash all":            {[]string{"--squash-all"}, append(slices.Clip(podman), "--squash-all")},
		"no history":            {[]string{"--omit-history"}, append(slices.Clip(buildah), "--layers", "--omit-history")},
		"squash and no history": {[]string{"--squash-all", "--omit-history", "--label", "b=own"}, append(slices.Clip(buildah), "--squash", "--omit-history", "--label", "b=own")},
	} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.t = t
			h.run(oakum, append(append([]string{"build", "-q", "--pull=never", "-t", "localhost/own"}, test.args...), "shaped")...)
			h.run(test.peer[0], append(slices.Clip(test.peer[1:]), "-q", "--pull=never", "-t", "localhost/peers", "shaped")...)
			got, want := h.export("localhost/own"), h.export("localhost/peers")
			compare(t, got, want)
			if g, w := shapeOf(got, below), shapeOf(want, below); g != w {
				t.Errorf("got %+v, want %+v", g, w)
			}
		})
	}
}

// shape is what an image is made of.
type shape struct {
	own, ofBase int // layers
	history     bool
}

func shapeOf(image *imagetree.Image, base []digest.Digest) (s shape) {
	for i, id := range image.Spec.RootFS.DiffIDs {
		if i < len(base) && id == base[i] {
			s.ofBase++
		} else {
			s.own++
		}
	}
	s.history = len(image.Spec.History) > 0
	return s
}
