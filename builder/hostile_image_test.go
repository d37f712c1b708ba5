//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// tampered pulls an image after a change to its files in an OCI layout.
func tampered(t testing.TB, b *builder.Builder, change func(dir string)) (builder.Image, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	s := base(t, b)
	_, err := s.Commit(t.Context(), "honest", builder.CommitOptions{})
	ok(t, err)
	_, err = b.Push(t.Context(), "honest", "oci:"+dir+":x", builder.PushOptions{})
	ok(t, err)
	change(dir)
	return b.Pull(t.Context(), "oci:"+dir+":x", builder.PullOptions{})
}

// An image's configuration may be anything; it ends in an error or in an image, never
// in the worker's death.
func TestHostileImageConfigurations(t *testing.T) {
	t.Parallel()
	b := open(t)
	honest, err := tampered(t, b, func(string) {})
	ok(t, err)
	ok(t, use(t, b, honest.ID))
	for _, config := range []string{
		"null", "{}", "[]", "1", `{"config":null}`, `{"rootfs":null,"history":null}`, `{"config":{"Env":null,"Labels":null,"Healthcheck":null}}`,
		`{"config":[]}`, `{"os":7}`, `{"history":[null]}`, `{"history":[{"empty_layer":true},{"empty_layer":true}]}`, `{"created":"never"}`, `{"created":null}`,
		`{"rootfs":{"type":"layers","diff_ids":[]}}`, `{"rootfs":{"type":"layers","diff_ids":["../../x"]}}`, `{"rootfs":{"diff_ids":null}}`, "", "{",
		`{"config":{"User":"\u0000","WorkingDir":"../../..","Shell":[],"Entrypoint":[""]}}`, strings.Repeat(`{"config":`, 5000),
	} {
		img, err := tampered(t, b, func(dir string) { setConfig(t, dir, config) })
		if err == nil {
			var d builder.ImageDetail
			if d, err = b.Inspect(t.Context(), img.ID); err == nil && d.ID != img.ID {
				t.Errorf("%.40s: %s is %s", config, img.ID, d.ID)
			}
		}
		if err == nil {
			err = use(t, b, img.ID)
		}
		if errors.Is(err, builder.ErrClosed) {
			t.Fatalf("%.40s: the worker is dead", config)
		}
	}
}

// use builds on an image.
func use(t testing.TB, b *builder.Builder, ref string) error {
	s, err := b.Stage(t.Context(), ref, builder.StageOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Copy(t.Context(), "x", file("f", "x")); err != nil {
		return err
	}
	if err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}}); err != nil {
		return err
	}
	_, err = s.Commit(t.Context(), "used", builder.CommitOptions{})
	return err
}

// A layer of a pulled image leads nowhere but into the store. What is honest in it is there, or the
// image is refused for what is not.
func TestHostileLayers(t *testing.T) {
	t.Parallel()
	host := victim(t)
	b := open(t)
	honest := tar.Header{Name: "honest", Typeflag: tar.TypeReg}
	for name, test := range map[string]struct {
		headers []tar.Header
		refused string // in the error; "" when the image is pulled
	}{
		"nothing":           {nil, ""},
		"up":                {[]tar.Header{{Name: up + host + "/evil", Typeflag: tar.TypeReg}}, ""},
		"up and a sibling":  {[]tar.Header{{Name: "../diff-evil/f", Typeflag: tar.TypeReg}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "../diff-evil/f"}}, ""},
		"absolute":          {[]tar.Header{{Name: host + "/evil", Typeflag: tar.TypeReg}}, ""},
		"through a link":    {[]tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: host}, {Name: "l/evil", Typeflag: tar.TypeReg}}, ""},
		"to a sibling":      {[]tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../diff-evil"}, {Name: "l/evil", Typeflag: tar.TypeReg}}, ""},
		"mode through link": {[]tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: host}, {Name: "l/", Typeflag: tar.TypeDir, Mode: 0o1777}}, "duplicates"},
		"hard link":         {[]tar.Header{{Name: "h", Typeflag: tar.TypeLink, Linkname: up + host + "/marker"}, {Name: "h", Typeflag: tar.TypeReg}}, "no such file"},
		"hard link by link": {[]tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: host}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "l/marker"}}, "no such file"},
		"whiteout":          {[]tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: host}, {Name: "l/.wh.marker", Typeflag: tar.TypeReg}}, ""},
		"opaque":            {[]tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: host}, {Name: "l/.wh..wh..opq", Typeflag: tar.TypeReg}}, ""},
		"whiteout of up":    {[]tar.Header{{Name: ".wh...", Typeflag: tar.TypeReg}, {Name: ".wh..", Typeflag: tar.TypeReg}}, "whiteout"},
		"root is a link":    {[]tar.Header{{Name: ".", Typeflag: tar.TypeSymlink, Linkname: host}, {Name: "evil", Typeflag: tar.TypeReg}}, "root"},
		"a mounted device":  {[]tar.Header{{Name: "dev", Typeflag: tar.TypeSymlink, Linkname: up + host}, {Name: "dev/ptmx", Typeflag: tar.TypeReg}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			w := tar.NewWriter(&buf)
			for _, h := range append([]tar.Header{honest}, test.headers...) {
				if h.Mode == 0 {
					h.Mode = 0o777
				}
				ok(t, w.WriteHeader(&h))
			}
			ok(t, w.Close())
			img, err := tampered(t, b, func(dir string) { addLayer(t, dir, buf.Bytes()) })
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("got %v, want an error that says %q", err, test.refused)
				}
				return
			}
			ok(t, err)
			s := stage(t, b, img.ID, builder.StageOptions{})
			var out bytes.Buffer
			err = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "test -e /honest && echo honest; cat /marker /l/marker /h; echo evil >/l/new; echo evil >/h; true"}, Stdout: &out})
			if strings.Contains(out.String(), secret) {
				t.Errorf("%v: the secret is in the stage", err)
			}
			if name != "a mounted device" && !strings.Contains(out.String(), "honest") {
				t.Errorf("%v: the honest file is not in the stage: %s", err, out.String())
			}
			if errors.Is(err, builder.ErrClosed) {
				t.Error("the worker is dead")
			}
		})
	}
}
