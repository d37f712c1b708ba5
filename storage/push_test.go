//go:build linux

package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/hack/chaos"
	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// newPush begins a push that the test closes.
func newPush(t testing.TB, s *Store, o PushOptions, dests ...string) *Push {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := s.NewPush(ctx, dests, o, patient())
	if err != nil {
		t.Fatal(err)
	}
	cancel() // the push outlives the call
	t.Cleanup(p.Close)
	return p
}

// idle waits until all layers that were added are sent, or cannot be.
func (p *Push) idle(t testing.TB) {
	t.Helper()
	if err := p.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// manifestOf is the manifest that a registry has by a tag or a digest.
func manifestOf(t testing.TB, r *chaos.Registry, repository, reference string) (m imgspec.Manifest) {
	t.Helper()
	_, raw := r.Manifest(repository, reference)
	if raw == nil {
		t.Fatalf("%s has no %s", repository, reference)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// The layers are in the registries before there is an image, each compressed once, and sent once to each
// registry; the rest follows with Finish, and is what a push without all that makes.
func TestPushBesideTheBuild(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	one, two := chaos.New(t), chaos.New(t)
	p := newPush(t, s, PushOptions{}, "docker://"+one.Host+"/app:1", one.Host+"/other/app:1", two.Host+"/app:1")
	top := layer(t, s, nil, "a", noise(150<<10, 1))
	top = layer(t, s, top, "b", noise(3<<20, 2)) // more than what is waited for
	p.Add(top)                                   // and those below it
	p.Add(top)                                   // again
	p.idle(t)
	for _, r := range []*chaos.Registry{one, two} {
		if got := len(r.Requests("PATCH /v2/app/blobs")); got != 3 {
			t.Errorf("%d uploads, want 2 and the one that asks", got)
		}
	}
	if got := len(one.Requests("PATCH /v2/other/app/blobs")); got != 1 {
		t.Errorf("%d uploads to the second name in a registry, want the one that asks: the others are mounted; %+v", got, brief(one.Requests("")))
	}
	if _, raw := one.Manifest("app", "1"); raw != nil {
		t.Error("there is a manifest before the image")
	}
	one.Break()
	two.Break()
	img := commit(t, s, top, "app")
	sent, err := p.Finish(t.Context(), img.ID, patient())
	if err != nil {
		t.Fatal(err)
	}
	plain := chaos.New(t)
	want, err := s.Push(t.Context(), img.ID, plain.Host+"/app:1", PushOptions{}, patient())
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range sent {
		if d.Digest != want.Digest || d.Size != want.Size || d.MediaType != want.MediaType {
			t.Errorf("manifest %d is %+v, want %+v", i, d, want)
		}
	}
	for repository, r := range map[string]*chaos.Registry{"app": one, "other/app": one} {
		if got := r.Requests("PATCH /v2/" + repository + "/blobs"); len(got) != 1 {
			t.Errorf("%d uploads to %s at the end, want that of the configuration", len(got), repository)
		}
		if m := manifestOf(t, r, repository, "1"); len(m.Layers) != 2 {
			t.Errorf("%d layers in %s", len(m.Layers), repository)
		}
	}
	manifestOf(t, two, "app", "1")
}

// A push that is closed leaves blobs, no manifest, and nothing here.
func TestPushClosed(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	r := chaos.New(t)
	p := newPush(t, s, PushOptions{}, r.Host+"/app:1")
	p.Add(layer(t, s, nil, "a", "one"))
	p.idle(t)
	// The next one never ends.
	begun, ended := make(chan struct{}), make(chan struct{})
	r.Break(chaos.Rule{Of: "PATCH /v2/app/blobs", Times: 1, Fault: func(_ http.ResponseWriter, q *http.Request, _ http.Handler) {
		close(begun)
		<-ended
	}})
	defer close(ended)
	p.Add(layer(t, s, nil, "b", noise(3<<20, 1)))
	<-begun
	p.Close()
	p.Close() // again
	for id, sent := range p.layers {
		select {
		case <-sent:
		default:
			t.Errorf("the layer %s is still being sent", id)
		}
	}
	p.Add(layer(t, s, nil, "c", "three"))
	if got := len(p.layers); got != 2 {
		t.Errorf("after the end it is sending %d layers, want those of before", got)
	}
	if got := len(r.Blobs("app")); got != 2 {
		t.Errorf("%d blobs, want the first layer and what asked", got)
	}
	if _, raw := r.Manifest("app", "1"); raw != nil {
		t.Error("there is a manifest")
	}
	entries, err := os.ReadDir(p.scratch)
	if err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// Finish waits for the layers that are on their way, and does not send them a second time.
func TestPushFinishWaits(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	r := chaos.New(t)
	p := newPush(t, s, PushOptions{}, r.Host+"/app:1")
	begun, over := make(chan struct{}), make(chan struct{})
	r.Break(chaos.Rule{Of: "PATCH /v2/app/blobs", Times: 1, Fault: func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		close(begun)
		<-over
		next.ServeHTTP(w, q)
	}})
	top := layer(t, s, nil, "a", noise(3<<20, 1))
	p.Add(top)
	<-begun
	img := commit(t, s, top, "app")
	finished := make(chan error, 1)
	go func() {
		_, err := p.Finish(t.Context(), img.ID, patient())
		finished <- err
	}()
	select {
	case err := <-finished:
		t.Errorf("it has finished before the layer was sent: %v", err)
		close(over)
	case <-time.After(300 * time.Millisecond): // a Finish that does not wait would be done by then, or nearly
		close(over)
		if err := <-finished; err != nil {
			t.Error(err)
		}
	}
	if got := r.Requests("PATCH /v2/app/blobs"); len(got) != 2 {
		t.Errorf("%d uploads, want those of the layer and the configuration: %+v", len(got), brief(got))
	}
}

// However many layers wait for a slow registry, few of them lie compressed on the disk.
func TestPushSpools(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	r := chaos.New(t)
	p := newPush(t, s, PushOptions{}, r.Host+"/app:1")
	begun, over := make(chan struct{}, 100), make(chan struct{})
	r.Break(chaos.Rule{Of: "PATCH /v2/app/blobs", Fault: chaos.Halt(0, func() { begun <- struct{}{} }, over)})
	for i := range mostSpools + 3 {
		p.Add(layer(t, s, nil, fmt.Sprint(i), fmt.Sprint(i)))
	}
	for range mostSpools {
		<-begun
	}
	time.Sleep(300 * time.Millisecond) // others would have begun by then, or nearly
	if n := len(begun); n > 0 {
		t.Errorf("%d uploads have begun, want %d", n+mostSpools, mostSpools)
	}
	r.Break()
	close(over)
	p.Close()
}

// Who may not push is told so before anything is built.
func TestPushAsksFirst(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	for name, test := range map[string]struct {
		of     string
		status int
		reason string
	}{
		"the upload is refused":     {"POST /v2/app/blobs", 403, registry.ReasonLogin},
		"what it sends is refused":  {"PATCH /v2/app/blobs", 403, registry.ReasonLogin},
		"the end of it is refused":  {"PUT /v2/app/blobs", 405, ""},
		"there is no such registry": {"/v2/", 404, ""},
	} {
		r := chaos.New(t)
		r.Break(chaos.Rule{Of: test.of, Fault: chaos.Status(test.status)})
		_, err := s.NewPush(t.Context(), []string{r.Host + "/app:1"}, PushOptions{}, patient())
		var refused *registry.Error
		if !errors.As(err, &refused) || refused.Host != r.Host || refused.Reason != test.reason || !strings.Contains(err.Error(), "asking for leave to push to "+r.Host+"/app:1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.NewPush(t.Context(), []string{"oci:/x"}, PushOptions{}, patient()); err == nil || !strings.Contains(err.Error(), "registries alone") {
		t.Errorf("a push to a directory: %v", err)
	}
}

// What could not be sent beside the build is sent at its end, or is the error then.
func TestPushFailsBesideTheBuild(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	r := chaos.New(t)
	var notices []string
	a := patient()
	a.Notice = func(text string) { notices = append(notices, text) }
	p := newPush(t, s, PushOptions{}, r.Host+"/app:1")
	down := chaos.Rule{Of: "POST /v2/app/blobs", Fault: chaos.Status(503)}
	r.Break(down)
	top := layer(t, s, nil, "a", "one")
	p.Add(top)
	p.idle(t)
	img := commit(t, s, top, "app")
	if _, err := p.Finish(t.Context(), img.ID, a); !errors.Is(err, registry.ErrRegistry) {
		t.Errorf("finished while the registry was down: %v", err)
	}
	if !slices.ContainsFunc(notices, func(s string) bool { return strings.Contains(s, "could not be sent while the image was built") }) {
		t.Errorf("notices %q", notices)
	}
	r.Break()
	if _, err := p.Finish(t.Context(), img.ID, a); err != nil {
		t.Error(err)
	}
	if m := manifestOf(t, r, "app", "1"); len(m.Layers) != 1 || !slices.Contains(r.Blobs("app"), m.Layers[0].Digest) {
		t.Errorf("%+v", m)
	}
}

// A name that cannot be given twice is no error when it has the image.
func TestPushToImmutableTag(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	r := chaos.New(t)
	img := commit(t, s, layer(t, s, nil, "a", "one"), "app")
	other := commit(t, s, layer(t, s, nil, "a", "two"), "other")
	dest := r.Host + "/app:1"
	first, err := s.Push(t.Context(), img.ID, dest, PushOptions{}, patient())
	if err != nil {
		t.Fatal(err)
	}
	r.Break(chaos.Rule{Of: "PUT /v2/app/manifests/1", Fault: chaos.Status(412)})
	if again, err := s.Push(t.Context(), img.ID, dest, PushOptions{}, patient()); err != nil || again.Digest != first.Digest {
		t.Errorf("the same image: %+v, %v", again, err)
	}
	if _, err := s.Push(t.Context(), other.ID, dest, PushOptions{}, patient()); !errors.Is(err, registry.ErrRegistry) {
		t.Errorf("another image: %v", err)
	}
}

func TestPushByDigest(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	r := chaos.New(t)
	top := layer(t, s, nil, "a", "one")
	img := commit(t, s, top, "app")
	o := PushOptions{ByDigest: true}
	sent, err := s.Push(t.Context(), img.ID, r.Host+"/app:1", o, patient())
	if err != nil {
		t.Fatal(err)
	}
	p := newPush(t, s, o, r.Host+"/beside:1")
	p.Add(top)
	beside, err := p.Finish(t.Context(), img.ID, patient())
	if err != nil || beside[0].Digest != sent.Digest {
		t.Errorf("%+v, %v, want %s", beside, err, sent.Digest)
	}
	for _, repository := range []string{"app", "beside"} {
		manifestOf(t, r, repository, sent.Digest.String())
		if _, raw := r.Manifest(repository, "1"); raw != nil {
			t.Errorf("%s has the tag", repository)
		}
	}
	if _, err := s.Push(t.Context(), img.ID, "oci:"+t.TempDir(), o, patient()); err == nil || !strings.Contains(err.Error(), "sent to registries") {
		t.Errorf("to a directory: %v", err)
	}
}

// Whatever compresses the layers, they come back as they were, and both ways of pushing send the same.
func TestCompressions(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	top := layer(t, s, nil, "a", strings.Repeat("text ", 100_000))
	top = layer(t, s, top, "b", noise(50<<10, 1))
	img := commit(t, s, top, "app")
	for algorithm, test := range map[string]struct{ media, starts string }{
		compression.Gzip:         {imgspec.MediaTypeImageLayerGzip, "\x1f\x8b"},
		compression.Zstd:         {imgspec.MediaTypeImageLayerZstd, "\x28\xb5\x2f\xfd"},
		compression.ZstdChunked:  {imgspec.MediaTypeImageLayerZstd, "\x28\xb5\x2f\xfd"},
		compression.Uncompressed: {imgspec.MediaTypeImageLayer, ""},
	} {
		t.Run(algorithm, func(t *testing.T) {
			r := chaos.New(t)
			o := PushOptions{Compression: compression.Choice{Algorithm: algorithm}}
			p := newPush(t, s, o, r.Host+"/beside:1")
			p.Add(top)
			p.idle(t)
			sent, err := p.Finish(t.Context(), img.ID, patient())
			if err != nil {
				t.Fatal(err)
			}
			later, err := s.Push(t.Context(), img.ID, r.Host+"/app:1", o, patient())
			if err != nil || later.Digest != sent[0].Digest {
				t.Errorf("beside the build %s, after it %s, %v", sent[0].Digest, later.Digest, err)
			}
			m := manifestOf(t, r, "beside", "1")
			for _, l := range m.Layers {
				chunked := l.Annotations["io.github.containers.zstd-chunked.manifest-checksum"] != ""
				if l.MediaType != test.media || chunked != (algorithm == compression.ZstdChunked) {
					t.Errorf("%s %v", l.MediaType, l.Annotations)
				}
				if blob := readBlob(t, r, "beside", l.Digest); !bytes.HasPrefix(blob, []byte(test.starts)) || int64(len(blob)) != l.Size {
					t.Errorf("%d bytes that begin with %q", len(blob), blob[:4])
				}
			}
			back := open(t)
			got, err := back.Pull(t.Context(), r.Host+"/beside:1", platform.Platform{}, patient())
			if err != nil || got.ID != img.ID {
				t.Errorf("pulled %s, %v, want %s", got.ID, err, img.ID)
			}
		})
	}
	docker := PushOptions{Format: "docker", Compression: compression.Choice{Algorithm: compression.Zstd}}
	if _, err := s.Push(t.Context(), img.ID, "dir:"+t.TempDir(), docker, patient()); err == nil || !strings.Contains(err.Error(), "use the format oci") {
		t.Errorf("zstd in Docker's format: %v", err)
	}
	archive := PushOptions{Compression: compression.Choice{Algorithm: compression.Gzip}}
	if _, err := s.Push(t.Context(), img.ID, "docker-archive:"+t.TempDir()+"/a", archive, patient()); err == nil || !strings.Contains(err.Error(), "not compressed") {
		t.Errorf("gzip in Docker's archive: %v", err)
	}
}

// readBlob reads a blob from a registry.
func readBlob(t testing.TB, r *chaos.Registry, repository string, d digest.Digest) []byte {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("%s/v2/%s/blobs/%s", r.URL, repository, d))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || digest.FromBytes(data) != d {
		t.Fatalf("%d bytes of %s, %v", len(data), d, err)
	}
	return data
}

// While a layer is read as a tar, layers are made: a push beside a build does not hold it up.
func TestOpenTarLocksNothing(t *testing.T) {
	s := open(t)
	l := layer(t, s, nil, "a", noise(1<<20, 1))
	tar, err := s.OpenTar(l)
	if err != nil {
		t.Fatal(err)
	}
	defer tar.Close()
	made := make(chan *Layer)
	go func() { made <- layer(t, s, l, "b", "two") }()
	select {
	case <-made:
	case <-time.After(2 * time.Minute):
		t.Error("no layer was made while another was read")
	}
	data, err := io.ReadAll(tar)
	if err != nil || digest.FromBytes(data) != l.DiffID() {
		t.Errorf("%d bytes, %v, with the digest %s, want %s", len(data), err, digest.FromBytes(data), l.DiffID())
	}
}

// brief shows requests.
func brief(all []chaos.Request) (lines []string) {
	for _, q := range all {
		lines = append(lines, fmt.Sprintf("\n%s %s?%s %d (%d bytes)", q.Method, q.Path, q.Query, q.Status, q.Received))
	}
	return lines
}
