//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/hack/baseimage"
	"github.com/oakum-build/oakum/hack/chaos"
)

// logged is the registry of the base images, which notes what is asked of it.
type logged struct {
	host string

	mu   sync.Mutex
	seen []string // method and path
}

func newLogged(t *testing.T) *logged {
	t.Helper()
	l := &logged{}
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		l.mu.Lock()
		l.seen = append(l.seen, q.Method+" "+q.URL.Path)
		l.mu.Unlock()
		to.ServeHTTP(w, q)
	}))
	t.Cleanup(s.Close)
	l.host = s.Listener.Addr().String()
	return l
}

// blobs are those of a repository that were asked for, each once.
func (l *logged) blobs(repository string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, q := range l.seen {
		if strings.HasPrefix(q, "GET ") && strings.Contains(q, "/"+repository+"/blobs/") && !slices.Contains(all, q) {
			all = append(all, q)
		}
	}
	return all
}

// blobsOf are the digests of the blobs that were asked of a repository, each once.
func blobsOf(r *chaos.Registry, repository string) []string {
	var all []string
	for _, q := range r.Requests("GET /v2/" + repository + "/blobs/") {
		if d := q.Path[strings.LastIndex(q.Path, "/")+1:]; !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// machine is a home with a store of its own, whose registry for base images tells what is asked of it.
func machine(t *testing.T, r *chaos.Registry) (*testHome, *logged) {
	t.Helper()
	h, l := newHome(t), newLogged(t)
	h.write("config/containers/registries.conf", baseimage.RegistriesConf(l.host)+fmt.Sprintf("\n[[registry]]\nlocation = %q\ninsecure = true\n", r.Host))
	return h, l
}

// steps builds, and gives how each instruction was done: CACHED or DONE, by its text, and the image's digest.
func (h *testHome) steps(args ...string) (done map[string]string, digest string) {
	h.t.Helper()
	_, stderr, err := h.try(oakum, append([]string{"build", "--progress", "plain", "-t", "app"}, args...)...)
	if err != nil {
		h.t.Fatalf("%v\n%s", err, stderr)
	}
	done = map[string]string{}
	title := map[string]string{}
	for line := range strings.Lines(stderr) {
		if m := beginsStep.FindStringSubmatch(line); m != nil {
			title[m[1]] = m[2]
		} else if m := endsStep.FindStringSubmatch(line); m != nil {
			done[title[m[1]]] = m[2]
		}
	}
	if strings.Contains(stderr, "warning") {
		h.t.Errorf("the build warns:\n%s", stderr)
	}
	return done, strings.TrimSpace(h.run(oakum, "inspect", "--format", "{{.Digest}}", "app"))
}

var (
	beginsStep = regexp.MustCompile(`^(#\d+) \[[^\]]*\] (.*)\n$`)
	endsStep   = regexp.MustCompile(`^(#\d+) (CACHED|DONE)`)
)

// TestCacheTravels builds on one machine, and on others that have nothing in common with it but a registry.
func TestCacheTravels(t *testing.T) {
	t.Parallel()
	r := chaos.New(t)
	example := filepath.Join(checkout, "examples/multistage-go")
	cache := "type=registry,ref=" + r.Host + "/app:cache"
	one, _ := machine(t, r)
	_, digest := one.steps("--cache-to", cache, example)

	// No RUN is executed, and no layer of the stage that is only copied from is fetched, nor one of its base.
	two, bases := machine(t, r)
	r.Break()
	done, got := two.steps("--cache-from", cache, example)
	if got != digest {
		t.Errorf("the image is %s, and was %s", got, digest)
	}
	for text, how := range done {
		if how != "CACHED" && !strings.HasPrefix(text, "FROM ") && !strings.HasPrefix(text, "ENV ") && !strings.HasPrefix(text, "LABEL ") && !strings.HasPrefix(text, "CMD ") {
			t.Errorf("%s: %s", text, how)
		}
	}
	if len(done) < 8 {
		t.Errorf("there are %d steps: %v", len(done), done)
	}
	if blobs := bases.blobs("golang"); len(blobs) > 1 { // its configuration
		t.Errorf("of the base of the builder stage were fetched %q", blobs)
	}
	_, raw := r.Manifest("app", "cache")
	var m imgspec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	want := []string{m.Config.Digest.String()}
	for _, l := range m.Layers {
		want = append(want, l.Digest.String())
	}
	blobs := blobsOf(r, "app")
	slices.Sort(want)
	slices.Sort(blobs)
	if len(m.Layers) != 2 || !slices.Equal(blobs, want) { // WORKDIR /srv, and the program
		t.Errorf("fetched were %q, and the cache has %q", blobs, want)
	}

	// One source file changes: what depends on it runs, and nothing else.
	changed := filepath.Join(two.dir, "changed")
	if err := os.CopyFS(changed, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(changed, "hello.go")
	text, err := os.ReadFile(source)
	if err == nil {
		err = os.WriteFile(source, append(text, "\nvar _ = 1\n"...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	three, _ := machine(t, r)
	done, got = three.steps("--cache-from", cache, changed)
	if got == digest {
		t.Error("the image of the changed source is the same")
	}
	for text, how := range done {
		runs := strings.HasPrefix(text, "COPY ") || strings.HasPrefix(text, "RUN ")
		if how == "CACHED" && runs || how == "DONE" && strings.HasPrefix(text, "WORKDIR /srv") {
			t.Errorf("with a changed source, %s: %s", text, how)
		}
	}
	if done["WORKDIR /srv"] != "CACHED" {
		t.Errorf("WORKDIR /srv of the base stage is not found: %v", done)
	}

	// A push to the same registry sends no layer that is in the cache: that of the base is not.
	four, _ := machine(t, r)
	r.Break()
	four.run(oakum, "build", "-q", "--push", "-t", r.Host+"/pushed:1", "--cache-from", cache, example)
	_, raw = r.Manifest("pushed", "1")
	if err := json.Unmarshal(raw, &m); err != nil || len(m.Layers) != 3 {
		t.Fatalf("%s, %v", raw, err)
	}
	if sent := uploaded(r, "pushed"); sent > m.Layers[0].Size+64<<10 {
		t.Errorf("%d bytes of blobs were sent for %s", sent, raw)
	}
}

// uploaded is how many bytes of blobs a repository was sent.
func uploaded(r *chaos.Registry, repository string) int64 {
	var all int64
	for _, method := range []string{"PATCH", "PUT"} {
		for _, q := range r.Requests(method + " /v2/" + repository + "/blobs/uploads/") {
			all += q.Received
		}
	}
	return all
}

// TestCacheOfAnotherPlatform builds for two platforms on two machines: a stage that does not depend on them is
// done once.
func TestCacheOfAnotherPlatform(t *testing.T) {
	t.Parallel()
	r := chaos.New(t)
	const text = `FROM --platform=$BUILDPLATFORM busybox:1.36 AS made
RUN head -c 16 /dev/urandom | base64 >/once
FROM scratch
ARG TARGETARCH
COPY $TARGETARCH /
COPY --from=made /once /once
`
	var onces []string
	for _, platform := range []string{"amd64", "arm64"} {
		h, _ := machine(t, r)
		context := h.context("context", text)
		for _, arch := range []string{"amd64", "arm64"} {
			h.write("context/"+arch+"/arch", arch)
		}
		cache := "type=registry,ref=" + r.Host + "/app:cache"
		args := []string{"--platform", "linux/" + platform, "--cache-to", cache + ",mode=max", context}
		if platform == "arm64" {
			args = append([]string{"--cache-from", cache}, args...)
		}
		done, _ := h.steps(args...)
		run := done["RUN head -c 16 /dev/urandom | base64 >/once"]
		if want := map[string]string{"amd64": "DONE", "arm64": "CACHED"}[platform]; run != want || done["COPY arm64 /"] == "CACHED" {
			t.Errorf("%s: the RUN is %s: %v", platform, run, done)
		}
		image := h.export("localhost/app:latest")
		if got := image.Files["arch"].Content; got != strconv.Quote(platform) {
			t.Errorf("%s: the image is for %s", platform, got)
		}
		onces = append(onces, image.Files["once"].Content)
	}
	if onces[0] == "" || onces[0] != onces[1] {
		t.Errorf("it was made twice: %q", onces)
	}
}
