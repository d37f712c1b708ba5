package transfer

import (
	"context"
	"fmt"
	"io"

	digest "github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/internal/blobs"
)

// layer copies a layer, which the manifest names and the source has in a way that may be another: the
// store has layers uncompressed. It gives the layer as the destination has it.
func (s *single) layer(ctx context.Context, named, has types.BlobInfo) (types.BlobInfo, error) {
	if len(named.URLs) > 0 && s.to.AcceptsForeignLayerURLs() {
		return named, nil // it is to be fetched from there
	}
	sent := named
	err := s.Again(ctx, "copying the layer "+named.Digest.String(), func() (err error) {
		sent, err = s.tryLayer(ctx, named, has)
		return err
	})
	return sent, err
}

func (s *single) tryLayer(ctx context.Context, named, has types.BlobInfo) (types.BlobInfo, error) {
	if is, found, err := s.find(ctx, named, has); found || err != nil {
		return is, err
	}
	if s.fixed != "" && has.Digest != named.Digest {
		return named, fmt.Errorf("layer %s is to be compressed anew, which cannot be: %s", named.Digest, s.fixed)
	}
	return s.sendLayer(ctx, has)
}

// find looks for a layer at the destination.
func (s *single) find(ctx context.Context, named, has types.BlobInfo) (types.BlobInfo, bool, error) {
	for _, c := range s.candidates(named, has) {
		found, is, err := s.to.TryReusingBlob(ctx, c.info, c.cache(s.to.Reference()), false)
		if err != nil {
			return is, false, fmt.Errorf("trying to reuse blob %s at destination: %w", c.info.Digest, err)
		}
		if found && (c.info.Size < 0 || is.Size < 0 || is.Size == c.info.Size) {
			if c.info.Size < 0 {
				c.info.Size = is.Size
			}
			s.remember(has.Digest, c)
			return c.info, true, nil
		}
	}
	return types.BlobInfo{}, false, nil
}

// compressedAs is how a layer is to be sent that the source has in some way.
func (s *single) compressedAs(has types.BlobInfo) string {
	as := compressionOf(has.MediaType)
	if s.fixed != "" || as == unknown {
		return as
	}
	wanted := s.Compression.Algorithm
	switch s.to.DesiredLayerCompression() {
	case types.Decompress:
		return compression.Uncompressed
	case types.PreserveOriginal:
		if wanted == "" {
			return as
		}
	}
	if wanted == "" {
		wanted = compression.Gzip
	}
	if as == compression.Uncompressed || s.Compression.Force {
		return wanted
	}
	return as
}

// sendLayer reads a layer from the source and writes it.
func (s *single) sendLayer(ctx context.Context, has types.BlobInfo) (types.BlobInfo, error) {
	asked := has
	asked.URLs = nil // whoever wrote the manifest chose them; see decision 21
	body, size, err := s.from.GetBlob(ctx, asked, memory.New())
	if err != nil {
		return has, fmt.Errorf("reading blob %s: %w", has.Digest, err)
	}
	defer body.Close()
	if has.Size >= 0 {
		size = has.Size
	}
	checked, err := newVerifier(ctx, body, has.Digest, size)
	if err != nil {
		return has, fmt.Errorf("reading blob %s: %w", has.Digest, err)
	}
	from := s.observed(checked, has)
	sent, made, as := has, (*compressing)(nil), s.compressedAs(has)
	stream := from
	if as != compressionOf(has.MediaType) {
		plain, err := decompressed(from, has)
		if err != nil {
			return has, fmt.Errorf("reading blob %s: %w", has.Digest, err)
		}
		defer plain.Close()
		made = compress(plain, compression.Choice{Algorithm: as, Level: s.level(as)})
		defer made.Close()
		stream, sent.Digest, sent.Size, sent.MediaType = made, "", -1, mediaType(has.MediaType, as)
	}
	put, err := s.to.PutBlob(ctx, stream, sent, memory.New(), false)
	if made != nil && err != nil {
		_ = made.Close() // nobody reads the source any more
	} else if made != nil {
		_, _ = io.Copy(io.Discard, checked) // what follows the end of the compressed stream is of the blob
	}
	switch {
	case checked.err != nil:
		return has, fmt.Errorf("reading blob %s: %w", has.Digest, checked.err)
	case err != nil:
		return has, fmt.Errorf("writing blob %s: %w", has.Digest, err)
	case sent.Digest != "" && put.Digest != sent.Digest:
		return has, fmt.Errorf("writing blob %s: the destination calls it %s", has.Digest, put.Digest)
	}
	sent.Digest, sent.Size = put.Digest, put.Size
	if made != nil {
		sent.Annotations = made.annotate(sent.Annotations)
		s.remember(has.Digest, candidate{info: sent, blob: blobs.Blob{
			Algorithm: as, Level: s.level(as), Own: true, Annotations: made.annotations(),
		}})
	}
	return sent, nil
}

// level is the level by which layers are compressed.
func (s *single) level(as string) *int {
	if as == compression.Uncompressed {
		return nil
	}
	return s.Compression.Level
}

// verifier passes on a blob, and ends it with an error unless it has the digest and the size that it
// should have. It reads no more than a byte beyond the size.
type verifier struct {
	ctx  context.Context // ends it, also where neither end looks at it
	from io.Reader
	sum  digest.Verifier
	want digest.Digest
	size int64 // -1 where it is not known
	read int64
	err  error // of the blob, other than io.EOF
}

func newVerifier(ctx context.Context, from io.Reader, want digest.Digest, size int64) (*verifier, error) {
	if err := want.Validate(); err != nil {
		return nil, err
	}
	return &verifier{ctx: ctx, from: from, sum: want.Verifier(), want: want, size: size}, nil
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err == nil {
		v.err = v.ctx.Err()
	}
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.from.Read(p)
	v.read += int64(n)
	if v.size >= 0 && v.read > v.size {
		v.err = fmt.Errorf("it has more bytes than the %d that its manifest says", v.size)
		return 0, v.err
	}
	_, _ = v.sum.Write(p[:n])
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF: //nolint:errorlint // a reader gives it so
		v.err = err
	case v.size >= 0 && v.read < v.size:
		v.err = fmt.Errorf("it ends after %d of %d bytes: %w", v.read, v.size, io.ErrUnexpectedEOF)
	case !v.sum.Verified():
		v.err = fmt.Errorf("it has not the digest %s", v.want)
	default:
		return n, io.EOF
	}
	return n, v.err
}
