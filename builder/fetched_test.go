//go:build linux

package builder_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/usage"
	"github.com/oakum-build/oakum/hack/chaos"
)

// fetchables are what ADD fetches of servers, by what of it is known before: with known, all is. asked counts the requests.
func fetchables(t *testing.T) (sources map[string]fetchable, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	counting := func(at string) string {
		to, err := url.Parse(at)
		ok(t, err)
		proxy := httputil.NewSingleHostReverseProxy(to)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			asked.Add(1)
			proxy.ServeHTTP(w, q)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	files := counting(web(t, map[string]string{"/f": "one", "/g": "two"}).URL)
	repository, first := gitServer(t)
	repository = counting(strings.TrimSuffix(repository, "/r.git")) + "/r.git"
	summed := func(name, content string) builder.Source {
		return builder.URL(files + name).Checksum(digest.FromString(content).String())
	}
	of := func(sources ...builder.Source) []builder.Source { return sources }
	return map[string]fetchable{
		"a URL":                      {of(summed("/f", "one")), true},
		"two URLs":                   {of(summed("/f", "one"), summed("/g", "two")), true},
		"a URL beside a file":        {of(builder.Bytes("h", []byte("h")), summed("/g", "two").Chmod("644")), true},
		"a commit":                   {of(builder.Git(repository + "#" + first)), true},
		"a commit and a URL":         {of(builder.Git(repository+"#"+first+":sub"), summed("/g", "two")), true},
		"a commit beside its branch": {of(builder.Git(repository+"#"+first+":sub"), builder.Git(repository)), false},
		"a URL without a checksum":   {of(builder.URL(files+"/f"), summed("/g", "two")), false},
	}, asked
}

type fetchable struct {
	sources []builder.Source
	known   bool
}

// What was fetched goes from the store when that is pruned, while what was copied of it stays in an image. Where a checksum or a
// commit says what it is, it is not fetched again.
func TestFetchedIsRemembered(t *testing.T) {
	t.Parallel()
	sources, asked := fetchables(t)
	for name, f := range sources {
		t.Run(name, func(t *testing.T) {
			root := tempDir(t)
			b := openIn(t, builder.Options{Root: root})
			add := func(cached bool) *builder.Stage {
				t.Helper()
				st := stage(t, b, builder.Scratch, builder.StageOptions{})
				step, err := st.Add(t.Context(), "/d/", f.sources...)
				ok(t, err)
				if step.Cached != cached {
					t.Errorf("cached: %t", step.Cached)
				}
				return st
			}
			_, err := add(false).Commit(t.Context(), "localhost/kept", builder.CommitOptions{})
			ok(t, err)
			for range 2 {
				ok(t, b.Close())
				b = openIn(t, builder.Options{Root: root})
				_, err = b.Prune(t.Context(), usage.Options{})
				ok(t, err)
				asked.Store(0)
				add(true)
				if n := asked.Load(); (n == 0) != f.known {
					t.Errorf("servers were asked %d times", n)
				}
			}
			on := base(t, b)
			ok(t, errOf(on.Add(t.Context(), "/d/", f.sources...))) // which has to have the files
			asked.Store(0)
			add(true)
			ok(t, b.Close())
		})
	}
}

// A cache spares another machine what a checksum or a commit names: neither the server is asked for it, nor is it in the
// cache a second time.
func TestFetchedTravels(t *testing.T) {
	t.Parallel()
	sources, asked := fetchables(t)
	for name, f := range sources {
		t.Run(name, func(t *testing.T) {
			r := chaos.New(t)
			one, two, three := newComputer(t, isolation.Choice{}.Most), newComputer(t, isolation.Choice{}.Most), newComputer(t, isolation.Choice{}.Most)
			at := cache.At{Ref: r.Host + "/app:cache"}
			add := func(m *computer, from ...cache.At) (*cache.Cache, string) {
				t.Helper()
				c := m.importing(t, from...)
				st := stage(t, m.Builder, builder.Scratch, builder.StageOptions{Cache: c})
				step, err := st.Add(t.Context(), "/d/", f.sources...)
				ok(t, err)
				if step.Cached != (len(from) > 0) {
					t.Errorf("cached: %t", step.Cached)
				}
				img, err := st.Commit(t.Context(), "", builder.CommitOptions{})
				ok(t, err)
				m.quiet(t)
				return c, img.ID
			}
			c, first := add(one)
			one.exporting(t, c, cache.Target{At: at, Mode: cache.Max})
			if n := len(r.Blobs("app")); n != 2 {
				t.Errorf("the cache has %d blobs, want its records and the layer of the step", n)
			}
			asked.Store(0)
			c, second := add(two, at)
			equal(t, second, first)
			if n := asked.Load(); (n == 0) != f.known {
				t.Errorf("servers were asked %d times", n)
			}
			// What was not fetched is handed on.
			two.exporting(t, c, cache.Target{At: at, Mode: cache.Min})
			asked.Store(0)
			c, third := add(three, at)
			equal(t, third, first)
			if n := asked.Load(); (n == 0) != f.known {
				t.Errorf("from the second on, servers were asked %d times", n)
			}
			// A step that is not found has to have it.
			st := stage(t, three.Builder, builder.Scratch, builder.StageOptions{Cache: c})
			ok(t, errOf(st.Workdir(t.Context(), "/e", "")))
			ok(t, errOf(st.Add(t.Context(), "/d/", f.sources...)))
		})
	}
}
