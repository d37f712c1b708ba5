//go:build linux

package builder_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// assembles commits a stage and wants nothing of the host in it.
func assembles(t *testing.T, b *builder.Builder, s *builder.Stage) {
	t.Helper()
	for _, name := range []string{"/marker", "/l/marker", "/h", "/in/l/marker", "/in/h", "/stolen/marker", "/x"} {
		if text, _ := s.ReadFile(t.Context(), name, 1000); strings.Contains(string(text), secret) {
			t.Errorf("%s is the host's", name)
		}
	}
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	for _, layer := range layers(t, b, img.ID) {
		for _, e := range layer {
			if strings.Contains(e.content, secret) {
				t.Errorf("%s has what is the host's", e.Name)
			}
		}
	}
}

// Where nothing is allowed, and nothing is run, hostile layers, archives, contexts and stages lead nowhere either.
func TestHostileWithoutCommands(t *testing.T) {
	t.Parallel()
	host := victim(t)
	b := plain(t)
	for name, test := range hostileLayers(host) {
		data := test.tar(t)
		img, err := tampered(t, b, func(dir string) { addLayer(t, dir, data) })
		if err == nil {
			s := stage(t, b, img.ID, builder.StageOptions{})
			if err = errOf(s.Copy(t.Context(), "/l/new", file("f", "mine"))); err == nil || errors.Is(err, builder.ErrInvalid) {
				assembles(t, b, s)
			}
		}
		if err != nil {
			t.Log(name, err)
		}
		if errors.Is(err, builder.ErrClosed) || err == nil && test.refused != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, source := range hostileArchives(t, host) {
		s := base(t, b)
		_, err := s.Add(t.Context(), "/in/", source)
		t.Log(name, err)
		assembles(t, b, s)
	}
	context := tree(t, map[string]string{
		"abs": "-> " + host + "/marker", "rel": "-> " + up + host + "/marker", "dir": "-> " + host, "up": "-> ..", "toproc": "-> /proc/self/root" + host, "all": "-> /",
	})
	from, s := base(t, b), base(t, b)
	ok(t, errOf(from.Copy(t.Context(), "/", builder.Dir(context))))
	for _, name := range []string{"abs", "rel", "dir/marker", "up/" + filepath.Base(filepath.Dir(context)), "toproc/marker", "all" + host + "/marker", up + host + "/marker"} {
		is(t, errOf(s.Copy(t.Context(), "/stolen/", builder.Dir(context).Select(name))), builder.ErrNotFound)
		is(t, errOf(s.Copy(t.Context(), "/x", from.Path("/"+name))), builder.ErrNotFound)
	}
	for _, dest := range []string{"/abs/x", "/dir/x", "/up/x", "/all" + host + "/x", up + host + "/y"} {
		_ = errOf(from.Copy(t.Context(), dest, file("f", "mine")))
		_ = errOf(from.Workdir(t.Context(), dest+"/made", ""))
	}
	ok(t, errOf(s.Copy(t.Context(), "/copied", from.Path("/"))))
	assembles(t, b, from)
	assembles(t, b, s)
	_, err := b.Images(t.Context())
	ok(t, err)
}
