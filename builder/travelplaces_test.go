//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/isolation"
)

// A layer that was only found in one place of the program's own goes on to another one: it is read from there while
// it is written here.
func TestCacheFromPlaceToPlace(t *testing.T) {
	eachKind(t, func(t *testing.T, most isolation.Level) {
		// More than any pipe holds, also compressed.
		big := make([]byte, 3<<20)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(big)
		var mu sync.Mutex
		var read []string
		from, to := &memoryPlace{has: map[string][]byte{}}, &memoryPlace{has: map[string][]byte{}}
		from.fail = func(what, name string) error {
			mu.Lock()
			defer mu.Unlock()
			if what == "get" {
				read = append(read, name)
			}
			return nil
		}
		one, two := newComputer(t, most), newComputer(t, most)
		build := func(m *computer, opts builder.StageOptions) bool {
			step, err := stage(t, m.Builder, builder.Scratch, opts).Copy(t.Context(), "/big", builder.Bytes("big", big))
			ok(t, err)
			return step.Cached
		}
		c := one.importing(t)
		build(one, builder.StageOptions{Cache: c})
		one.exporting(t, c, cache.Target{At: cache.At{Place: from}, Mode: cache.Max})
		var m imgspec.Manifest
		ok(t, json.Unmarshal(from.has[cache.ManifestName], &m))
		if len(m.Layers) != 1 || m.Layers[0].Size < 1<<20 {
			t.Fatalf("the cache has the layers %+v", m.Layers)
		}
		blob := m.Layers[0].Digest.String()

		c = two.importing(t, cache.At{Place: from})
		if !build(two, builder.StageOptions{Cache: c, Lookup: true}) {
			t.Error("the step is not found")
		}
		if slices.Contains(read, blob) {
			t.Error("the layer has come for a step that was only looked up")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		_, err := two.ExportCache(ctx, c, cache.Target{At: cache.At{Place: to}, Mode: cache.Max})
		ok(t, err)
		if !bytes.Equal(to.has[blob], from.has[blob]) || !slices.Contains(read, blob) {
			t.Errorf("%d bytes of %d have come of the layer; what was read is %q", len(to.has[blob]), len(from.has[blob]), read)
		}
		two.quiet(t)
	})
}
