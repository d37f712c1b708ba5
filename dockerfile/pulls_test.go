package dockerfile_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/dockerfile"
	"github.com/oakum-build/oakum/hack/chaos"
)

// versionOf makes an image whose file "version" has a text.
func versionOf(t *testing.T, b *builder.Builder, text, name string) {
	t.Helper()
	imageOf(t, b, []byte("of all versions"), text, name)
}

// shell makes an image with a shell, which commands of others have from it.
func shell(t *testing.T, b *builder.Builder) {
	t.Helper()
	bin, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	imageOf(t, b, bin, "shell", "localhost/shell")
}

func imageOf(t *testing.T, b *builder.Builder, bin []byte, text, name string) {
	t.Helper()
	s, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Copy(t.Context(), "/", builder.FS(fstest.MapFS{"bin/sh": {Data: bin, Mode: 0o755}})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(t.Context(), "/", builder.FS(fstest.MapFS{"version": {Data: []byte(text), Mode: 0o644}})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), name, builder.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
}

// usesOf are the ways in which a Dockerfile uses an image: each puts its version into /version.
var usesOf = map[string]func(ref string) (text string, named map[string]string){
	"FROM": func(ref string) (string, map[string]string) { return "FROM " + ref + "\n", nil },
	"COPY --from": func(ref string) (string, map[string]string) {
		return "FROM scratch\nCOPY --from=" + ref + " version /\n", nil
	},
	"RUN --mount": func(ref string) (string, map[string]string) {
		return "FROM scratch\nCOPY --from=containers-storage:localhost/shell /bin/sh /bin/\n" +
			"RUN --network=none --mount=type=bind,from=" + ref + ",target=/m cat /m/version >/version\n", nil
	},
	"FROM a named context": func(ref string) (string, map[string]string) {
		return "FROM x\n", map[string]string{"x": "docker-image://" + ref}
	},
	"COPY from a named context": func(ref string) (string, map[string]string) {
		return "FROM scratch\nCOPY --from=x version /\n", map[string]string{"x": "docker-image://" + ref}
	},
}

// built builds with an image and gives the version that it saw.
func built(t *testing.T, b *builder.Builder, text string, named map[string]string, pull string) (string, error) {
	t.Helper()
	img, err := dockerfile.Build(t.Context(), b, dockerfile.Options{
		Context: dockerfile.Context{Named: named}, File: dockerfile.File{Text: strings.NewReader(text)}, Steps: dockerfile.Steps{Pull: pull},
	})
	if err != nil {
		return "", err
	}
	s, err := b.Stage(t.Context(), img.ID, builder.StageOptions{Pull: "never"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	version, err := s.ReadFile(t.Context(), "version", 100)
	return string(version), err
}

// The policies of pulling hold alike for every use of an image: what is in the store, what is in the
// registry, and what the registry is asked.
func TestPullPolicies(t *testing.T) {
	t.Parallel()
	r := chaos.New(t)
	plain := false
	b := openWith(t, builder.Options{Registry: builder.Registry{TLSVerify: &plain}, RetryDelay: time.Millisecond})
	for _, v := range []string{"v1", "v2"} {
		versionOf(t, b, v, "localhost/"+v)
		if _, err := b.Push(t.Context(), "localhost/"+v, r.Host+"/"+v+":1", builder.PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	shell(t, b)
	const none, asked, fetched = "", "asked", "fetched" // what becomes of the registry
	for name, test := range map[string]struct {
		local, remote string // "" is none
		pull          string
		want          string // "" is an error
		requests      string
	}{
		"missing, nowhere":       {"", "", "", "", asked},
		"missing, here":          {"v1", "", "", "v1", none},
		"missing, there":         {"", "v2", "", "v2", fetched},
		"missing, another there": {"v1", "v2", "", "v1", none},
		"always, nowhere":        {"", "", "always", "", asked},
		"always, here":           {"v1", "", "always", "", asked},
		"always, there":          {"", "v2", "always", "v2", fetched},
		"always, the same there": {"v1", "v1", "always", "v1", asked},
		"always, another there":  {"v1", "v2", "always", "v2", fetched},
		"never, nowhere":         {"", "", "never", "", none},
		"never, there":           {"", "v2", "never", "", none},
		"never, another there":   {"v1", "v2", "never", "v1", none},
		"newer, nowhere":         {"", "", "newer", "", asked},
		"newer, here":            {"v1", "", "newer", "v1", asked},
		"newer, there":           {"", "v2", "newer", "v2", fetched},
		"newer, the same there":  {"v1", "v1", "newer", "v1", asked},
		"newer, another there":   {"v1", "v2", "newer", "v2", fetched},
	} {
		for use, uses := range usesOf {
			label := use + ", " + name
			repository := strings.NewReplacer(" ", "", ",", "-", "--", "").Replace(strings.ToLower(label))
			ref := r.Host + "/" + repository + ":1"
			r.Break()
			if test.local != "" {
				r.Copy(test.local, repository, "1")
				if _, err := b.Pull(t.Context(), ref, builder.PullOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			r.Break()
			switch test.remote {
			case "":
				r.Break(chaos.Rule{Fault: chaos.Status(http.StatusNotFound)})
			default:
				r.Copy(test.remote, repository, "1")
			}
			text, named := uses(ref)
			got, err := built(t, b, text, named, test.pull)
			if got != test.want || (err == nil) != (test.want != "") || err != nil && !errors.Is(err, builder.ErrImageNotFound) && !errors.Is(err, builder.ErrRegistry) {
				t.Errorf("%s: got %q, %v, want %q", label, got, err, test.want)
			}
			all, manifests := len(r.Requests("")), len(r.Requests("GET /v2/"+repository+"/manifests"))
			if (all > 0) != (test.requests != none) || test.requests == fetched && manifests == 0 {
				t.Errorf("%s: %d requests, %d of manifests", label, all, manifests)
			}
			if n := len(r.Requests("GET /v2/" + repository + "/blobs")); test.local == test.remote && n > 1 { // of the configuration
				t.Errorf("%s: %d blobs were fetched again", label, n)
			}
		}
	}
}

// A digest is the image that it names, whatever its tag has become; once it is here, only the policy
// "always" asks for it.
func TestPullsByDigest(t *testing.T) {
	t.Parallel()
	r := chaos.New(t)
	plain := false
	registry := builder.Registry{TLSVerify: &plain}
	source := openWith(t, builder.Options{Registry: registry})
	for _, v := range []string{"v1", "v2"} {
		versionOf(t, source, v, "localhost/"+v)
		if _, err := source.Push(t.Context(), "localhost/"+v, r.Host+"/"+v+":1", builder.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		r.Copy(v, "app", "1")
	}
	first, err := source.Push(t.Context(), "localhost/v1", r.Host+"/app:old", builder.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, pull := range []string{"", "always", "newer"} {
		b := openWith(t, builder.Options{Registry: registry, RetryDelay: time.Millisecond})
		shell(t, b)
		for use, uses := range usesOf {
			text, named := uses(fmt.Sprintf("%s/app:1@%s", r.Host, first.Digest))
			if got, err := built(t, b, text, named, pull); got != "v1" || err != nil {
				t.Errorf("%s, %q: got %q, %v", use, pull, got, err)
			}
			r.Break(chaos.Rule{Fault: chaos.Status(http.StatusNotFound)})
			if got, err := built(t, b, text, named, pull); (got == "v1") != (pull != "always") {
				t.Errorf("%s, %q, without a registry: got %q, %v", use, pull, got, err)
			}
			if got, err := built(t, b, text, named, "never"); got != "v1" || err != nil {
				t.Errorf("%s, never: got %q, %v", use, got, err)
			}
			r.Break()
		}
		text, _ := usesOf["FROM"](fmt.Sprintf("%s/app@sha256:%s", r.Host, strings.Repeat(fmt.Sprint(i), 64)))
		if _, err := built(t, b, text, nil, pull); !errors.Is(err, builder.ErrImageNotFound) {
			t.Errorf("%q: a digest that there is not: %v", pull, err)
		}
	}
}

// Images in archives and layouts are read again in each build, whatever the policy: no registry has a
// newer one. Those of the store are never pulled.
func TestPullsOfFiles(t *testing.T) {
	t.Parallel()
	b := open(t)
	shell(t, b)
	dir := t.TempDir()
	for kind, form := range map[string]string{
		"oci": "oci:%s/layout:1", "oci-archive": "oci-archive:%s/oci.tar", "docker-archive": "docker-archive:%s/docker.tar", "dir": "dir:%s/dir",
		"oci-layout": "oci-layout://%s/layout:1", "containers-storage": "containers-storage:localhost/v",
	} {
		place := strings.ReplaceAll(form, "%s", dir)
		for _, pull := range []string{"", "always", "never", "newer"} {
			for _, v := range []string{"v1", "v2"} {
				versionOf(t, b, v, "localhost/v")
				if kind != "containers-storage" {
					for _, name := range []string{"oci.tar", "docker.tar"} {
						os.Remove(filepath.Join(dir, name))
					}
					to := strings.Replace(place, "oci-layout://", "oci:", 1)
					if _, err := b.Push(t.Context(), "localhost/v", to, builder.PushOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				for _, text := range []string{"FROM x\n", "FROM scratch\nCOPY --from=x version /\n"} {
					if got, err := built(t, b, text, map[string]string{"x": place}, pull); got != v || err != nil {
						t.Errorf("%s, pull %q, %q: got %q, %v, want %q", kind, pull, text, got, err, v)
					}
				}
			}
		}
		missing := strings.NewReplacer(dir, filepath.Join(dir, "none"), "localhost/v", "localhost/none").Replace(place)
		if _, err := built(t, b, "FROM x\n", map[string]string{"x": missing}, ""); err == nil {
			t.Errorf("%s: an image that is not there was built from", kind)
		}
	}
}

// With the policy "newer", a registry that fails is said to, and what is here is built from.
func TestNewerThanAFailure(t *testing.T) {
	t.Parallel()
	r := chaos.New(t)
	plain := false
	var mu sync.Mutex
	var told []string
	b := openWith(t, builder.Options{Registry: builder.Registry{TLSVerify: &plain}, RetryDelay: time.Millisecond, Events: func(e event.Event) {
		if e.Kind == event.Warning {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e.Text)
		}
	}})
	for _, v := range []string{"v1", "v2"} {
		versionOf(t, b, v, "localhost/"+v)
		if _, err := b.Push(t.Context(), "localhost/"+v, r.Host+"/"+v+":1", builder.PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.Copy("v1", "app", "1")
	if _, err := b.Pull(t.Context(), r.Host+"/app:1", builder.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Remove(t.Context(), "localhost/v2", builder.RemoveOptions{}); err != nil { // else nothing is fetched
		t.Fatal(err)
	}
	r.Copy("v2", "app", "1")
	for _, of := range []string{"", "GET /v2/app/manifests", "GET /v2/app/blobs"} {
		r.Break(chaos.Rule{Of: of, Fault: chaos.Status(http.StatusForbidden)})
		mu.Lock()
		told = nil
		mu.Unlock()
		if got, err := built(t, b, "FROM "+r.Host+"/app:1\n", nil, "newer"); got != "v1" || err != nil {
			t.Errorf("%q fails: got %q, %v", of, got, err)
		}
		mu.Lock()
		if !slices.ContainsFunc(told, func(text string) bool { return strings.Contains(text, r.Host+"/app:1") }) {
			t.Errorf("%q fails: told %q", of, told)
		}
		mu.Unlock()
	}
}
