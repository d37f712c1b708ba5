//go:build linux

package storage

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/hack/chaos"
	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/retry"
)

// sentOtherwise puts an image of two layers into a registry, compressed otherwise than a plain push
// would, and gives its manifest.
func sentOtherwise(t *testing.T, r *chaos.Registry, choice compression.Choice) imgspec.Descriptor {
	t.Helper()
	s := open(t)
	commit(t, s, layer(t, s, layer(t, s, nil, "f", strings.Repeat("one", 1000)), "g", strings.Repeat("two", 1000)), "app")
	sent, err := s.Push(t.Context(), "app", r.Host+"/app:1", PushOptions{Compression: choice}, insecure(registry.Access{}))
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

func uploads(r *chaos.Registry, repository string) (uploaded, mounted int) {
	for _, q := range r.Requests("/v2/" + repository + "/blobs/uploads/") {
		switch {
		case q.Method == http.MethodPatch:
			uploaded++
		case q.Method == http.MethodPost && q.Status == http.StatusCreated && strings.Contains(q.Query, "mount="):
			mounted++
		}
	}
	return uploaded, mounted
}

// What was pulled goes back as it was, byte for byte: to where it came from nothing is sent, and to
// another repository of the registry its layers are mounted.
func TestPulledLayersAreNotSent(t *testing.T) {
	authtest.Home(t)
	nine := 9
	for name, choice := range map[string]compression.Choice{
		"gzip":         {Level: &nine},
		"zstd":         {Algorithm: compression.Zstd},
		"zstd:chunked": {Algorithm: compression.ZstdChunked},
	} {
		t.Run(name, func(t *testing.T) {
			r := chaos.New(t)
			want := sentOtherwise(t, r, choice)
			s := open(t)
			img, err := s.Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, insecure(registry.Access{}))
			if err != nil {
				t.Fatal(err)
			}
			for _, test := range []struct {
				repository        string
				uploaded, mounted int
			}{{"app", 0, 0}, {"other/app", 1, 2}, {"other/app", 0, 0}} { // the configuration is sent
				r.Break()
				sent, err := s.Push(t.Context(), img.ID, r.Host+"/"+test.repository+":2", PushOptions{}, insecure(registry.Access{}))
				if err != nil {
					t.Fatal(err)
				}
				uploaded, mounted := uploads(r, test.repository)
				if sent.Digest != want.Digest || uploaded != test.uploaded || mounted != test.mounted {
					t.Errorf("to %s: %s, of %s, %d blobs uploaded and %d mounted", test.repository, sent.Digest, want.Digest, uploaded, mounted)
				}
			}
		})
	}
}

// A layer of an image that was made here on one that was pulled is not sent either, and what is sent is
// found again by a second push, though another name was the first.
func TestLayersBelowAreNotSent(t *testing.T) {
	authtest.Home(t)
	r := chaos.New(t)
	nine := 9
	sentOtherwise(t, r, compression.Choice{Level: &nine})
	s := open(t)
	base, err := s.Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, insecure(registry.Access{}))
	if err != nil {
		t.Fatal(err)
	}
	below, err := s.Layer(base.TopLayer)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, layer(t, s, below, "h", "three"), "made")
	var first imgspec.Descriptor
	for _, test := range []struct {
		dest              string
		o                 PushOptions
		uploaded, mounted int
		same              bool // as the first
	}{
		{"made", PushOptions{}, 2, 2, true}, // its layer and its configuration
		{"made", PushOptions{}, 0, 0, true},
		{"elsewhere", PushOptions{}, 1, 3, true},
		{"docker", PushOptions{Format: "docker"}, 1, 3, false},
		{"level", PushOptions{Compression: compression.Choice{Level: &nine}}, 2, 2, false},
		{"forced", PushOptions{Compression: compression.Choice{Algorithm: compression.Zstd, Force: true}}, 4, 0, false},
		{"plain", PushOptions{}, 1, 3, true}, // whatever was sent in between
	} {
		r.Break()
		sent, err := s.Push(t.Context(), "made", r.Host+"/"+test.dest, test.o, insecure(registry.Access{}))
		if err != nil {
			t.Fatal(err)
		}
		if first.Digest == "" {
			first = sent
		}
		uploaded, mounted := uploads(r, test.dest)
		if uploaded != test.uploaded || mounted != test.mounted || (sent.Digest == first.Digest) != test.same {
			t.Errorf("to %s: %d blobs uploaded and %d mounted, %s, the first %s", test.dest, uploaded, mounted, sent.Digest, first.Digest)
		}
	}
}

// A blob that does not go through is sent again, and not those that have.
func TestBlobsAreTriedAgain(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	r := chaos.New(t)
	commit(t, s, layer(t, s, layer(t, s, nil, "f", "one"), "g", "two"), "app")
	r.Break(chaos.Rule{Of: "PATCH ", Skip: 1, Times: 1, Fault: chaos.Status(http.StatusServiceUnavailable)})
	var notices []string
	access := insecure(registry.Access{Retry: retry.Policy{Delay: time.Millisecond, Notice: func(text string) { notices = append(notices, text) }}})
	if _, err := s.Push(t.Context(), "app", r.Host+"/app:1", PushOptions{}, access); err != nil {
		t.Fatal(err)
	}
	if got := len(r.Requests("PATCH ")); got != 4 { // two layers and the configuration, one of them twice
		t.Errorf("%d uploads", got)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "copying the layer sha256:") {
		t.Errorf("%q", notices)
	}
	img, err := s.Inspect("app")
	if err != nil {
		t.Fatal(err)
	}
	other := open(t)
	r.Break(chaos.Rule{Of: "GET /v2/app/blobs/", Times: 1, Fault: chaos.Status(http.StatusBadGateway)})
	notices = nil
	if got, err := other.Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, access); err != nil || got.ID != img.ID || len(notices) != 1 {
		t.Errorf("pulled %s (%v), %q", got.ID, err, notices)
	}
	// What fails every time is tried as often as the policy says, and no more.
	r.Break(chaos.Rule{Of: "PATCH ", Fault: chaos.Status(http.StatusServiceUnavailable)})
	notices = nil
	commit(t, s, layer(t, s, nil, "f", "other"), "other")
	if _, err := s.Push(t.Context(), "other", r.Host+"/other:1", PushOptions{}, access); err == nil || len(notices) != 3 || len(r.Requests("PATCH ")) != 4 {
		t.Errorf("%v: %q, %d uploads", err, notices, len(r.Requests("PATCH ")))
	}
}

// Who watches sees each layer that moves come to its end, and none that does not move.
func TestProgress(t *testing.T) {
	authtest.Home(t)
	s, other := open(t), open(t)
	r := chaos.New(t)
	below := layer(t, s, nil, "f", strings.Repeat("one", 100_000))
	commit(t, s, layer(t, s, below, "g", "two"), "app")
	var mu sync.Mutex
	ends := map[string]int{}
	last := map[string]int64{}
	access := insecure(registry.Access{Progress: func(m registry.Moved) {
		mu.Lock()
		defer mu.Unlock()
		if m.Offset < last[string(m.Blob)] {
			t.Errorf("%s goes back from %d to %d", m.Blob, last[string(m.Blob)], m.Offset)
		}
		last[string(m.Blob)] = m.Offset
		if m.Offset == m.Size && m.Size > 0 {
			ends[fmt.Sprint(m.Ref, " ", m.Pushed)]++
		}
	}})
	ref := r.Host + "/app:1"
	for _, do := range []func() error{
		func() error { _, err := s.Push(t.Context(), "app", ref, PushOptions{}, access); return err },
		func() error { _, err := s.Push(t.Context(), "app", ref, PushOptions{}, access); return err },
		func() error { _, err := other.Pull(t.Context(), ref, platform.Platform{}, access); return err },
		func() error { _, err := other.Pull(t.Context(), ref, platform.Platform{}, access); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if len(ends) != 2 || ends[ref+" true"] != 2 || ends[ref+" false"] != 2 {
		t.Errorf("got %v", ends)
	}
}

// Servers that a manifest names for a layer are not asked.
func TestForeignURLs(t *testing.T) {
	authtest.Home(t)
	r, other := chaos.New(t), chaos.New(t)
	sent := sentOtherwise(t, r, compression.Choice{})
	kind, raw := r.Manifest("app", sent.Digest.String())
	var m imgspec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	for i := range m.Layers {
		m.Layers[i].URLs = []string{other.URL + "/v2/app/blobs/" + m.Layers[i].Digest.String()}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r.PutManifest("app", "urls", kind, raw)
	_, err = open(t).Pull(t.Context(), r.Host+"/app:urls", platform.Platform{}, insecure(registry.Access{}))
	if asked := other.Requests(""); err != nil || len(asked) > 0 {
		t.Errorf("%v; the other server was asked %v", err, asked)
	}
}

// Images of Docker's first schema, which has no configuration, are pulled as by others.
func TestFirstSchema(t *testing.T) {
	authtest.Home(t)
	s, r := open(t), chaos.New(t)
	l, _ := zipped(t, func(w io.Writer) { _, _ = w.Write(plainTar(t)) })
	d := r.PutBlob("old", l)
	one := `{"id": "` + strings.Repeat("1", 64) + `", "created": "2015-01-01T00:00:00Z", "architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}}`
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 1, "name": "old", "tag": "1", "architecture": "amd64",
		"fsLayers": []map[string]any{{"blobSum": d}}, "history": []map[string]any{{"v1Compatibility": one}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.PutManifest("old", "1", "application/vnd.docker.distribution.manifest.v1+json", raw)
	img, err := s.Pull(t.Context(), r.Host+"/old:1", platform.Platform{}, insecure(registry.Access{}))
	if err != nil || img.TopLayer == "" {
		t.Fatalf("%+v, %v", img, err)
	}
	if again, err := s.Pull(t.Context(), r.Host+"/old:1", platform.Platform{}, insecure(registry.Access{})); err != nil || again.ID != img.ID {
		t.Errorf("again: %s of %s, %v", again.ID, img.ID, err)
	}
}
