//go:build linux

package builder_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/index"
)

// watched is a registry in memory that notes what it is asked.
type watched struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newWatched(t *testing.T) *watched {
	w := &watched{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	w.Server = httptest.NewServer(http.HandlerFunc(func(resp http.ResponseWriter, req *http.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, req.Method+" "+req.URL.RequestURI())
		w.mu.Unlock()
		handler.ServeHTTP(resp, req)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *watched) host() string { return strings.TrimPrefix(w.URL, "http://") }

// take gives the requests so far with one of some methods, and forgets all.
func (w *watched) take(methods ...string) (asked []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.asked {
		if method, _, _ := strings.Cut(a, " "); slices.Contains(methods, method) {
			asked = append(asked, a)
		}
	}
	w.asked = nil
	return asked
}

// machine is a store of its own that reaches a plain registry.
func machine(t *testing.T) *builder.Builder {
	plain := false
	return openIn(t, builder.Options{Root: tempDir(t), Registry: builder.Registry{TLSVerify: &plain}})
}

// pushedFrom builds an image for a platform in a store of its own, and pushes it.
func pushedFrom(t *testing.T, platform, name string) digest.Digest {
	b := machine(t)
	s := stage(t, b, builder.Scratch, builder.StageOptions{Platform: platform})
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Bytes("platform", []byte(platform)))))
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	sent, err := b.Push(t.Context(), img.ID, name, builder.PushOptions{})
	ok(t, err)
	return sent.Digest
}

// TestIndexOfRegistries: an index is made of images that other machines have pushed, without their layers
// being fetched, and pushing it sends none of them where the registry has them.
func TestIndexOfRegistries(t *testing.T) {
	t.Parallel()
	here, there := newWatched(t), newWatched(t)
	beside, within := here.host()+"/parts:one", here.host()+"/list:two"
	first, second := pushedFrom(t, "linux/s390x", beside), pushedFrom(t, "linux/arm/v7", within)
	b := machine(t)
	s := stage(t, b, builder.Scratch, builder.StageOptions{Platform: "linux/riscv64"})
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Bytes("own", []byte("own")))))
	own, err := s.Commit(t.Context(), "own", builder.CommitOptions{})
	ok(t, err)
	here.take()
	list, err := b.EditIndex(t.Context(), "list", index.Edit{Make: "new", Add: []index.Member{
		{Ref: "docker://" + beside}, {Ref: here.host() + "/list@" + second.String()}, {Ref: "own"},
	}}, builder.Registry{})
	ok(t, err)
	var platforms []string
	for _, m := range list.Index {
		platforms = append(platforms, m.Platform.OS+"/"+m.Platform.Architecture+m.Platform.Variant)
	}
	equal(t, strings.Join(platforms, " "), "linux/s390x linux/armv7 linux/riscv64")
	if asked := here.take("GET"); slices.ContainsFunc(asked, func(a string) bool {
		return strings.Contains(a, "/blobs/") && strings.Count(strings.Join(asked, " "), a) > 1
	}) || len(blobsOf(asked)) != 2 {
		t.Errorf("to learn of two images it was asked %q", asked)
	}

	_, err = b.Push(t.Context(), "list", here.host()+"/list:1", builder.PushOptions{})
	ok(t, err)
	asked := here.take("PUT", "POST", "PATCH", "GET")
	if sent := uploads(asked); len(sent) != 2 { // the layer and the configuration of its own image
		t.Errorf("blobs were sent: %q", sent)
	}
	if got := blobsOf(asked); len(got) > 1 { // a configuration, which is read to be checked
		t.Errorf("blobs were fetched: %q", got)
	}
	checkList(t, here, list, first, second)

	remote, err := b.EditIndex(t.Context(), "remote", index.Edit{Make: "new", Add: []index.Member{{Ref: "list", All: true}}}, builder.Registry{})
	ok(t, err)
	_, err = b.EditIndex(t.Context(), "remote", index.Edit{Remove: []digest.Digest{own.Digest}}, builder.Registry{})
	ok(t, err)
	equal(t, fmt.Sprint(len(remote.Index)), "3")
	_, err = b.Push(t.Context(), "remote", here.host()+"/list:2", builder.PushOptions{IndexOnly: true})
	ok(t, err)
	if asked := here.take("PUT", "POST", "PATCH"); len(asked) != 1 || !strings.HasPrefix(asked[0], "PUT /v2/list/manifests/2") {
		t.Errorf("an index alone was sent by %q", asked)
	}
	_, err = b.Push(t.Context(), "list", there.host()+"/list:1", builder.PushOptions{})
	ok(t, err)
	checkList(t, there, list, first, second)

	_, err = b.Push(t.Context(), "list", "oci:"+t.TempDir(), builder.PushOptions{})
	if !errors.Is(err, builder.ErrImageNotFound) || !strings.Contains(err.Error(), "oakum pull docker://"+here.host()+"/parts@"+first.String()) {
		t.Errorf("got %v", err)
	}
	removed, err := b.Remove(t.Context(), "list", builder.RemoveOptions{})
	if err != nil || !slices.Equal(removed.Deleted, []string{list.ID}) {
		t.Errorf("got %+v, %v", removed, err)
	}
	_, err = b.Inspect(t.Context(), own.ID)
	ok(t, err)
}

func blobsOf(asked []string) (blobs []string) {
	for _, a := range asked {
		if strings.HasPrefix(a, "GET ") && strings.Contains(a, "/blobs/sha256") {
			blobs = append(blobs, a)
		}
	}
	return blobs
}

// uploads are the blobs that were sent, each of which ends with a PUT.
func uploads(asked []string) (sent []string) {
	for _, a := range asked {
		if strings.HasPrefix(a, "PUT ") && strings.Contains(a, "/blobs/uploads/") {
			sent = append(sent, a)
		}
	}
	return sent
}

// checkList checks that a registry has an index with all its images and their layers.
func checkList(t *testing.T, w *watched, want builder.Image, digests ...digest.Digest) {
	t.Helper()
	var list imgspec.Index
	fetched(t, w.URL+"/v2/list/manifests/1", &list)
	equal(t, fmt.Sprint(len(list.Manifests)), fmt.Sprint(len(want.Index)))
	for i, d := range digests {
		equal(t, list.Manifests[i].Digest.String(), d.String())
	}
	for _, m := range list.Manifests {
		var image imgspec.Manifest
		fetched(t, w.URL+"/v2/list/manifests/"+m.Digest.String(), &image)
		for _, l := range append(image.Layers, image.Config) {
			resp, err := http.Head(w.URL + "/v2/list/blobs/" + l.Digest.String())
			ok(t, errors.Join(err, resp.Body.Close()))
			equal(t, resp.Status, "200 OK")
		}
	}
}

// TestEditIndexTogether: edits of one index by several processes at once are all in it.
func TestEditIndexTogether(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	builders := []*builder.Builder{openIn(t, builder.Options{Root: root}), openIn(t, builder.Options{Root: root})}
	_, err := builders[0].EditIndex(t.Context(), "list", index.Edit{Make: "new"}, builder.Registry{})
	ok(t, err)
	var group sync.WaitGroup
	failed := make([]error, 6)
	for i := range failed {
		group.Go(func() {
			failed[i] = func() error {
				b := builders[i%2]
				s, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
				if err != nil {
					return err
				}
				s.Configure("", func(c *builder.Config) { c.Labels = map[string]string{"of": fmt.Sprint(i)} })
				img, err := s.Commit(t.Context(), fmt.Sprintf("own:%d", i), builder.CommitOptions{})
				if err == nil {
					_, err = b.EditIndex(t.Context(), "list", index.Edit{Add: []index.Member{{Ref: img.ID}}}, builder.Registry{})
				}
				return errors.Join(err, s.Close())
			}()
		})
	}
	group.Wait()
	ok(t, errors.Join(failed...))
	d, err := builders[0].Inspect(t.Context(), "list")
	ok(t, err)
	all, err := builders[1].Images(t.Context())
	ok(t, err)
	if len(d.Index) != len(failed) || len(all) != len(failed)+1 {
		t.Errorf("the index has %d images of %d, and the store %d", len(d.Index), len(failed), len(all))
	}
}
