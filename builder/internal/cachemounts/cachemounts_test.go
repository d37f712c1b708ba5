package cachemounts

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/limits"
)

func blobOf(text string) imgspec.Descriptor {
	return imgspec.Descriptor{MediaType: MediaType("zstd"), Digest: digest.FromString(text), Size: int64(len(text))}
}

// What is written is read as it was, and is the same bytes each time.
func TestWrittenIsRead(t *testing.T) {
	t.Parallel()
	caches := []Cache{
		{ID: "/root/.cache", Mode: 0o755, Size: 1024, Blob: blobOf("a")},
		{ID: "../x\n\"", First: "sha256:1", Mode: 0o1770, UID: 1000, GID: 7, Blob: blobOf("b")},
		{ID: "", Blob: blobOf("b")},
	}
	m, text, err := Write(caches)
	if err != nil {
		t.Fatal(err)
	}
	if _, again, err := Write(caches); err != nil || !bytes.Equal(again, text) {
		t.Errorf("%s, %v, and before %s", again, err, text)
	}
	got, err := Read(m, func(d imgspec.Descriptor, read func(io.Reader) error) error {
		if d.Digest != digest.FromBytes(text) || d.Size != int64(len(text)) {
			t.Errorf("the configuration is %+v", d)
		}
		return read(bytes.NewReader(text))
	})
	if err != nil || !reflect.DeepEqual(got, caches) {
		t.Errorf("%+v, %v, want %+v", got, err, caches)
	}
	broken := errors.New("broken")
	if _, err := Read(m, func(imgspec.Descriptor, func(io.Reader) error) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// Whatever somebody writes is refused by an error of its kind, or names caches that can be.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"caches":[{"id":"x","mode":493,"size":1024}]}`), 1)
	f.Add([]byte(`{"caches":[{"id":"x","first":"y","mode":493,"uid":1,"gid":2,"size":1024},{"id":"x","mode":493,"size":0}]}`), 2)
	f.Add([]byte(`{"caches":[{"id":"x","mode":65535,"size":-1}]}`), 1)
	f.Add([]byte(`{"caches":[]}`), 0)
	f.Add([]byte(`[`), 0)
	f.Fuzz(func(t *testing.T, text []byte, blobs int) {
		m := imgspec.Manifest{Config: imgspec.Descriptor{MediaType: ConfigType, Size: int64(len(text))}}
		for range min(max(blobs, 0), 10) {
			m.Layers = append(m.Layers, blobOf("a"))
		}
		caches, err := Read(m, func(_ imgspec.Descriptor, read func(io.Reader) error) error { return read(bytes.NewReader(text)) })
		if err != nil {
			if !errors.Is(err, limits.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		seen := map[[2]string]bool{}
		for _, c := range caches {
			name := [2]string{c.ID, c.First}
			if c.check() != nil || seen[name] {
				t.Errorf("%+v", c)
			}
			seen[name] = true
		}
	})
}
