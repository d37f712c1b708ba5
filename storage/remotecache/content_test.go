package remotecache

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/storage/records/recordstest"
)

// branch puts a cache of n records into a place, from one on, and gives what an index has of it.
func (p things) branch(t *testing.T, from, n int) (entry imgspec.Descriptor, config digest.Digest) {
	t.Helper()
	var x Index
	for i := range n {
		x.Records = append(x.Records, recordstest.Record(recordstest.Hex(from+i), recordstest.Hex(from+i), recordstest.Digest(from), from))
	}
	x.Layers = []digest.Digest{recordstest.Digest(from)}
	raw, text, err := Manifest(x, []imgspec.Descriptor{{MediaType: imgspec.MediaTypeImageLayerGzip, Digest: recordstest.Digest(from), Size: 5}})
	if err != nil {
		t.Fatal(err)
	}
	entry, config = descriptor(imgspec.MediaTypeImageManifest, raw), digest.FromBytes(text)
	p[entry.Digest.String()], p[config.String()] = raw, text
	return entry, config
}

// index puts an index under a name, and gives what another has of it.
func (p things) index(t *testing.T, name string, of ...imgspec.Descriptor) imgspec.Descriptor {
	t.Helper()
	raw, err := json.Marshal(imgspec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex, Manifests: of})
	if err != nil {
		t.Fatal(err)
	}
	d := descriptor(imgspec.MediaTypeImageIndex, raw)
	if name == "" {
		name = d.Digest.String()
	}
	p[name] = raw
	return d
}

// An image of an index that cannot be read takes nothing from the others, of which all is found.
func TestIndexOfBrokenImages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		of               func(p things, a, b imgspec.Descriptor, config digest.Digest) []imgspec.Descriptor
		records, dropped int
		err              error
	}{
		{"whole", func(p things, a, b imgspec.Descriptor, _ digest.Digest) []imgspec.Descriptor {
			return []imgspec.Descriptor{a, b}
		}, 3, 0, nil},
		{"the configuration of the first gone", func(p things, a, b imgspec.Descriptor, config digest.Digest) []imgspec.Descriptor {
			delete(p, config.String())
			return []imgspec.Descriptor{a, b}
		}, 2, 1, nil},
		{"that of the last gone", func(p things, a, b imgspec.Descriptor, config digest.Digest) []imgspec.Descriptor {
			delete(p, config.String())
			return []imgspec.Descriptor{b, a}
		}, 2, 1, nil},
		{"a manifest gone", func(p things, a, b imgspec.Descriptor, _ digest.Digest) []imgspec.Descriptor {
			delete(p, a.Digest.String())
			return []imgspec.Descriptor{a, b}
		}, 2, 1, nil},
		{"another manifest", func(p things, a, b imgspec.Descriptor, _ digest.Digest) []imgspec.Descriptor {
			p[a.Digest.String()] = p[b.Digest.String()]
			return []imgspec.Descriptor{a, b}
		}, 2, 1, nil},
		{"an index in it", func(p things, a, b imgspec.Descriptor, _ digest.Digest) []imgspec.Descriptor {
			return []imgspec.Descriptor{p.index(t, "", a), b}
		}, 2, 0, nil},
		{"more together than one may have", func(p things, a, b imgspec.Descriptor, _ digest.Digest) []imgspec.Descriptor {
			most, _ := p.branch(t, 100, maxRecords-2)
			return []imgspec.Descriptor{most, a, b, b}
		}, maxRecords - 1, 2, nil},
		{"the only one gone", func(p things, a, _ imgspec.Descriptor, config digest.Digest) []imgspec.Descriptor {
			delete(p, config.String())
			return []imgspec.Descriptor{a}
		}, 0, 1, fs.ErrNotExist},
		{"all gone", func(p things, a, b imgspec.Descriptor, config digest.Digest) []imgspec.Descriptor {
			delete(p, config.String())
			delete(p, b.Digest.String())
			return []imgspec.Descriptor{a, b}
		}, 0, 2, fs.ErrNotExist},
		{"only an index", func(p things, a, _ imgspec.Descriptor, _ digest.Digest) []imgspec.Descriptor {
			return []imgspec.Descriptor{p.index(t, "", a)}
		}, 0, 0, ErrInvalid},
	} {
		p := things{}
		a, config := p.branch(t, 1, 1)
		b, _ := p.branch(t, 2, 2)
		p.index(t, ManifestName, c.of(p, a, b, config)...)
		got, err := Open(t.Context(), Source(p, At{}), allow)
		if !errors.Is(err, c.err) || len(got.Records) != c.records || len(got.Skipped) != c.dropped {
			t.Errorf("%s: %d records, %d skipped, %v", c.name, len(got.Records), len(got.Skipped), err)
		}
	}
}

// ending is a Place that is asked last for a name.
type ending struct {
	things
	last string
	end  func()
}

func (p ending) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == p.last {
		p.end()
		return nil, ctx.Err()
	}
	return p.things.Get(ctx, name)
}

// Who gives up gets the error of that, and not what was read before.
func TestOpenCancelled(t *testing.T) {
	t.Parallel()
	p := things{}
	a, _ := p.branch(t, 1, 1)
	b, config := p.branch(t, 2, 2)
	p.index(t, ManifestName, a, b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := Open(ctx, Source(ending{p, config.String(), cancel}, At{}), allow); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
