package remotecache

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/records/recordstest"
)

// noted is a Place that notes what it was asked for.
type noted struct {
	things
	asked *[]string
}

func (p noted) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	*p.asked = append(*p.asked, name)
	return p.things.Get(ctx, name)
}

// A Place is asked for digests alone, whatever an index or a manifest says.
func TestSourceOfHostileNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../../etc/x", "/etc/passwd", "sha256:../../etc/x", "", ManifestName, "sha512:" + strings.Repeat("a", 128), recordstest.Digest(1).String() + "/x"} {
		p := things{}
		p.index(t, ManifestName, imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: digest.Digest(name), Size: 2})
		var asked []string
		src := Source(noted{p, &asked}, At{})
		if _, err := Open(t.Context(), src, allow); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
		if _, _, err := src.GetBlob(t.Context(), types.BlobInfo{Digest: digest.Digest(name)}, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("a blob %q: %v", name, err)
		}
		if !slices.Equal(asked, []string{ManifestName}) {
			t.Errorf("%q: asked for %q", name, asked)
		}
	}
}
