//go:build linux

package storage

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/hack/chaos"
	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/records"
	"github.com/oakum-build/oakum/storage/remotecache"
	"github.com/oakum-build/oakum/storage/usage"
)

// chain is a number of layers on each other, the uppermost last.
func chain(t testing.TB, s *Store, n int) (all []*Layer) {
	t.Helper()
	var below *Layer
	for i := range n {
		below = layer(t, s, below, fmt.Sprint("f", i), noise(10_000, uint64(i)))
		all = append(all, below)
	}
	return all
}

// elsewhereOf are layers as they are known in another store.
func elsewhereOf(all []*Layer) (l *Layer) {
	for _, is := range all {
		below, _ := l.Chain()
		l = l.Elsewhere(records.Record{Below: below, Chain: is.chain, DiffID: is.diffID, Size: is.size, Created: is.created})
	}
	return l
}

func nobody(digest.Digest) *remotecache.Supply { return nil }

// offered offers what a supply has.
func offered(s *remotecache.Supply) func(digest.Digest) *remotecache.Supply {
	return func(d digest.Digest) *remotecache.Supply {
		if _, ok := s.Offers[d]; ok {
			return s
		}
		return nil
	}
}

func writeCache(t testing.TB, s *Store, layers []*Layer, to remotecache.At, o PushOptions) imgspec.Descriptor {
	t.Helper()
	d, err := s.WriteCache(t.Context(), remotecache.Index{}, layers, nobody, to, o, patient())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readCache(t testing.TB, s *Store, at remotecache.At) *remotecache.Supply {
	t.Helper()
	got, err := s.ReadCache(t.Context(), at, patient())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Layers come from a cache with the digests, times and places that their records tell, those alone that are not here, and
// go back to the registry without being sent.
func TestFetchLayers(t *testing.T) {
	authtest.Home(t)
	r := chaos.New(t)
	one, two := open(t), open(t)
	all := chain(t, one, 4)
	for _, at := range []remotecache.At{{Ref: r.Host + "/app:cache"}, {Layout: t.TempDir() + "/l"}} {
		for _, by := range []string{compression.Gzip, compression.Zstd, compression.Uncompressed} {
			d := writeCache(t, one, all, at, PushOptions{Compression: compression.Choice{Algorithm: by, Force: true}})
			supply := readCache(t, two, at)
			if supply.Digest != d.Digest || len(supply.Offers) != len(all) {
				t.Fatalf("%s: read %s with %d layers, wrote %s", by, supply.Digest, len(supply.Offers), d.Digest)
			}
			use := two.Use(nil)
			for _, n := range []int{2, 4, 4} {
				r.Break()
				want := elsewhereOf(all[:n])
				got, err := two.FetchLayers(t.Context(), want, offered(supply), use)
				if err != nil {
					t.Fatalf("%s: %v", by, err)
				}
				if n := len(r.Requests("GET /v2/app/blobs/")); at.Ref != "" && n > 2 {
					t.Errorf("%s: %d layers came", by, n)
				}
				for l, want := got, all[n-1]; l != nil; l, want = l.Parent(), want.Parent() {
					if l.Gone() || l.DiffID() != want.DiffID() || l.chain != want.chain || !l.Created().Equal(want.Created()) || !bytes.Equal(tarOf(t, two, l), tarOf(t, one, want)) {
						t.Errorf("%s: %+v is not %+v", by, l, want)
					}
				}
			}
			if at.Ref != "" && by != compression.Uncompressed {
				img := commit(t, two, two.mustHere(t, elsewhereOf(all)))
				r.Break()
				if _, err := two.Push(t.Context(), img.ID, r.Host+"/other:1", PushOptions{}, patient()); err != nil {
					t.Fatal(err)
				}
				if sent := r.Requests("PATCH "); len(sent) > 1 {
					t.Errorf("%s: %d blobs were sent", by, len(sent))
				}
				use.Close()
				if _, err := two.Remove(img.ID, false, false); err != nil {
					t.Fatal(err)
				}
				continue
			}
			// What no image has goes as what steps have made.
			use.Close()
			if pruned, err := two.Prune(t.Context(), usage.Options{}); err != nil || pruned.Layers != len(all) {
				t.Errorf("%s: pruned %+v, %v", by, pruned, err)
			}
		}
	}
}

func (s *Store) mustHere(t testing.TB, l *Layer) *Layer {
	t.Helper()
	var below *Layer
	if l.Parent() != nil {
		below = s.mustHere(t, l.Parent())
	}
	is, ok := s.here(l, below)
	if !ok {
		t.Fatalf("the layer %s is not here", l.diffID)
	}
	return is
}

// A blob that is not the layer that it is offered as leaves nothing: what is below it stays, and is what it should be.
func TestFetchLies(t *testing.T) {
	authtest.Home(t)
	one := open(t)
	all := chain(t, one, 3)
	r := chaos.New(t)
	at := remotecache.At{Ref: r.Host + "/app:cache"}
	writeCache(t, one, all, at, PushOptions{})
	packed := func(data []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write(data)
		_ = z.Close()
		return out.Bytes()
	}
	other := tarOf(t, one, layer(t, one, nil, "f2", "another"))
	bomb := append(tarOf(t, one, all[2]), make([]byte, 64<<20)...)
	for name, c := range map[string]struct {
		blob []byte
		says string
	}{
		"another layer": {packed(other), "is sha256:"}, "what does not end": {packed(bomb), "more than the"}, "no tar": {packed([]byte("text")), ""}, "nothing": {packed(nil), ""},
		"no gzip": {[]byte("text"), ""}, "cut short": {packed(tarOf(t, one, all[2]))[:3000], "EOF"}, "more after it": {packed(append(tarOf(t, one, all[2]), make([]byte, 512)...)), "more than the"},
	} {
		blob := c.blob
		two := open(t)
		lying := r.Clone(t)
		supply := readCache(t, two, remotecache.At{Ref: lying.Host + "/app:cache"})
		d := supply.Offers[all[2].diffID]
		d.Digest, d.Size = lying.PutBlob("app", blob), int64(len(blob))
		supply.Offers[all[2].diffID] = d
		use := two.Use(nil)
		defer use.Close()
		_, err := two.FetchLayers(t.Context(), elsewhereOf(all), offered(supply), use)
		var failed *remotecache.FetchError
		if !errors.As(err, &failed) || failed.Supply != supply || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, ok := two.here(elsewhereOf(all), two.mustHere(t, elsewhereOf(all[:2]))); ok {
			t.Errorf("%s: the layer is here", name)
		}
		layers, err := two.cs.Layers()
		layers = slices.DeleteFunc(layers, isHold)
		if err != nil || len(layers) != 2 {
			t.Errorf("%s: %d layers are here, %v", name, len(layers), err)
		}
	}
	if _, err := open(t).FetchLayers(t.Context(), elsewhereOf(all), nobody, one.Use(nil)); !errors.Is(err, ErrNotFound) {
		t.Errorf("what nobody offers: %v", err)
	}
}

// A cache that cannot be read is an error that says why, and a manifest without end is not read to its end.
func TestReadCacheFails(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	r := chaos.New(t)
	img := commit(t, s, layer(t, s, nil, "f", "f"), "app")
	if _, err := s.Push(t.Context(), img.ID, r.Host+"/image:1", PushOptions{}, patient()); err != nil {
		t.Fatal(err)
	}
	huge := append([]byte(`{"schemaVersion":2,"mediaType":"`+imgspec.MediaTypeImageManifest+`","x":"`), bytes.Repeat([]byte("x"), 100<<20)...)
	r.PutManifest("app", "huge", imgspec.MediaTypeImageManifest, append(huge, `"}`...))
	r.PutManifest("app", "broken", imgspec.MediaTypeImageManifest, []byte("{"))
	// What it says looks like a fault of the registry that may pass.
	r.PutManifest("app", "fault", imgspec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"config":{"mediaType":"`+remotecache.ConfigType+`","size":2,"digest":"toomanyrequests: x"}}`))
	const endless = "exceeded maximum allowed size"
	for name, says := range map[string]string{
		"image:1": "not a cache: it is an image", "app:huge": endless, "app:broken": "not a cache: its manifest", "app:none": "image not found",
		"app:fault": "not a cache",
	} {
		r.Break()
		_, err := s.ReadCache(t.Context(), remotecache.At{Ref: r.Host + "/" + name}, patient())
		if err == nil || !strings.Contains(err.Error(), says) || errors.Is(err, remotecache.ErrInvalid) != strings.HasPrefix(says, "not a cache") {
			t.Errorf("%s: %v", name, err)
		}
		if asked := r.Requests("GET /v2/" + strings.Replace(name, ":", "/manifests/", 1)); len(asked) > 2 {
			t.Errorf("%s was asked for %d times", name, len(asked))
		}
	}
	r.Break(chaos.Rule{Of: "GET /v2/app/manifests", Fault: chaos.Endless(imgspec.MediaTypeImageManifest, "{")})
	if _, err := s.ReadCache(t.Context(), remotecache.At{Ref: r.Host + "/app:endless"}, patient()); err == nil || !strings.Contains(err.Error(), endless) {
		t.Errorf("a manifest without end: %v", err)
	}
	if _, err := s.ReadCache(t.Context(), remotecache.At{Ref: "oci:" + t.TempDir()}, patient()); err == nil {
		t.Error("a layout by a reference")
	}
}

// What is written is no more than is lacking: a blob that is there, or in another repository of the registry, is not sent,
// and one of a layer that is not in the store comes from where it can be had.
func TestWriteCacheReuses(t *testing.T) {
	authtest.Home(t)
	r, far := chaos.New(t), chaos.New(t)
	one, two := open(t), open(t)
	all := chain(t, one, 3)
	img := commit(t, one, all[2], "app")
	if _, err := one.Push(t.Context(), img.ID, r.Host+"/app:1", PushOptions{}, patient()); err != nil {
		t.Fatal(err)
	}
	at := remotecache.At{Ref: r.Host + "/cache:1"}
	sent := func(what string, want int, do func() imgspec.Descriptor) {
		t.Helper()
		r.Break()
		far.Break()
		do()
		if n := len(r.Requests("PATCH ")) + len(far.Requests("PATCH ")); n != want {
			t.Errorf("%s: %d blobs were sent, want %d", what, n, want)
		}
	}
	sent("after a push", 1, func() imgspec.Descriptor { return writeCache(t, one, all, at, PushOptions{}) })
	sent("again", 0, func() imgspec.Descriptor { return writeCache(t, one, all, at, PushOptions{}) })
	supply := readCache(t, two, at)
	write := func(to string) imgspec.Descriptor {
		var gone []*Layer
		for l := elsewhereOf(all); l != nil; l = l.Parent() {
			gone = append(gone, l)
		}
		d, err := two.WriteCache(t.Context(), remotecache.Index{}, gone, offered(supply), remotecache.At{Ref: to}, PushOptions{}, patient())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	sent("from elsewhere to another repository", 1, func() imgspec.Descriptor { return write(r.Host + "/other:1") })
	sent("from elsewhere to another registry", 1+len(all), func() imgspec.Descriptor { return write(far.Host + "/cache:1") })
	if got := readCache(t, two, remotecache.At{Ref: far.Host + "/cache:1"}); len(got.Offers) != len(all) {
		t.Errorf("the other registry has %d layers", len(got.Offers))
	}
	if layers, err := two.cs.Layers(); err != nil || len(layers) != 0 {
		t.Errorf("%d layers have come into the store, %v", len(layers), err)
	}
	// A layout, which remembers nothing of how a layer was compressed, is asked what it has.
	layout := remotecache.At{Layout: t.TempDir() + "/l"}
	first := writeCache(t, one, all, layout, PushOptions{Compression: compression.Choice{Algorithm: compression.Zstd}})
	second := writeCache(t, one, all, layout, PushOptions{})
	if first.Digest != second.Digest {
		t.Errorf("written again it is %s, not %s", second.Digest, first.Digest)
	}
}

// Of an image that is not here its configuration is read, and no layer.
func TestPeek(t *testing.T) {
	authtest.Home(t)
	r := chaos.New(t)
	one, two := open(t), open(t)
	all := chain(t, one, 2)
	img := commit(t, one, all[1], "app")
	if _, err := one.Push(t.Context(), img.ID, r.Host+"/app:1", PushOptions{}, patient()); err != nil {
		t.Fatal(err)
	}
	r.Break()
	d, err := two.Peek(t.Context(), r.Host+"/app:1", platform.Platform{}, patient())
	if err != nil || d.ID != "" || len(d.Layers) != 2 || !json.Valid(d.Config) || len(r.Requests("GET /v2/app/blobs/")) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	l, err := two.ElsewhereLayers(d.Layers)
	if err != nil || !l.Gone() || !l.IsElsewhere() || l.chain != all[1].chain || l.Here() != nil {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := two.ElsewhereLayers([]digest.Digest{"sha256:../x"}); err == nil {
		t.Error("a path for a layer")
	}
	if _, err := two.Peek(t.Context(), r.Host+"/none:1", platform.Platform{}, patient()); !errors.Is(err, ErrNotFound) {
		t.Errorf("an image that is not there: %v", err)
	}
	if _, err := two.CommitImage(t.Context(), Commit{Top: l, Config: config}); !errors.Is(err, ErrNotFound) {
		t.Errorf("an image of layers that are not here: %v", err)
	}
	// What the signature policy refuses is not looked at.
	refusing := patient()
	refusing.SignaturePolicy = authtest.Write(t, t.TempDir()+"/policy.json", `{"default": [{"type": "reject"}]}`)
	if _, err := two.Peek(t.Context(), r.Host+"/app:1", platform.Platform{}, refusing); err == nil || !strings.Contains(err.Error(), "signature policy") {
		t.Errorf("an image that is refused: %v", err)
	}
	at := remotecache.At{Ref: r.Host + "/app:cache"}
	writeCache(t, one, all, at, PushOptions{})
	if _, err := two.ReadCache(t.Context(), at, refusing); err == nil || !strings.Contains(err.Error(), "signature policy") {
		t.Errorf("a cache that is refused: %v", err)
	}
	// A layer on one that only remembered is only remembered.
	if l := all[0].Remembered(records.Record{}).Elsewhere(records.Record{}); l.IsElsewhere() || l.Here() != all[0] {
		t.Errorf("%+v", l)
	}
}
