package baseimage

import (
	"archive/tar"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// testLayout is a layout with one small image under two names.
func testLayout(t *testing.T) (string, v1.Image) {
	t.Helper()
	files, err := layer(func(tw *tar.Writer) error { return putBusybox(tw, []byte("binary"), []string{"busybox", "ls", "sh"}) })
	if err != nil {
		t.Fatal(err)
	}
	img, err := image(empty.Image, files, "test", v1.Config{Cmd: []string{"sh"}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := layout.Write(t.TempDir(), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := add(out, img, runtime.GOARCH, "library/test:latest", "library/test:1"); err != nil {
		t.Fatal(err)
	}
	return string(out), img
}

func TestHandler(t *testing.T) {
	dir, img := testLayout(t)
	handler, err := Handler(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path string
		status     int
	}{
		{"index by tag", "manifests/latest", 200},
		{"index by its other tag", "manifests/1", 200},
		{"image by digest", "manifests/" + digest.String(), 200},
		{"layer", "blobs/" + manifest.Layers[0].Digest.String(), 200},
		{"configuration", "blobs/" + manifest.Config.Digest.String(), 200},
		{"no such tag", "manifests/2", 404},
		{"no such blob", "blobs/sha256:" + strings.Repeat("0", 64), 404},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			response, err := http.Get(server.URL + "/v2/library/test/" + test.path)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != test.status {
				t.Errorf("status %d, want %d", response.StatusCode, test.status)
			}
		})
	}
}

// TestHandlerTakesPushes pushes a blob, and checks that the layout does not change.
func TestHandlerTakesPushes(t *testing.T) {
	dir, _ := testLayout(t)
	handler, err := Handler(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	const digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of "hello"
	response, err := http.Post(server.URL+"/v2/mine/blobs/uploads/?digest="+digest, "application/octet-stream", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("the push got status %d", response.StatusCode)
	}
	response, err = http.Get(server.URL + "/v2/mine/blobs/" + digest)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "hello" {
		t.Errorf("pulled %q back", body)
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs/sha256", strings.TrimPrefix(digest, "sha256:"))); err == nil {
		t.Error("the push was written into the layout")
	}
}

// TestPutTar checks what is left out of a root file system and what is kept.
func TestPutTar(t *testing.T) {
	name := filepath.Join(t.TempDir(), "root.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(f)
	for _, header := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "./dev/", Mode: 0o755},
		{Typeflag: tar.TypeChar, Name: "./dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeReg, Name: "./a", Mode: 0o4755, Uname: "somebody"},
		{Typeflag: tar.TypeLink, Name: "./b", Linkname: "./a"},
		{Typeflag: tar.TypeSymlink, Name: "./c", Linkname: "./a"},
	} {
		if err := tw.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := layer(func(tw *tar.Writer) error { return putTar(tw, name) })
	if err != nil {
		t.Fatal(err)
	}
	content, err := files.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	var got []string
	for tr := tar.NewReader(content); ; {
		header, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, header.FileInfo().Mode().String()+" "+header.Name+" "+header.Linkname+header.Uname)
	}
	want := []string{"drwxr-xr-x dev/ ", "urwxr-xr-x a ", "---------- b a", "L--------- c ./a"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
