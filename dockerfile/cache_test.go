package dockerfile_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/dockerfile"
	"github.com/oakum-build/oakum/hack/chaos"
)

const cachedText = `FROM scratch AS base
COPY busybox /bin/sh
FROM base AS made
COPY src /src
RUN echo made >/out
FROM base
COPY --from=made /out /out
RUN echo more >>/out
`

// cached is a build by a machine of its own, whose result does not depend on when it is done.
type cached struct {
	dir  string
	ran  int      // RUNs that were executed
	told []string // warnings
	mu   sync.Mutex
}

func (c *cached) build(t *testing.T, more dockerfile.Cache) builder.Image {
	t.Helper()
	no, epoch := false, time.Unix(1e9, 0)
	b := openWith(t, builder.Options{Retries: -1, Registry: builder.Registry{TLSVerify: &no}, Events: func(e event.Event) {
		if e.Kind == event.Warning {
			c.mu.Lock()
			c.told = append(c.told, e.Text)
			c.mu.Unlock()
		}
	}})
	img, err := dockerfile.Build(t.Context(), b, dockerfile.Options{
		Context: dockerfile.Context{Dir: c.dir}, File: dockerfile.File{Text: strings.NewReader(cachedText)}, Cache: more,
		Image: dockerfile.Image{Timestamp: &epoch},
		Progress: func(e dockerfile.Event) {
			if e.Kind == dockerfile.StepFinished && strings.HasPrefix(e.Instruction, "RUN ") && !e.Cached && e.Err == nil {
				c.ran++
			}
		},
	})
	if err != nil {
		t.Fatal(explained(err))
	}
	var files bytes.Buffer
	if err := b.Export(t.Context(), &files, builder.ImageFiles(img.ID).Pull("never").Select("out")); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(files.Bytes(), []byte("made\nmore\n")) { // what its digests say is not what it has
		t.Errorf("the image has %q", files.Bytes()[512:min(files.Len(), 600)])
	}
	return img
}

// TestHostileCaches builds with caches that lie, fail or are none: each is a build that gives the same image, and
// says what was wrong with the cache.
func TestHostileCaches(t *testing.T) {
	t.Parallel()
	r := chaos.New(t)
	dir := contextDir(t)
	write(t, filepath.Join(dir, "src", "one"), "1")
	at := func(repository string) cache.At { return cache.At{Ref: r.Host + "/" + repository + ":cache"} }
	want := (&cached{dir: dir}).build(t, dockerfile.Cache{To: []cache.Target{{At: at("app"), Mode: cache.Max}}})
	honest := &cached{dir: dir}
	if img := honest.build(t, dockerfile.Cache{From: []cache.At{at("app")}}); img.ID != want.ID || honest.ran != 0 || len(honest.told) > 0 {
		t.Fatalf("the image is %s, and was %s; %d RUNs were executed, %q", img.ID, want.ID, honest.ran, honest.told)
	}

	changed := func(change func(m *imgspec.Manifest, index map[string]any)) func(string) {
		return func(repository string) { changeCache(t, r, repository, change) }
	}
	records := func(change func(record map[string]any)) func(string) {
		return changed(func(_ *imgspec.Manifest, index map[string]any) {
			for _, is := range index["records"].([]any) {
				change(is.(map[string]any))
			}
		})
	}
	var endless atomic.Int64
	tests := []struct {
		name   string
		lie    func(repository string)
		of     string // requests that the fault is of
		fault  chaos.Fault
		silent bool // nothing is to be said of it
	}{
		{name: "truncated layers", of: "GET /v2/%s/blobs", fault: exceptSmall(chaos.Cut(100))},
		{name: "other bytes", of: "GET /v2/%s/blobs", fault: exceptSmall(chaos.Answer("application/octet-stream", make([]byte, 5000)))},
		{name: "layers that are not there", of: "GET /v2/%s/blobs", fault: exceptSmall(chaos.Status(http.StatusNotFound))},
		{name: "layers of others", lie: changed(func(m *imgspec.Manifest, _ map[string]any) {
			last := len(m.Layers) - 1
			m.Layers[0], m.Layers[last] = m.Layers[last], m.Layers[0]
		})},
		{name: "layers with another content of the same size", lie: func(repository string) {
			changeCache(t, r, repository, func(m *imgspec.Manifest, _ map[string]any) {
				for i := range m.Layers {
					evil := replacedIn(t, blobOf(t, r, repository, m.Layers[i].Digest), "made", "evil")
					m.Layers[i].Digest, m.Layers[i].Size = r.PutBlob(repository, evil), int64(len(evil))
				}
			})
		}},
		{name: "a layer that is no tar", lie: changed(func(m *imgspec.Manifest, _ map[string]any) {
			for i := range m.Layers {
				m.Layers[i].Digest, m.Layers[i].Size = m.Config.Digest, m.Config.Size
			}
		})},
		{name: "an index that is cut", of: "GET /v2/%s/blobs", fault: chaos.Cut(50)},
		{name: "an index that is none", lie: changed(func(_ *imgspec.Manifest, index map[string]any) { index["version"] = "x" })},
		{name: "a later version", lie: changed(func(_ *imgspec.Manifest, index map[string]any) { index["version"] = 99 })},
		{name: "an index of 100 MB", lie: changed(func(m *imgspec.Manifest, _ map[string]any) { m.Config.Size = 100 << 20 })},
		{name: "an index of a path", lie: changed(func(m *imgspec.Manifest, _ map[string]any) { m.Config.Digest = "sha256:../../../../etc/passwd" })},
		{name: "a hundred thousand records", lie: changed(func(_ *imgspec.Manifest, index map[string]any) {
			all := index["records"].([]any)
			for len(all) < 100_000 {
				all = append(all, map[string]any{"key": "x"})
			}
			index["records"] = all
		})},
		{name: "keys that are paths", lie: records(func(r map[string]any) { r["key"] = "../../../../etc/passwd" })},
		{name: "digests that are paths", lie: records(func(r map[string]any) { r["diff"] = "sha256:../../../../etc/passwd" })},
		{name: "layers on themselves", lie: records(func(r map[string]any) { r["below"] = r["diff"] }), silent: true},
		{name: "negative sizes", lie: records(func(r map[string]any) { r["size"] = -1 })},
		{name: "sizes that are too small", lie: records(func(r map[string]any) { r["size"] = 1 })},
		{name: "no manifest", of: "GET /v2/%s/manifests", fault: chaos.Status(http.StatusNotFound)},
		{name: "a manifest without end", of: "GET /v2/%s/manifests", fault: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", imgspec.MediaTypeImageManifest)
			for piece := make([]byte, 1<<20); endless.Load() < 1<<30; {
				n, err := w.Write(piece)
				if endless.Add(int64(n)); err != nil {
					return
				}
			}
		}},
		{name: "a registry that is broken", of: "/v2/%s/", fault: chaos.Status(http.StatusInternalServerError)},
		{name: "an image", lie: changed(func(m *imgspec.Manifest, _ map[string]any) {
			m.ArtifactType, m.Config.MediaType = "", imgspec.MediaTypeImageConfig
		})},
	}
	var rules []chaos.Rule
	for i, test := range tests {
		repository := fmt.Sprintf("lie%d", i)
		r.Copy("app", repository, "cache")
		if test.lie != nil {
			test.lie(repository)
		}
		if test.fault != nil {
			rules = append(rules, chaos.Rule{Of: fmt.Sprintf(test.of, repository), Fault: test.fault})
		}
	}
	r.Break(rules...)
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := &cached{dir: dir}
			img := c.build(t, dockerfile.Cache{From: []cache.At{at(fmt.Sprintf("lie%d", i))}})
			if img.ID != want.ID {
				t.Errorf("the image is %s, and was %s", img.ID, want.ID)
			}
			if c.ran == 0 {
				t.Error("no RUN was executed")
			}
			if told := strings.Join(c.told, "\n"); !test.silent && !strings.Contains(told, fmt.Sprintf("lie%d", i)) {
				t.Errorf("told is %q", told)
			}
		})
	}
	if got := endless.Load(); got > 64<<20 {
		t.Errorf("%d bytes of a manifest were read", got)
	}
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Error(err)
	}
}

// exceptSmall has a fault befall blobs that are larger than the index of this build, which is some hundred bytes
// a step.
func exceptSmall(fault chaos.Fault) chaos.Fault {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		var answer recorder
		next.ServeHTTP(&answer, q.Clone(q.Context()))
		if json.Valid(answer.body.Bytes()) {
			next.ServeHTTP(w, q)
			return
		}
		fault(w, q, next)
	}
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (*recorder) WriteHeader(int)               {}

// changeCache puts another cache in the place of one of a repository.
func changeCache(t *testing.T, r *chaos.Registry, repository string, change func(m *imgspec.Manifest, index map[string]any)) {
	t.Helper()
	_, raw := r.Manifest(repository, "cache")
	var m imgspec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	text := blobOf(t, r, repository, m.Config.Digest)
	var index map[string]any
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	before := m.Config
	changed := false
	change(&m, index)
	if is, err := json.Marshal(index); err != nil {
		t.Fatal(err)
	} else if changed = !sameJSON(t, is, text); changed && m.Config.Digest == before.Digest && m.Config.Size == before.Size {
		m.Config.Digest, m.Config.Size = r.PutBlob(repository, is), int64(len(is))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r.PutManifest(repository, "cache", imgspec.MediaTypeImageManifest, raw)
}

// replacedIn is a compressed tar with another text in place of one.
func replacedIn(t *testing.T, blob []byte, from, to string) []byte {
	t.Helper()
	in, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(bytes.ReplaceAll(text, []byte(from), []byte(to))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}

// blobOf reads a blob of the registry.
func blobOf(t *testing.T, r *chaos.Registry, repository string, d digest.Digest) []byte {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/v2/"+repository+"/blobs/"+d.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var answer recorder
	r.ServeHTTP(&answer, q)
	return answer.body.Bytes()
}

// TestImagesThatAreCopiedFrom: what is copied from an image is found in a cache elsewhere, and the image is not pulled, until
// a step has to see it.
func TestImagesThatAreCopiedFrom(t *testing.T) {
	t.Parallel()
	r := chaos.New(t)
	open := func() *builder.Builder {
		no := false
		return openWith(t, builder.Options{Retries: -1, Registry: builder.Registry{TLSVerify: &no}})
	}
	one, two := open(), open()
	versionOf(t, one, "v1", "localhost/v1")
	if _, err := one.Push(t.Context(), "localhost/v1", r.Host+"/tool:1", builder.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	at := cache.At{Ref: r.Host + "/app:cache"}
	build := func(b *builder.Builder, text string, more dockerfile.Cache) (img builder.Image, pulled int) {
		t.Helper()
		r.Break()
		img, err := dockerfile.Build(t.Context(), b, dockerfile.Options{File: dockerfile.File{Text: strings.NewReader(text)}, Cache: more})
		if err != nil {
			t.Fatal(explained(err))
		}
		return img, len(r.Requests("GET /v2/tool/blobs/"))
	}
	text := "FROM scratch\nCOPY --from=" + r.Host + "/tool:1 / /tool/\n"
	first, _ := build(one, text, dockerfile.Cache{To: []cache.Target{{At: at}}})
	second, pulled := build(two, text, dockerfile.Cache{From: []cache.At{at}})
	if second.ID != first.ID || pulled != 1 {
		t.Errorf("image %s, want %s; %d blobs of the other were fetched, want its configuration alone", second.ID, first.ID, pulled)
	}
	if third, pulled := build(two, text, dockerfile.Cache{}); third.ID != first.ID || pulled > 2 {
		t.Errorf("without the cache: image %s, %d blobs", third.ID, pulled)
	}
	if _, pulled := build(two, text+"COPY --from="+r.Host+"/tool:1 / /more/\n", dockerfile.Cache{From: []cache.At{at}}); pulled < 2 {
		t.Errorf("%d blobs were fetched of an image whose files a step has to see", pulled)
	}
}

// TestTriggersThatCopy: of an image or a stage that a trigger of the base copies from, nothing is fetched, built or pulled where what is
// copied is found: in a cache elsewhere, and after a prune. A dry run tells of such stages.
func TestTriggersThatCopy(t *testing.T) {
	t.Parallel()
	r := chaos.New(t)
	no := false
	opts := builder.Options{Retries: -1, Registry: builder.Registry{TLSVerify: &no}}
	maker := openWith(t, opts)
	versionOf(t, maker, "v1", "localhost/tool")
	if _, err := maker.Push(t.Context(), "localhost/tool", r.Host+"/tool:1", builder.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, trigger := range map[string]string{"image": "COPY --from=" + r.Host + "/tool:1 / /tool/", "stage": "COPY --from=made /made /"} {
		s, err := maker.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.Configure("", func(c *builder.Config) { c.OnBuild = []string{trigger} })
		if _, err := s.Commit(t.Context(), "localhost/"+name, builder.CommitOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := maker.Push(t.Context(), "localhost/"+name, r.Host+"/"+name+":1", builder.PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var tool imgspec.Manifest
	if _, raw := r.Manifest("tool", "1"); json.Unmarshal(raw, &tool) != nil {
		t.Fatalf("manifest %s", raw)
	}
	for _, c := range []struct{ name, text string }{
		{"image", "FROM " + r.Host + "/image:1\n"},
		{"stage", "FROM " + r.Host + "/tool:1 AS made\nCOPY <<made /made\ntext\nmade\nFROM " + r.Host + "/stage:1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, two := openWith(t, opts), openWith(t, opts)
			at := cache.At{Ref: r.Host + "/" + c.name + ":cache"}
			build := func(b *builder.Builder, more dockerfile.Cache) (img builder.Image, pulled int) {
				t.Helper()
				r.Break()
				of := dockerfile.Options{Image: dockerfile.Image{Names: []string{"localhost/kept-" + c.name}}, File: dockerfile.File{Text: strings.NewReader(c.text)}, Cache: more}
				img, err := dockerfile.Build(t.Context(), b, of)
				if err != nil {
					t.Fatal(explained(err))
				}
				for _, layer := range tool.Layers {
					pulled += len(r.Requests("GET /v2/tool/blobs/" + layer.Digest.String()))
				}
				return img, pulled
			}
			first, pulled := build(one, dockerfile.Cache{To: []cache.Target{{At: at}}})
			if pulled == 0 {
				t.Error("no layers were fetched at first")
			}
			if second, pulled := build(two, dockerfile.Cache{From: []cache.At{at}}); second.ID != first.ID || pulled != 0 {
				t.Errorf("image %s, want %s; %d layers were fetched", second.ID, first.ID, pulled)
			}
			steps, err := dockerfile.DryRun(t.Context(), one, dockerfile.Options{File: dockerfile.File{Text: strings.NewReader(c.text)}})
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, s := range steps {
				lines = append(lines, s.Instruction)
			}
			if got := strings.Join(lines, "; "); strings.Count(got, "FROM ") != strings.Count(c.text, "FROM ") || !strings.Contains(got, "ONBUILD") {
				t.Errorf("the dry run tells of %s", got)
			}
			if _, err := one.Remove(t.Context(), r.Host+"/tool:1", builder.RemoveOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
			one = prunedWith(t, one, opts)
			if third, pulled := build(one, dockerfile.Cache{}); third.ID != first.ID || pulled != 0 {
				t.Errorf("after a prune: image %s, want %s; %d layers were fetched", third.ID, first.ID, pulled)
			}
		})
	}
}
