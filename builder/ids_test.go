//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// An id that an ordinary user's builds do not have is named, whatever needs it.
func TestUnmappedIDs(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	run(t, s, "echo many:x:5:5::/: >>/etc/passwd; echo far:x:3000001:many >>/etc/group")
	info, err := b.Info(t.Context())
	ok(t, err)
	says := func(name string, err error, text string) {
		t.Helper()
		switch {
		case !info.Rootless:
			ok(t, err) // root has all ids
		case err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "podman"):
			t.Errorf("%s: got error %v, want one that says %q", name, err, text)
		}
	}
	as := func(user string) error {
		_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, User: user, Ephemeral: true})
		return err
	}
	const why = " is not mapped, only 0 to "
	says("user", as("3000000"), "user 3000000: the uid 3000000"+why)
	says("group", as("1:3000000"), "user 1:3000000: the gid 3000000"+why)
	says("group of the group file", as("many"), "user many: the gid 3000001"+why)
	s.Configure("", func(c *builder.Config) { c.User = "3000000" })
	says("WORKDIR", errOf(s.Workdir(t.Context(), "/w", "")), "user 3000000: the uid 3000000"+why)
	s.Configure("", func(c *builder.Config) { c.User = "" })
	says("COPY --chown", errOf(s.Copy(t.Context(), "/", file("f", "x").Chown("3000000:1"))), "owner 3000000:1: the uid 3000000"+why)

	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	ok(t, w.WriteHeader(&tar.Header{Name: "far", Typeflag: tar.TypeReg, Uid: 3000000, Gid: 1}))
	ok(t, w.Close())
	_, err = tampered(t, b, func(dir string) { addLayer(t, dir, layer.Bytes()) })
	says("pull of a layout", err, "the owner 3000000:1 of /far is not mapped")
}
