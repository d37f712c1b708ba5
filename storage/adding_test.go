//go:build linux

package storage

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/hack/chaos"
	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// layersOf counts the layers of a store, but for those that only keep others.
func layersOf(t *testing.T, s *Store) int {
	t.Helper()
	all, err := s.cs.Layers()
	if err != nil {
		t.Fatal(err)
	}
	return len(slices.DeleteFunc(all, isHold))
}

// blobOf asks a registry for a blob.
func blobOf(t *testing.T, r *chaos.Registry, repository string, d digest.Digest) []byte {
	t.Helper()
	resp, err := http.Get(r.URL + "/v2/" + repository + "/blobs/" + d.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	if err := resp.Write(&text); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(text.String(), "\r\n\r\n")
	return []byte(body)
}

// A pull that fails when its first layer is in the store already takes it away again, and not what
// was there before.
func TestFailedPullsLeaveNoLayers(t *testing.T) {
	authtest.Home(t)
	r := chaos.New(t)
	sent := sentOtherwise(t, r, compression.Choice{})
	kind, raw := r.Manifest("app", sent.Digest.String())
	var m imgspec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(blobOf(t, r, "app", m.Config.Digest), &config); err != nil {
		t.Fatal(err)
	}
	config["rootfs"].(map[string]any)["diff_ids"].([]any)[1] = digest.FromString("another")
	wrong, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config.Digest, m.Config.Size = r.PutBlob("app", wrong), int64(len(wrong))
	if raw, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	r.PutManifest("app", "wrong", kind, raw)
	s := open(t)
	for _, has := range []int{0, 2} {
		if _, err := s.Pull(t.Context(), r.Host+"/app:wrong", platform.Platform{}, insecure(registry.Access{})); err == nil {
			t.Error("an image was pulled whose layer is not that of its configuration")
		}
		if got := layersOf(t, s); got != has {
			t.Errorf("%d layers, want %d", got, has)
		}
		if _, err := s.Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, insecure(registry.Access{})); err != nil {
			t.Error(err)
		}
	}
}

// An image that was built here, with layers of other ids, gets no others by a pull. Its manifest is asked for once:
// what the policy has allowed is what gets the name, whatever the registry answers next.
func TestPullOfWhatIsHere(t *testing.T) {
	authtest.Home(t)
	s, r := open(t), chaos.New(t)
	img := commit(t, s, layer(t, s, layer(t, s, nil, "f", "one"), "g", "two"), "app")
	if _, err := s.Push(t.Context(), "app", r.Host+"/app:1", PushOptions{}, insecure(registry.Access{})); err != nil {
		t.Fatal(err)
	}
	got, err := s.Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, insecure(registry.Access{}))
	if err != nil || got.ID != img.ID {
		t.Errorf("%s of %s: %v", got.ID, img.ID, err)
	}
	if asked := r.Requests("GET /v2/app/manifests/"); len(asked) != 1 {
		t.Errorf("the manifest was asked for %d times", len(asked))
	}
	if n := layersOf(t, s); n != 2 {
		t.Errorf("%d layers", n)
	}
	if n, err := s.Find(r.Host + "/app:1"); err != nil || n.ID != img.ID {
		t.Errorf("by its name: %s, %v", n.ID, err)
	}
}
