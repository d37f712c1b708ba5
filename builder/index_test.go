//go:build linux

package builder_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/index"
	"github.com/oakum-build/oakum/builder/usage"
	"github.com/oakum-build/oakum/storage"
)

// commitIndex makes an index of images for another machine and this one, which hold the name of
// their architecture and one layer that is the same.
func commitIndex(t *testing.T, b *builder.Builder, name, format string) builder.Image {
	t.Helper()
	other, _ := foreign()
	var ids []index.Member
	for _, platform := range []string{other, "linux/" + runtime.GOARCH} {
		s := stage(t, b, builder.Scratch, builder.StageOptions{Platform: platform})
		arch := strings.TrimPrefix(platform, "linux/")
		ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(tree(t, map[string]string{"same": "same"})))))
		ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(tree(t, map[string]string{arch: arch})))))
		s.Configure("", func(c *builder.Config) { c.StopSignal = arch; c.Shell = []string{"/bin/" + arch} })
		img, err := s.Commit(t.Context(), "", builder.CommitOptions{Format: format})
		ok(t, err)
		ids = append(ids, index.Member{Ref: img.ID})
	}
	img, err := b.CommitIndex(t.Context(), name, ids, builder.CommitOptions{Format: format})
	ok(t, err)
	return img
}

// fetched is what a registry answers.
func fetched(t *testing.T, url string, into any) string {
	t.Helper()
	resp, err := http.Get(url)
	ok(t, err)
	raw, err := io.ReadAll(resp.Body)
	ok(t, errors.Join(err, resp.Body.Close()))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	ok(t, json.Unmarshal(raw, into))
	return digest.FromBytes(raw).String()
}

// TestPushIndex: an index is pushed with all its images, in the format that is asked for, and each
// can be pulled.
func TestPushIndex(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	plain := false
	b := openIn(t, builder.Options{Root: tempDir(t), Registry: builder.Registry{TLSVerify: &plain}})
	address := strings.TrimPrefix(server.URL, "http://")
	const dockerList, dockerImage = "application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json"
	other, _ := foreign()
	for _, c := range []struct{ format, push, list, image string }{
		{"oci", "", imgspec.MediaTypeImageIndex, imgspec.MediaTypeImageManifest},
		{"docker", "", dockerList, dockerImage},
		{"docker", "oci", imgspec.MediaTypeImageIndex, imgspec.MediaTypeImageManifest},
		{"oci", "docker", dockerList, dockerImage},
	} {
		name := fmt.Sprintf("%s/%s-as%s:1", address, c.format, c.push)
		index := commitIndex(t, b, name, c.format)
		sent, err := b.Push(t.Context(), name, "", builder.PushOptions{Format: c.push})
		ok(t, err)
		url := fmt.Sprintf("%s/v2/%s-as%s/", server.URL, c.format, c.push)
		var list imgspec.Index
		equal(t, fetched(t, url+"manifests/1", &list), sent.Digest.String())
		equal(t, sent.MediaType, c.list)
		equal(t, list.MediaType, c.list)
		equal(t, fmt.Sprint(len(list.Manifests)), "2")
		for i, m := range list.Manifests {
			equal(t, m.MediaType, c.image)
			equal(t, m.Platform.OS+"/"+m.Platform.Architecture, []string{other, "linux/" + runtime.GOARCH}[i])
			var manifest imgspec.Manifest
			equal(t, fetched(t, url+"manifests/"+m.Digest.String(), &manifest), m.Digest.String())
			var config struct {
				Config builder.Config `json:"config"`
			}
			equal(t, fetched(t, url+"blobs/"+manifest.Config.Digest.String(), &config), manifest.Config.Digest.String())
			equal(t, config.Config.StopSignal, m.Platform.Architecture)
			if c.push == "" || c.format == "docker" { // the copying library writes OCI's configuration anew
				equal(t, fmt.Sprint(len(config.Config.Shell)), "1")
			}
			for _, l := range manifest.Layers {
				resp, err := http.Head(url + "blobs/" + l.Digest.String())
				ok(t, errors.Join(err, resp.Body.Close()))
				equal(t, resp.Status, "200 OK")
			}
		}
		// Another store gets each of them.
		away := openIn(t, builder.Options{Root: tempDir(t), Registry: builder.Registry{TLSVerify: &plain}})
		for _, platform := range []string{other, ""} {
			want, err := b.InspectFor(t.Context(), index.ID, platform)
			ok(t, err)
			s := stage(t, away, name, builder.StageOptions{Platform: platform})
			equal(t, names(lastLayer(t, away, s)), want.Architecture)
		}
		ok(t, removed(b.Remove(t.Context(), index.ID, builder.RemoveOptions{})))
	}
}

func removed(_ storage.Removed, err error) error { return err }

// TestIndexArchive: an OCI archive holds the index, and Docker's cannot.
func TestIndexArchive(t *testing.T) {
	t.Parallel()
	b := open(t)
	other, _ := foreign()
	for _, format := range []string{"oci", "docker"} {
		index := commitIndex(t, b, "multi", format)
		file := filepath.Join(t.TempDir(), "multi.tar")
		sent, err := b.Push(t.Context(), index.ID, "oci-archive:"+file+":multi:1", builder.PushOptions{})
		ok(t, err)
		equal(t, sent.MediaType, imgspec.MediaTypeImageIndex)
		away := open(t)
		for _, platform := range []string{other, "linux/" + runtime.GOARCH} {
			s := stage(t, away, "oci-archive:"+file, builder.StageOptions{Platform: platform})
			equal(t, s.Platform(), platform)
			equal(t, s.Config().Shell[0], "/bin/"+strings.TrimPrefix(platform, "linux/"))
		}
		_, err = b.Push(t.Context(), index.ID, "docker-archive:"+filepath.Join(t.TempDir(), "multi.tar")+":multi:1", builder.PushOptions{})
		if err == nil || !strings.Contains(err.Error(), "an archive of Docker's has no place for the images of several platforms") {
			t.Errorf("got %v", err)
		}
	}
}

// TestIndexKept: the images of an index are not taken for ones that nobody wants, also by Podman.
func TestIndexKept(t *testing.T) {
	t.Parallel()
	b := open(t)
	index := commitIndex(t, b, "multi", "")
	for _, m := range index.Index {
		d, err := b.Inspect(t.Context(), "localhost/multi@"+m.Digest.String())
		ok(t, err)
		equal(t, strings.Join(d.Names, " "), "localhost/multi@"+m.Digest.String())
	}
	_, err := b.Prune(t.Context(), usage.Options{})
	ok(t, err)
	for _, m := range index.Index {
		s := stage(t, b, "multi", builder.StageOptions{Platform: m.Platform.OS + "/" + m.Platform.Architecture, Pull: "never"})
		equal(t, names(lastLayer(t, b, s)), m.Platform.Architecture)
	}
}
