// Package artifact writes and reads what lies in registries and OCI image layouts beside images: a manifest
// with a type of its own, and blobs (OCI image specification, "Guidelines for Artifact Usage"). What the
// type and the blobs mean is the matter of those who use it; they come to it by a storage.Store.
package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/internal/transfer"
	"github.com/oakum-build/oakum/storage/registry"
)

// ErrInvalid is an artifact that is not what is said of it, or not what was looked for.
var ErrInvalid = errors.New("invalid artifact")

// End is one end of a transfer.
type End struct {
	// Name is what errors call it.
	Name string
	// Session is that of a registry, nil for anything else.
	Session *registry.Session
	Access  registry.Access
	// Done gives back what else was opened for it; nil does nothing.
	Done func() error
}

// do does a part of the transfer, with a registry as often as Access says.
func (e *End) do(ctx context.Context, verb string, part func(context.Context) error) error {
	if e.Session != nil {
		return e.Session.Do(ctx, verb, func(ctx context.Context, _ *types.SystemContext) error { return part(ctx) })
	}
	if err := part(ctx); err != nil {
		return fmt.Errorf("%s %s: %w", verb, e.Name, err)
	}
	return nil
}

func (e *End) close() error {
	if e.Session != nil {
		e.Session.Close()
	}
	if e.Done == nil {
		return nil
	}
	return e.Done()
}

func (e *End) moved() func(transfer.Progress) {
	tell := e.Access.Progress
	if tell == nil {
		return nil
	}
	return func(p transfer.Progress) { tell(registry.Moved{Blob: p.Digest, Offset: p.Offset, Size: p.Size}) }
}

// Describe describes a blob that is in memory.
func Describe(mediaType string, content []byte) imgspec.Descriptor {
	return imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}

// Writer writes one artifact. It must be closed. What was written before Finish are blobs that nothing
// leads to.
type Writer struct {
	End
	To types.ImageDestination
}

// Blob writes a blob, of which digest and size are known, unless it is there already. config says that it is
// the manifest's configuration.
func (w *Writer) Blob(ctx context.Context, d imgspec.Descriptor, content io.ReaderAt, config bool) error {
	info := types.BlobInfo{Digest: d.Digest, Size: d.Size}
	return w.do(ctx, registry.PushingTo, func(ctx context.Context) error {
		has, _, err := w.To.TryReusingBlob(ctx, info, memory.New(), false)
		if has || err != nil {
			return err
		}
		from := transfer.Observe(io.NewSectionReader(content, 0, d.Size), info, w.moved())
		_, err = w.To.PutBlob(ctx, struct{ io.Reader }{from}, info, memory.New(), config)
		return err
	})
}

// Finish writes the manifest, by which the artifact is there, and gives what leads to it.
func (w *Writer) Finish(ctx context.Context, m imgspec.Manifest) (imgspec.Descriptor, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	d := Describe(m.MediaType, raw)
	d.ArtifactType = m.ArtifactType
	return d, w.do(ctx, registry.PushingTo, func(ctx context.Context) error {
		if err := w.To.PutManifest(ctx, raw, nil); err != nil {
			return err
		}
		return w.To.Commit(ctx, nil)
	})
}

// Close ends it.
func (w *Writer) Close() error { return errors.Join(w.To.Close(), w.close()) }

// Reader reads one artifact. It must be closed.
type Reader struct {
	End
	// Manifest is what it consists of. Its type is the one that was asked for, and nothing else of it has
	// been looked at.
	Manifest imgspec.Manifest

	from types.ImageSource
}

// NewReader opens an artifact, which must have a type, and be allowed by allow. One of another type is an error
// that matches ErrInvalid. When it fails, the end is closed.
func NewReader(ctx context.Context, e End, kind string, open func(context.Context) (types.ImageSource, error), allow func(context.Context, types.UnparsedImage) error) (*Reader, error) {
	r := &Reader{End: e}
	err := r.do(ctx, registry.Pulling, func(ctx context.Context) error {
		from, err := open(ctx)
		if err != nil {
			return err
		}
		if r.from != nil {
			_ = r.from.Close()
		}
		r.from = from
		top := image.UnparsedInstance(r.from, nil)
		raw, _, err := top.Manifest(ctx)
		if err != nil {
			return err
		}
		if err := allow(ctx, top); err != nil {
			return err
		}
		return r.parse(raw, kind)
	})
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// parse reads the manifest, which anybody may have written.
func (r *Reader) parse(raw []byte, kind string) error {
	r.Manifest = imgspec.Manifest{}
	if err := json.Unmarshal(raw, &r.Manifest); err != nil {
		return registry.Local(fmt.Errorf("%w: its manifest: %w", ErrInvalid, err))
	}
	m := r.Manifest
	if m.ArtifactType == kind {
		return nil
	}
	is := m.ArtifactType
	if is == "" {
		is = m.Config.MediaType
	}
	return registry.Local(fmt.Errorf("%w: it is of the type %.200q, and %s was looked for", ErrInvalid, is, kind))
}

// Blob has read take a blob, from its start each time that it is tried again. What read takes is only known to
// be the blob once Blob has returned without an error.
func (r *Reader) Blob(ctx context.Context, d imgspec.Descriptor, read func(io.Reader) error) error {
	return r.do(ctx, registry.Pulling, func(ctx context.Context) error {
		return transfer.ReadBlob(ctx, r.from, types.BlobInfo{Digest: d.Digest, Size: d.Size}, r.moved(), read)
	})
}

// Close ends it.
func (r *Reader) Close() error {
	if r.from == nil {
		return r.close()
	}
	return errors.Join(r.from.Close(), r.close())
}
