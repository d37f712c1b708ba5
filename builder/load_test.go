//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/builder"
	saved "github.com/oakum-build/oakum/builder/archive"
)

// TestLoadHostile reads archives that want files elsewhere, or are none.
func TestLoadHostile(t *testing.T) {
	eachWorker(t, func(t *testing.T, b *builder.Builder) {
		img, err := scratch(t, b).Commit(t.Context(), "some", builder.CommitOptions{})
		ok(t, err)
		var good bytes.Buffer
		_, err = b.Save(t.Context(), &good, builder.PushOptions{}, saved.Image{Ref: img.ID, Names: []string{"a"}})
		ok(t, err)
		before, err := b.Images(t.Context())
		ok(t, err)
		outside := filepath.Join(t.TempDir(), "outside")
		file := func(name, text string) tar.Header {
			return tar.Header{Name: name, Typeflag: tar.TypeReg, Linkname: text, Mode: 0o644}
		}
		layout := file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
		for name, data := range map[string][]byte{
			"nothing":   nil,
			"no tar":    []byte("what is this"),
			"half":      good.Bytes()[:good.Len()/2],
			"no image":  tarOf(t, file("a", "b")),
			"no index":  tarOf(t, layout, file("index.json", "{")),
			"no blob":   tarOf(t, layout, file("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"sha256:`+zeros+`"}]}`)),
			"link":      tarOf(t, layout, tar.Header{Name: "index.json", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
			"blob link": tarOf(t, layout, tar.Header{Name: "blobs", Typeflag: tar.TypeSymlink, Linkname: filepath.Dir(outside)}, file("blobs/sha256/../../outside", "x"), file("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"sha256:`+zeros+`"}]}`)),
			"docker":    tarOf(t, file("manifest.json", `[{"Config":"../../etc/passwd","RepoTags":["../..:x"],"Layers":["/etc/passwd"]}]`)),
			"packed":    []byte("\x1f\x8b\x08\x00broken"),
		} {
			for kind, r := range map[string]io.Reader{"stream": bytes.NewReader(data), "file": fileOf(t, data)} {
				if images, err := b.Load(t.Context(), r, builder.PullOptions{}); err == nil {
					t.Errorf("%s as a %s is %v", name, kind, images)
				}
			}
			if _, err := os.Lstat(outside); err == nil {
				t.Errorf("%s made a file outside", name)
			}
		}
		after, err := b.Images(t.Context())
		ok(t, err)
		if len(after) != len(before) {
			t.Errorf("%d images, %d before", len(after), len(before))
		}
		_, err = b.Load(t.Context(), &good, builder.PullOptions{})
		ok(t, err)
	})
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func fileOf(t testing.TB, data []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "archive"))
	ok(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = f.Write(data)
	ok(t, err)
	return f
}

// TestSaveEnds ends with a writer that fails or is stuck, and with a context.
func TestSaveEnds(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := scratch(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Bytes("large", make([]byte, 8<<20)))))
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	full := errors.New("the disk is full")
	for _, format := range []string{"oci", "docker"} {
		_, err := b.Save(t.Context(), fullDisk{full}, builder.PushOptions{Format: format}, saved.Image{Ref: img.ID})
		is(t, err, full)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.Save(ctx, io.Discard, builder.PushOptions{}, saved.Image{Ref: img.ID})
	is(t, err, context.Canceled)
	_, err = b.Load(ctx, &bytes.Buffer{}, builder.PullOptions{})
	is(t, err, context.Canceled)
	empty, err := scratch(t, b).Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	_, err = b.Save(t.Context(), io.Discard, builder.PushOptions{}, saved.Image{Ref: img.ID, Names: []string{"a"}}, saved.Image{Ref: empty.ID, Names: []string{"a"}})
	is(t, err, builder.ErrReference)
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Bytes("f", nil))))
}
