//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/cache/gha"
	"github.com/oakum-build/oakum/builder/cache/gha/ghatest"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/hack/chaos"
)

// computer is a Builder with a store of its own, as another machine has.
type computer struct {
	*builder.Builder
	root string

	mu     sync.Mutex
	warned []string
}

// newComputer opens one; with Most isolation.Chroot it keeps layers as tars.
func newComputer(t testing.TB, most isolation.Level) *computer {
	t.Helper()
	m := &computer{root: tempDir(t)}
	m.open(t, most)
	return m
}

func (m *computer) open(t testing.TB, most isolation.Level) {
	t.Helper()
	plainly := false
	m.Builder = openIn(t, builder.Options{Root: m.root, Isolation: isolation.Choice{Most: most}, RetryDelay: time.Millisecond,
		Registry: builder.Registry{TLSVerify: &plainly}, Events: func(e event.Event) {
			if e.Kind == event.Warning {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.warned = append(m.warned, e.Text)
			}
		}})
}

// warnings are those since the last call.
func (m *computer) warnings() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.warned = nil }()
	return strings.Join(m.warned, "\n")
}

// quiet fails the test when something was warned of.
func (m *computer) quiet(t testing.TB) {
	t.Helper()
	if text := m.warnings(); text != "" {
		t.Errorf("warned: %s", text)
	}
}

func (m *computer) importing(t testing.TB, from ...cache.At) *cache.Cache {
	t.Helper()
	c, err := m.ImportCache(t.Context(), from...)
	ok(t, err)
	t.Cleanup(func() { ok(t, c.Close()) })
	return c
}

func (m *computer) exporting(t testing.TB, c *cache.Cache, to cache.Target) {
	t.Helper()
	d, err := m.ExportCache(t.Context(), c, to)
	ok(t, err)
	if d.Digest == "" {
		t.Error("exported, and there is no manifest")
	}
}

// made is what a build of two stages did.
type made struct {
	image  builder.Image
	cached string // a letter for each step: c for cached, d for done
}

// buildTwo builds an image from a base with a file of a stage that is thrown away. With lookup that stage is only
// looked up.
func (m *computer) buildTwo(t testing.TB, base, dir string, lookup bool, opts builder.StageOptions, commit builder.CommitOptions) (made, error) {
	t.Helper()
	var out made
	did := func(step builder.Step, err error) error {
		if step.Cached {
			out.cached += "c"
		} else if err == nil {
			out.cached += "d"
		}
		return err
	}
	first := opts
	first.Lookup = lookup
	made, err := m.Stage(t.Context(), base, first)
	if err != nil {
		return out, err
	}
	defer made.Close()
	if err := did(made.Copy(t.Context(), "/src/", builder.Dir(dir))); err != nil {
		return out, err
	}
	if err := did(made.Workdir(t.Context(), "/work", "")); err != nil {
		return out, err
	}
	if err := did(made.Copy(t.Context(), "/work/big", builder.Bytes("big", bytes.Repeat([]byte("big"), 100_000)))); err != nil {
		return out, err
	}
	last, err := m.Stage(t.Context(), base, opts)
	if err != nil {
		return out, err
	}
	defer last.Close()
	if err := did(last.Copy(t.Context(), "/kept", made.Path("/src/f"))); err != nil {
		return out, err
	}
	if err := did(last.Workdir(t.Context(), "/here", "")); err != nil {
		return out, err
	}
	out.image, err = last.Commit(t.Context(), "", commit)
	return out, err
}

// base pushes a base image with a file to a registry.
func (m *computer) base(t testing.TB, name string) {
	t.Helper()
	s := scratch(t, m.Builder)
	ok(t, errOf(s.Copy(t.Context(), "/base", builder.Bytes("base", []byte(strings.Repeat("base", 1000))))))
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	_, err = m.Push(t.Context(), img.ID, name, builder.PushOptions{})
	ok(t, err)
}

// eachKind runs a test with stores of both drivers.
func eachKind(t *testing.T, test func(t *testing.T, most isolation.Level)) {
	t.Parallel()
	t.Run("overlay", func(t *testing.T) { t.Parallel(); test(t, isolation.Choice{}.Most) })
	t.Run("tree", func(t *testing.T) { t.Parallel(); test(t, isolation.Chroot) })
}

// fetched counts the blobs of a repository that were asked for.
func fetchedOf(r *chaos.Registry, repository string) int {
	return len(r.Requests("GET /v2/" + repository + "/blobs/"))
}

// One machine's cache spares another the work, and all that it need not see: of a stage that is only copied from no layer
// comes, nor of that stage's base.
func TestCacheTravels(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		for _, mode := range []string{cache.Min, cache.Max} {
			r := chaos.New(t)
			one, two := newComputer(t, most), newComputer(t, most)
			base, at := r.Host+"/base:1", cache.At{Ref: r.Host + "/app:cache"}
			one.base(t, base)
			dir := tree(t, map[string]string{"f": "f", "g": "g"})
			c := one.importing(t)
			first, err := one.buildTwo(t, base, dir, false, builder.StageOptions{Cache: c}, builder.CommitOptions{})
			ok(t, err)
			equal(t, first.cached, "ddddd")
			one.exporting(t, c, cache.Target{At: at, Mode: mode})
			one.quiet(t)

			r.Break()
			c = two.importing(t, at)
			equal(t, fmt.Sprint(fetchedOf(r, "app")), "1") // the records
			second, err := two.buildTwo(t, base, dir, true, builder.StageOptions{Cache: c}, builder.CommitOptions{})
			ok(t, err)
			equal(t, second.cached, "ccccc")
			equal(t, second.image.ID, first.image.ID)
			equal(t, fmt.Sprint(fetchedOf(r, "app")), "3")  // and the two layers of the image
			equal(t, fmt.Sprint(fetchedOf(r, "base")), "3") // the configuration, and the image for the second stage

			// What is the same as before in the registry is neither compressed nor sent again, also of layers that are not here.
			r.Break()
			two.exporting(t, c, cache.Target{At: at, Mode: mode})
			if sent := r.Requests("PATCH "); len(sent) > 1 {
				t.Errorf("mode %s: %d blobs were sent again", mode, len(sent))
			}
			two.quiet(t)

			// What was used is the store's own: it is found without the cache.
			if remembers, err := two.Remembers(t.Context()); !remembers || err != nil {
				t.Errorf("mode %s: layers that have not come are not remembered, %v", mode, err)
			}
			ok(t, two.Close())
			two.open(t, most)
			third, err := two.buildTwo(t, base, dir, true, builder.StageOptions{}, builder.CommitOptions{})
			if err == nil || !errors.Is(err, builder.ErrUncached) && !errors.Is(err, builder.ErrImageNotFound) {
				ok(t, err)
				equal(t, third.cached, "ccccc")
				equal(t, third.image.ID, first.image.ID)
			} else {
				t.Errorf("without the cache: %s, %v", third.cached, err)
			}

			// Nor is the base of what is only looked up pulled again when it has gone.
			_, err = two.Remove(t.Context(), base, builder.RemoveOptions{})
			ok(t, err)
			r.Break()
			look := stage(t, two.Builder, base, builder.StageOptions{Lookup: true})
			ok(t, errOf(look.Copy(t.Context(), "/src/", builder.Dir(dir))))
			equal(t, fmt.Sprint(fetchedOf(r, "base")), "1")

			// In a stage that is not found, what is below it comes as far as the cache has it.
			three := newComputer(t, most)
			c = three.importing(t, at)
			ok(t, os.WriteFile(filepath.Join(dir, "h"), nil, 0o644))
			fourth, err := three.buildTwo(t, base, dir, false, builder.StageOptions{Cache: c}, builder.CommitOptions{})
			ok(t, err)
			equal(t, fourth.cached, "dddcc")
			equal(t, fourth.image.ID, first.image.ID)
			three.quiet(t)
		}
	})
}

// A layer in the middle of a stage comes when a step on it has to be done.
func TestCacheFetchesForAStep(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		one, two := newComputer(t, most), newComputer(t, most)
		at := cache.At{Layout: t.TempDir() + "/l"}
		build := func(m *computer, c *cache.Cache, last string) (string, bool, *builder.Stage) {
			s := stage(t, m.Builder, builder.Scratch, builder.StageOptions{Cache: c})
			ok(t, errOf(s.Copy(t.Context(), "/a", builder.Bytes("a", []byte("a")))))
			ok(t, errOf(s.Copy(t.Context(), "/b", builder.Bytes("b", []byte("b")))))
			step, err := s.Copy(t.Context(), "/c", builder.Bytes("c", []byte(last)))
			ok(t, err)
			var text string
			for _, name := range []string{"a", "b", "c"} {
				raw, err := s.ReadFile(t.Context(), name, 100)
				ok(t, err)
				text += string(raw)
			}
			return text, step.Cached, s
		}
		c := one.importing(t)
		text, cached, _ := build(one, c, "c")
		equal(t, fmt.Sprint(text, cached), "abcfalse")
		one.exporting(t, c, cache.Target{At: at, Mode: cache.Max})

		// Where nothing was committed, the layers of all stages travel.
		nothing := cache.At{Layout: at.Layout, Tag: "min"}
		one.exporting(t, c, cache.Target{At: nothing})
		three := newComputer(t, most)
		text, cached, _ = build(three, three.importing(t, nothing), "c")
		equal(t, fmt.Sprint(text, cached), "abctrue")

		c = two.importing(t, at)
		text, cached, _ = build(two, c, "d")
		equal(t, fmt.Sprint(text, cached), "abdfalse")
		text, cached, _ = build(two, c, "c")
		equal(t, fmt.Sprint(text, cached), "abctrue")
		two.quiet(t)
	})
}

// Layers that are here already are those that records from elsewhere tell of, and these are the store's own then.
func TestCacheOfLayersThatAreHere(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		r := chaos.New(t)
		one, two := newComputer(t, most), newComputer(t, most)
		base, at, name := r.Host+"/base:1", cache.At{Ref: r.Host + "/app:cache"}, r.Host+"/app:1"
		one.base(t, base)
		dir := tree(t, map[string]string{"f": "f"})
		c := one.importing(t)
		first, err := one.buildTwo(t, base, dir, false, builder.StageOptions{Cache: c}, builder.CommitOptions{})
		ok(t, err)
		one.exporting(t, c, cache.Target{At: at, Mode: cache.Max})
		_, err = one.Push(t.Context(), first.image.ID, name, builder.PushOptions{})
		ok(t, err)
		for _, ref := range []string{name, base} {
			_, err = two.Pull(t.Context(), ref, builder.PullOptions{})
			ok(t, err)
		}
		c = two.importing(t, at)
		r.Break()
		second, err := two.buildTwo(t, base, dir, true, builder.StageOptions{Cache: c}, builder.CommitOptions{})
		ok(t, err)
		equal(t, second.cached, "ccccc")
		equal(t, second.image.ID, first.image.ID)
		equal(t, fmt.Sprint(fetchedOf(r, "app")), "0")
		two.quiet(t)
		ok(t, two.Close())
		two.open(t, most)
		third, err := two.buildTwo(t, base, dir, true, builder.StageOptions{}, builder.CommitOptions{})
		ok(t, err)
		equal(t, third.cached, "ccccc")
	})
}

// A step that finds nothing to do on a layer that it has to see changes nothing; a stage that only looks up sees none.
func TestCacheSeen(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		r := chaos.New(t)
		one, two := newComputer(t, most), newComputer(t, most)
		at := cache.At{Ref: r.Host + "/app:cache"}
		start := func(m *computer, opts builder.StageOptions) *builder.Stage {
			s := stage(t, m.Builder, builder.Scratch, opts)
			ok(t, errOf(s.Copy(t.Context(), "/d/f", builder.Bytes("f", []byte("f")))))
			return s
		}
		c := one.importing(t)
		start(one, builder.StageOptions{Cache: c})
		one.exporting(t, c, cache.Target{At: at, Mode: cache.Max})
		c = two.importing(t, at)
		r.Break()
		_, err := start(two, builder.StageOptions{Cache: c, Lookup: true}).ReadFile(t.Context(), "/d/f", 1)
		is(t, err, builder.ErrUncached)
		equal(t, fmt.Sprint(fetchedOf(r, "app")), "0")
		for _, cached := range []bool{false, true} {
			s := start(two, builder.StageOptions{Cache: c})
			step, err := s.Workdir(t.Context(), "/d", "")
			ok(t, err)
			img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
			ok(t, err)
			d, err := two.Inspect(t.Context(), img.ID)
			ok(t, err)
			if step.Cached != cached || len(d.Layers) != 1 || !d.History[1].EmptyLayer {
				t.Errorf("cached %v: %+v, %d layers, %+v", cached, step, len(d.Layers), d.History)
			}
		}
		equal(t, fmt.Sprint(fetchedOf(r, "app")), "1")
		two.quiet(t)
	})
}

// One layer that is made of several travels as others do, and these need not come for it.
func TestCacheSquashed(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		r := chaos.New(t)
		one, two := newComputer(t, most), newComputer(t, most)
		at := cache.At{Ref: r.Host + "/app:cache"}
		build := func(m *computer, c *cache.Cache, squash string) builder.Image {
			s := stage(t, m.Builder, builder.Scratch, builder.StageOptions{Cache: c})
			for _, name := range []string{"a", "b", "c"} {
				ok(t, errOf(s.Copy(t.Context(), "/"+name, builder.Bytes(name, []byte(name)))))
			}
			img, err := s.Commit(t.Context(), "", builder.CommitOptions{Squash: squash})
			ok(t, err)
			return img
		}
		c := one.importing(t)
		first := build(one, c, "all")
		one.exporting(t, c, cache.Target{At: at})
		c = two.importing(t, at)
		r.Break()
		second := build(two, c, "all")
		equal(t, second.ID, first.ID)
		equal(t, fmt.Sprint(fetchedOf(r, "app")), "1")
		two.quiet(t)
		// What is not there is made.
		three := newComputer(t, most)
		c = one.importing(t)
		build(one, c, "")
		one.exporting(t, c, cache.Target{At: at})
		c = three.importing(t, at)
		r.Break()
		build(three, c, "all")
		equal(t, fmt.Sprint(fetchedOf(r, "app")), "3")
		three.quiet(t)
	})
}

// memoryPlace is a place of a program's own.
type memoryPlace struct {
	mu   sync.Mutex
	has  map[string][]byte
	fail func(what, name string) error
}

func (p *memoryPlace) failing(what, name string) error {
	if p.fail == nil {
		return nil
	}
	return p.fail(what, name)
}

func (p *memoryPlace) Get(_ context.Context, name string) (io.ReadCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	raw, has := p.has[name]
	if !has {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(raw)), p.failing("get", name)
}

func (p *memoryPlace) Has(_ context.Context, name string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, has := p.has[name]
	return has, p.failing("has", name)
}

func (p *memoryPlace) Put(_ context.Context, name string, size int64, content io.Reader) error {
	raw, err := io.ReadAll(content)
	if err == nil {
		err = p.failing("put", name)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if int64(len(raw)) != size || name != cache.ManifestName && digest.FromBytes(raw).String() != name {
		return fmt.Errorf("%s has %d bytes, not %d, or another digest", name, len(raw), size)
	}
	p.has[name] = raw
	return nil
}

// trustingPlace counts what it keeps, and looks at nothing of it.
type trustingPlace struct {
	memoryPlace
	kept int
}

func (p *trustingPlace) Put(_ context.Context, _ string, _ int64, content io.Reader) error {
	_, err := io.Copy(io.Discard, content)
	if err == nil {
		p.kept++
	}
	return err
}

// A place of the program's own, and a layout, do as a registry does. Several are asked in their order.
func TestCachePlaces(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		r := chaos.New(t)
		one := newComputer(t, most)
		base := r.Host + "/base:1"
		one.base(t, base)
		dir := tree(t, map[string]string{"f": "f"})
		place := &memoryPlace{has: map[string][]byte{}}
		layout := cache.At{Layout: filepath.Join(t.TempDir(), "a:b", "layout"), Tag: "one"}
		other := layout
		other.Tag = "two"
		c := one.importing(t)
		first, err := one.buildTwo(t, base, dir, false, builder.StageOptions{Cache: c}, builder.CommitOptions{})
		ok(t, err)
		service := ghatest.New(t)
		actions, err := gha.Open(gha.Config{URL: service.URL, Token: "t"})
		ok(t, err)
		for _, at := range []cache.At{{Place: place}, layout, other, layout, {Place: actions}} {
			one.exporting(t, c, cache.Target{At: at})
		}
		one.quiet(t)
		if len(place.has) != 4 { // a manifest, the records, and two layers
			t.Errorf("the place has %d things", len(place.has))
		}
		for _, from := range [][]cache.At{{{Place: place}}, {layout}, {{Place: actions}}, {{Layout: layout.Layout, Tag: "none"}, other}} {
			two := newComputer(t, most)
			c := two.importing(t, from...)
			second, err := two.buildTwo(t, base, dir, true, builder.StageOptions{Cache: c}, builder.CommitOptions{})
			ok(t, err)
			equal(t, second.cached, "ccccc")
			equal(t, second.image.ID, first.image.ID)
			warned := two.warnings()
			if (len(from) > 1) != strings.Contains(warned, `nothing with the tag "none"`) || len(from) == 1 && warned != "" {
				t.Errorf("warned: %s", warned)
			}
		}
	})
}

// A service removes what was not used for long. What a cache there offers, and has no more, is written again by who has the layer, and is
// no part of a cache that somebody else writes.
func TestCacheOfWhichBlobsAreGone(t *testing.T) {
	t.Parallel()
	r := chaos.New(t)
	one, two := newComputer(t, isolation.Choice{}.Most), newComputer(t, isolation.Choice{}.Most)
	base := r.Host + "/base:1"
	one.base(t, base)
	dir := tree(t, map[string]string{"f": t.Name()})
	service := ghatest.New(t)
	at := func() cache.At { // as another job has it, which remembers nothing
		p, err := gha.Open(gha.Config{URL: service.URL, Token: "t"})
		ok(t, err)
		return cache.At{Place: p}
	}
	blobs := func() string {
		return fmt.Sprint(len(slices.DeleteFunc(service.Keys(), func(key string) bool { return !strings.HasPrefix(key, "oakum-1-blob-") })))
	}
	evict := func() { // the layers, and not what is known of them
		body, err := at().Place.Get(t.Context(), cache.ManifestName)
		ok(t, err)
		var m imgspec.Manifest
		ok(t, json.NewDecoder(body).Decode(&m))
		for _, l := range m.Layers {
			service.Evict("oakum-1-blob-" + l.Digest.String())
		}
	}
	c := one.importing(t)
	_, err := one.buildTwo(t, base, dir, false, builder.StageOptions{Cache: c}, builder.CommitOptions{})
	ok(t, err)
	one.exporting(t, c, cache.Target{At: at(), Mode: cache.Max})
	all := blobs()
	evict()
	equal(t, blobs(), "1") // the records
	one.exporting(t, c, cache.Target{At: at(), Mode: cache.Max})
	equal(t, blobs(), all)

	of := two.importing(t, at())
	look := stage(t, two.Builder, base, builder.StageOptions{Cache: of, Lookup: true})
	step, err := look.Copy(t.Context(), "/src/", builder.Dir(dir))
	ok(t, err)
	equal(t, fmt.Sprint(step.Cached), "true")
	evict()
	two.exporting(t, of, cache.Target{At: at(), Mode: cache.Max})
	equal(t, blobs(), "2") // the records of both
	one.quiet(t)
	two.quiet(t)
}

// What an image's configuration has of a cache is one, whatever its format.
func TestCacheInline(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		for _, format := range []string{"oci", "docker"} {
			r := chaos.New(t)
			one, two := newComputer(t, most), newComputer(t, most)
			base, name := r.Host+"/base:1", r.Host+"/app:1"
			one.base(t, base)
			dir := tree(t, map[string]string{"f": "f"})
			c := one.importing(t)
			first, err := one.buildTwo(t, base, dir, false, builder.StageOptions{Cache: c}, builder.CommitOptions{InlineCache: c, Format: format})
			ok(t, err)
			_, err = one.Push(t.Context(), first.image.ID, name, builder.PushOptions{})
			ok(t, err)
			// Built again it is the same, though the steps were found.
			c = one.importing(t)
			again, err := one.buildTwo(t, base, dir, false, builder.StageOptions{Cache: c}, builder.CommitOptions{InlineCache: c, Format: format})
			ok(t, err)
			equal(t, again.cached, "ccccc")
			equal(t, again.image.ID, first.image.ID)

			c = two.importing(t, cache.At{Ref: name})
			second, err := two.buildTwo(t, base, dir, true, builder.StageOptions{Cache: c}, builder.CommitOptions{InlineCache: c, Format: format})
			ok(t, err)
			equal(t, second.cached, "ccccc")
			equal(t, second.image.ID, first.image.ID)
			// The registry has all that the image is made of.
			r.Break()
			_, err = two.Push(t.Context(), second.image.ID, r.Host+"/other:1", builder.PushOptions{})
			ok(t, err)
			for _, q := range r.Requests("PATCH ") {
				if q.Received > 20_000 {
					t.Errorf("%s: %d bytes were sent", q.Path, q.Received)
				}
			}
			one.quiet(t)
			two.quiet(t)
		}
	})
}

// A cache that fails or lies when its layers are wanted is told of, and the step is done by who opens the stage again.
func TestCacheFails(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		r := chaos.New(t)
		one := newComputer(t, most)
		base, at := r.Host+"/base:1", cache.At{Ref: r.Host + "/app:cache"}
		one.base(t, base)
		dir := tree(t, map[string]string{"f": "f"})
		c := one.importing(t)
		first, err := one.buildTwo(t, base, dir, false, builder.StageOptions{Cache: c}, builder.CommitOptions{})
		ok(t, err)
		one.exporting(t, c, cache.Target{At: at, Mode: cache.Max})
		for name, fault := range map[string]chaos.Fault{"gone": chaos.Status(404), "another": chaos.Flip(), "short": chaos.Short(1), "away": chaos.Status(503)} {
			two := newComputer(t, most)
			c := two.importing(t, at)
			r.Break(chaos.Rule{Of: "GET /v2/app/blobs/", Fault: fault})
			_, err = two.buildTwo(t, base, dir, true, builder.StageOptions{Cache: c}, builder.CommitOptions{})
			if !errors.Is(err, builder.ErrUncached) {
				t.Errorf("%s: %v", name, err)
			}
			if text := two.warnings(); !strings.Contains(text, at.Ref) || !strings.Contains(text, "is not asked for layers any more") {
				t.Errorf("%s: warned %q", name, text)
			}
			second, err := two.buildTwo(t, base, dir, false, builder.StageOptions{Cache: c}, builder.CommitOptions{})
			ok(t, err)
			equal(t, second.cached, "ddddd")
			two.quiet(t)
			r.Break()
			_ = first
		}
	})
}

// A fetch ends with its context, and leaves a store that goes on.
func TestCacheFetchCancelled(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		r := chaos.New(t)
		one, two := newComputer(t, most), newComputer(t, most)
		at := cache.At{Ref: r.Host + "/app:cache"}
		build := func(ctx context.Context, m *computer, c *cache.Cache) error {
			s := stage(t, m.Builder, builder.Scratch, builder.StageOptions{Cache: c})
			step, err := s.Copy(ctx, "/big", builder.Bytes("big", bytes.Repeat([]byte("0123456789"), 100_000)))
			if err == nil {
				_, err = s.Commit(ctx, "", builder.CommitOptions{})
			}
			if err == nil && step.Cached != (m == two) {
				t.Errorf("cached: %t", step.Cached)
			}
			return err
		}
		c := one.importing(t)
		ok(t, build(t.Context(), one, c))
		one.exporting(t, c, cache.Target{At: at})
		c = two.importing(t, at)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r.Break(chaos.Rule{Of: "GET /v2/app/blobs/", Fault: func(_ http.ResponseWriter, q *http.Request, _ http.Handler) {
			cancel()
			<-q.Context().Done()
		}})
		is(t, build(ctx, two, c), context.Canceled)
		r.Break()
		ok(t, build(t.Context(), two, c))
		two.quiet(t)
	})
}

// Stages side by side fetch a layer once.
func TestCacheFetchesOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		r := chaos.New(t)
		one, two := newComputer(t, most), newComputer(t, most)
		at := cache.At{Ref: r.Host + "/app:cache"}
		build := func(m *computer, c *cache.Cache, name string) error {
			s, err := m.Stage(t.Context(), builder.Scratch, builder.StageOptions{Cache: c})
			if err != nil {
				return err
			}
			defer s.Close()
			if _, err = s.Copy(t.Context(), "/shared", builder.Bytes("shared", bytes.Repeat([]byte("x"), 100_000))); err == nil {
				_, err = s.Copy(t.Context(), "/"+name, builder.Bytes(name, []byte(name)))
			}
			return err
		}
		c := one.importing(t)
		ok(t, build(one, c, "own"))
		one.exporting(t, c, cache.Target{At: at, Mode: cache.Max})
		c = two.importing(t, at)
		r.Break()
		errs := make([]error, 6)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = build(two, c, fmt.Sprint("other", i)) })
		}
		all.Wait()
		ok(t, errors.Join(errs...))
		if n := fetchedOf(r, "app"); n != 1 {
			t.Errorf("%d blobs were fetched", n)
		}
	})
}

// What goes wrong in writing a cache is an error, or with IgnoreErrors a warning; what was there stays.
func TestCacheNotWritten(t *testing.T) {
	t.Parallel()
	m := newComputer(t, isolation.Choice{}.Most)
	c := m.importing(t)
	s := stage(t, m.Builder, builder.Scratch, builder.StageOptions{Cache: c})
	ok(t, errOf(s.Copy(t.Context(), "/f", builder.Bytes("f", []byte("f")))))
	broken := errors.New("broken")
	place := &memoryPlace{has: map[string][]byte{}}
	m.exporting(t, c, cache.Target{At: cache.At{Place: place}, Mode: cache.Max})
	before := slices.Clone(place.has[cache.ManifestName])
	ok(t, errOf(s.Copy(t.Context(), "/g", builder.Bytes("g", []byte("g")))))
	place.fail = func(what, name string) error {
		if what == "put" && name != cache.ManifestName {
			return broken
		}
		return nil
	}
	if _, err := c.Export(t.Context(), cache.Target{At: cache.At{Place: place}, Mode: cache.Max}); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v", err)
	}
	d, err := c.Export(t.Context(), cache.Target{At: cache.At{Place: place}, Mode: cache.Max, IgnoreErrors: true})
	if err != nil || d.Digest != "" || !strings.Contains(m.warnings(), "broken") {
		t.Errorf("got %+v, %v", d, err)
	}
	if !bytes.Equal(place.has[cache.ManifestName], before) {
		t.Error("the manifest is another")
	}
	// What is damaged on its way to a place that looks at nothing does not come to stay there.
	r := chaos.New(t)
	from := cache.At{Ref: r.Host + "/app:cache"}
	m.exporting(t, c, cache.Target{At: from, Mode: cache.Max})
	away := newComputer(t, isolation.Choice{}.Most)
	copied := away.importing(t, from)
	again := stage(t, away.Builder, builder.Scratch, builder.StageOptions{Cache: copied})
	ok(t, errOf(again.Copy(t.Context(), "/f", builder.Bytes("f", []byte("f")))))
	for _, fault := range []chaos.Fault{chaos.Flip(), chaos.Short(1), chaos.Long(1)} {
		r.Break(chaos.Rule{Of: "GET /v2/app/blobs/", Fault: fault})
		trusting := &trustingPlace{}
		if _, err := copied.Export(t.Context(), cache.Target{At: cache.At{Place: trusting}, Mode: cache.Max}); err == nil || trusting.kept != 0 {
			t.Errorf("%d damaged things were kept, %v", trusting.kept, err)
		}
	}
	full := tree(t, map[string]string{"f": "no layout"})
	if _, err := c.Export(t.Context(), cache.Target{At: cache.At{Layout: full}}); err == nil || !strings.Contains(err.Error(), "no OCI image layout") {
		t.Errorf("a directory with other files: %v", err)
	}
}
