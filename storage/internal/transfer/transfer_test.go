package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"

	"github.com/oakum-build/oakum/storage/compression"
)

// A blob is taken when it has the digest and the size that it should have, and otherwise ends with an
// error, after no more than a byte too many.
func TestVerifier(t *testing.T) {
	blob := strings.Repeat("blob", 10_000)
	good := digest.FromString(blob)
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		sent string
		err  error // of the connection
		want digest.Digest
		size int64
		says string // "" is taken
	}{
		"as it should be":     {blob, nil, good, int64(len(blob)), ""},
		"of no known size":    {blob, nil, good, -1, ""},
		"too short":           {blob[1:], nil, good, int64(len(blob)), "ends after 39999 of 40000 bytes"},
		"short, size unknown": {blob[1:], nil, good, -1, "has not the digest"},
		"too long":            {blob + "x", nil, good, int64(len(blob)), "more bytes than the 40000"},
		"another":             {strings.ToUpper(blob), nil, good, int64(len(blob)), "has not the digest"},
		"empty":               {"", nil, good, int64(len(blob)), "ends after 0 of"},
		"broken":              {blob, broken, good, int64(len(blob)), "broken"},
		"a size of none":      {blob, nil, good, 0, "more bytes than the 0"},
		"a digest that is no": {blob, nil, "sha256:..", int64(len(blob)), "invalid"},
	} {
		from := io.Reader(strings.NewReader(test.sent))
		if test.err != nil {
			from = io.MultiReader(from, iotest.ErrReader(test.err))
		}
		v, err := newVerifier(t.Context(), iotest.OneByteReader(from), test.want, test.size)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(v)
		}
		switch {
		case test.says == "" && (err != nil || string(got) != test.sent):
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says) || len(got) > len(blob)):
			t.Errorf("%s: %d bytes, %v, want %q", name, len(got), err, test.says)
		}
		if v != nil && err != nil {
			if _, again := v.Read(make([]byte, 1)); again == nil || again == io.EOF { //nolint:errorlint // a reader gives it so
				t.Errorf("%s: it goes on with %v", name, again)
			}
		}
	}
}

// What fails while a stream is compressed fails in reading the result, and nothing goes on after Close.
func TestCompressErrors(t *testing.T) {
	broken := errors.New("broken")
	c := compress(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), compression.Choice{})
	if _, err := io.ReadAll(c); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	read := 0
	c = compress(readerFunc(func(p []byte) (int, error) { read++; return len(p), nil }), compression.Choice{Algorithm: compression.Uncompressed})
	if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
		t.Error(err)
	}
	c.Close()
	stopped := read
	if _, err := c.Read(make([]byte, 1)); err == nil || read != stopped {
		t.Errorf("it goes on after Close: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// FuzzConvert takes manifests of the one format for those of the other: they name the same blobs, are
// read by the library, and become what they were again but for annotations and layers of zstd.
func FuzzConvert(f *testing.F) {
	blob := func(kind string) v1.Descriptor {
		return v1.Descriptor{MediaType: kind, Digest: digest.FromString(kind), Size: int64(len(kind))}
	}
	for _, m := range []v1.Manifest{
		{MediaType: v1.MediaTypeImageManifest, Config: blob(v1.MediaTypeImageConfig), Layers: []v1.Descriptor{blob(v1.MediaTypeImageLayerGzip), blob(v1.MediaTypeImageLayer)}},
		{MediaType: v1.MediaTypeImageManifest, Config: blob(v1.MediaTypeImageConfig), Layers: []v1.Descriptor{blob(v1.MediaTypeImageLayerZstd)}, Annotations: map[string]string{"a": "b"}},
		{MediaType: v1.MediaTypeImageManifest, Config: blob("application/x"), Layers: []v1.Descriptor{blob("text/plain")}},
		{MediaType: manifest.DockerV2Schema2MediaType, Config: blob(manifest.DockerV2Schema2ConfigMediaType), Layers: []v1.Descriptor{blob(manifest.DockerV2Schema2LayerMediaType), blob(manifest.DockerV2SchemaLayerMediaTypeZstd)}},
	} {
		m.SchemaVersion = 2
		f.Add(mustJSON(f, m))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		own := manifest.GuessMIMEType(raw)
		other := map[string]string{v1.MediaTypeImageManifest: manifest.DockerV2Schema2MediaType, manifest.DockerV2Schema2MediaType: v1.MediaTypeImageManifest}[own]
		if _, err := manifest.FromBlob(raw, own); err != nil || other == "" {
			return
		}
		var m v1.Manifest
		if json.Unmarshal(raw, &m) != nil {
			return
		}
		before := digests(m)
		if convert(&m, other) != nil {
			return
		}
		converted := mustJSON(t, m)
		if got := manifest.GuessMIMEType(converted); got != other {
			t.Fatalf("%s became %s: %s", own, got, converted)
		}
		if _, err := manifest.FromBlob(converted, other); err != nil {
			t.Fatalf("%v: %s", err, converted)
		}
		if after := digests(m); !bytes.Equal(before, after) {
			t.Fatalf("the blobs %s became %s", before, after)
		}
		if err := convert(&m, own); err != nil && !strings.Contains(err.Error(), "+zstd") {
			t.Fatalf("not back to %s: %v: %s", own, err, converted)
		}
	})
}

func digests(m v1.Manifest) []byte {
	out := []byte(m.Config.Digest)
	for _, l := range m.Layers {
		out = append(append(out, ' '), l.Digest...)
	}
	return out
}
