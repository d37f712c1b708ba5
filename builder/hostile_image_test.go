//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// tampered pulls an image after a change to its files in an OCI layout.
func tampered(t testing.TB, b *builder.Builder, change func(dir string)) (builder.Image, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	ok(t, os.CopyFS(dir, os.DirFS(honest(t, b))))
	change(dir)
	return b.Pull(t.Context(), "oci:"+dir+":x", builder.PullOptions{})
}

// layouts are those that honest has made, beside the base's files.
var layouts sync.Map

// honest is a layout of the base, which a Builder makes once: its layers are megabytes to compress.
func honest(t testing.TB, b *builder.Builder) string {
	t.Helper()
	once, _ := layouts.LoadOrStore(b, sync.OnceValue(func() string {
		dir, err := os.MkdirTemp(filepath.Dir(baseDir), "layout-")
		ok(t, err)
		_, err = base(t, b).Commit(t.Context(), "honest", builder.CommitOptions{})
		ok(t, err)
		_, err = b.Push(t.Context(), "honest", "oci:"+dir+":x", builder.PushOptions{})
		ok(t, err)
		return dir
	}))
	return once.(func() string)()
}

// An image's configuration may be anything; it ends in an error or in an image, never
// in the worker's death.
func TestHostileImageConfigurations(t *testing.T) { eachWorker(t, hostileConfigurations) }

func hostileConfigurations(t *testing.T, b *builder.Builder) {
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
	if _, err := s.Copy(t.Context(), "x", file("f", "x")); err != nil {
		return err
	}
	if level, _ := b.Isolation(); level != isolation.NoCommands {
		if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}}); err != nil {
			return err
		}
	}
	_, err = s.Commit(t.Context(), "used", builder.CommitOptions{})
	return err
}

// hostileLayer is one that would lead to a directory of the host, or is refused for what an error says.
type hostileLayer struct {
	headers []tar.Header
	refused string // "" when the image is pulled
}

func hostileLayers(host string) map[string]hostileLayer {
	return map[string]hostileLayer{
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
	}
}

// tar is the layer, in which something honest comes first.
func (l hostileLayer) tar(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range append([]tar.Header{{Name: "honest", Typeflag: tar.TypeReg}}, l.headers...) {
		if h.Mode == 0 {
			h.Mode = 0o777
		}
		ok(t, w.WriteHeader(&h))
	}
	ok(t, w.Close())
	return buf.Bytes()
}

// A layer of a pulled image leads nowhere but into the store. What is honest in it is there, or the
// image is refused for what is not.
func TestHostileLayers(t *testing.T) {
	t.Parallel()
	host := victim(t)
	b := open(t)
	for name, test := range hostileLayers(host) {
		t.Run(name, func(t *testing.T) {
			data := test.tar(t)
			img, err := tampered(t, b, func(dir string) { addLayer(t, dir, data) })
			if test.refused != "" && inChroot {
				if err == nil { // what a layer has is looked at when its files are needed
					err = use(t, b, img.ID)
				}
				if err == nil || errors.Is(err, builder.ErrClosed) {
					t.Errorf("got %v, want it to be refused", err)
				}
				return
			}
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("got %v, want an error that says %q", err, test.refused)
				}
				return
			}
			ok(t, err)
			s := stage(t, b, img.ID, builder.StageOptions{})
			var out bytes.Buffer
			_, err = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "test -e /honest && echo honest; cat /marker /l/marker /h; echo evil >/l/new; echo evil >/h; true"}, Stdout: &out})
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
