package transfer

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/internal/blobs"
)

// A candidate is a blob that a layer can be at the destination, which is asked for it.
type candidate struct {
	info  types.BlobInfo // as the manifest would have it
	blob  blobs.Blob
	repos []string // that may have it
}

// mostCandidates bounds what is asked for one layer.
const mostCandidates = 4

// candidates are the blobs that a layer can be: the one that its manifest names, where it is known to be
// the same layer, those that it was pulled as, and those that it was sent as when it was compressed
// in the way that is chosen now. So what an image becomes does not depend on what was sent before.
func (s *single) candidates(named, has types.BlobInfo) []candidate {
	if has.Digest == named.Digest && s.compressedAs(has) == compressionOf(has.MediaType) {
		return []candidate{{info: has, blob: blobs.Blob{Algorithm: compressionOf(has.MediaType)}, repos: s.repositories(has.Digest)}}
	}
	known := s.Blobs.Of(has.Digest)
	var all []candidate
	for _, b := range known {
		at := slices.IndexFunc(all, func(c candidate) bool { return c.info.Digest == b.Digest })
		if at < 0 && s.suits(b, has) {
			at = len(all)
			all = append(all, s.candidate(b, named, has))
		}
		if at >= 0 && b.Repository != "" {
			all[at].repos = append(all[at].repos, b.Repository)
		}
	}
	first := slices.IndexFunc(all, func(c candidate) bool { return c.info.Digest == named.Digest })
	if first > 0 {
		c := all[first]
		all = slices.Insert(slices.Delete(all, first, first+1), 0, c)
	}
	if s.fixed != "" { // nothing else will do
		all = slices.DeleteFunc(all, func(c candidate) bool { return c.info.Digest != named.Digest })
	}
	return all[:min(len(all), mostCandidates)]
}

// repositories are those that have a blob of the source, as far as it knows.
func (c *copier) repositories(d digest.Digest) []string {
	if mixed, ok := c.from.(interface {
		RepositoriesOf(d digest.Digest) []string
	}); ok {
		return mixed.RepositoriesOf(d)
	}
	return c.repository()
}

// repository is where the source is, if that is a registry.
func (c *copier) repository() []string {
	if c.from == nil {
		return nil
	}
	if ref := c.from.Reference(); ref.Transport().Name() == docker.Transport.Name() {
		return []string{ref.DockerReference().Name()}
	}
	return nil
}

// suits says whether a blob may be a layer.
func (s *single) suits(b blobs.Blob, has types.BlobInfo) bool {
	as := s.compressedAs(has)
	switch {
	case s.fixed != "":
		return !b.Own
	case as == compression.Uncompressed, as == unknown:
		return false // what the source has is as good
	case mediaType(has.MediaType, b.Algorithm) == "", s.Format == FormatDocker && b.Algorithm != compression.Gzip:
		return false // nothing that the manifest could name
	case b.Own, s.Compression.Force:
		return b.Algorithm == as && same(b.Level, s.level(as)) && (b.Own || s.Compression.Level == nil)
	}
	return true
}

func same(a, b *int) bool { return a == b || a != nil && b != nil && *a == *b }

func (s *single) candidate(b blobs.Blob, named, has types.BlobInfo) candidate {
	if b.Digest == named.Digest {
		return candidate{info: named, blob: b}
	}
	info := types.BlobInfo{Digest: b.Digest, Size: b.Size, MediaType: mediaType(has.MediaType, b.Algorithm), Annotations: maps.Clone(has.Annotations)}
	if len(b.Annotations) > 0 && info.Annotations == nil {
		info.Annotations = map[string]string{}
	}
	maps.Copy(info.Annotations, b.Annotations)
	return candidate{info: info, blob: b}
}

// pulled notes which blobs the layers were that have come into the store, which has compared them with
// the digests in the configuration.
func (s *single) pulled(ctx context.Context) {
	config, err := s.img.OCIConfig(ctx)
	layers := s.img.LayerInfos()
	if s.Blobs == nil || err != nil || len(config.RootFS.DiffIDs) != len(layers) {
		return
	}
	repo := ""
	if repos := s.repository(); len(repos) > 0 {
		repo = repos[0]
	}
	for i, l := range layers {
		Came(s.Blobs, config.RootFS.DiffIDs[i], l, repo)
	}
}

// Came notes which blob a layer was that has come from a repository, or from elsewhere with "", and has been
// compared with its digest.
func Came(known *blobs.Dir, diffID digest.Digest, l types.BlobInfo, repo string) {
	b := blobs.Blob{Digest: l.Digest, Size: l.Size, Algorithm: compressionOf(l.MediaType), Repository: repo}
	for key, value := range l.Annotations {
		if !strings.HasPrefix(key, chunkedPrefix) {
			continue
		}
		if b.Annotations == nil {
			b.Annotations, b.Algorithm = map[string]string{}, compression.ZstdChunked
		}
		b.Annotations[key] = value
	}
	if diffID != l.Digest && b.Algorithm != unknown {
		_ = known.Put(diffID, b) // else it is sent again
	}
}

// chunkedPrefix begins the annotations of layers that are zstd:chunked.
const chunkedPrefix = "io.github.containers.zstd-chunked."

// remember notes that the destination has a layer as a blob, where that is a registry.
func (s *single) remember(diffID digest.Digest, c candidate) {
	if s.Blobs == nil || diffID == c.info.Digest || s.to.Reference().Transport().Name() != docker.Transport.Name() {
		return
	}
	c.blob.Digest, c.blob.Size = c.info.Digest, c.info.Size
	c.blob.Repository = s.to.Reference().DockerReference().Name()
	_ = s.Blobs.Put(diffID, c.blob) // else it is sent again
}

// cache tells the library where a blob is, so that a registry mounts it from there.
func (c candidate) cache(to types.ImageReference) types.BlobInfoCache {
	cache := memory.New()
	named := to.DockerReference()
	if named == nil || to.Transport().Name() != docker.Transport.Name() {
		return cache
	}
	host := reference.Domain(named)
	for _, repo := range c.repos {
		if from, err := reference.ParseNamed(repo); err == nil && reference.Domain(from) == host {
			cache.RecordKnownLocation(to.Transport(), types.BICTransportScope{Opaque: host}, c.info.Digest, types.BICLocationReference{Opaque: repo})
		}
	}
	recordCompression(cache, c.info.Digest, c.blob.Algorithm)
	return cache
}

// recordCompression tells the library how a blob is compressed, for it mounts no other. The type in which
// it is told that is internal to it.
func recordCompression(cache types.BlobInfoCache, d digest.Digest, algorithm string) {
	record := reflect.ValueOf(cache).MethodByName("RecordDigestCompressorData")
	if !record.IsValid() || record.Type().NumIn() != 2 || record.Type().In(1).Kind() != reflect.Struct {
		return
	}
	if algorithm == compression.ZstdChunked {
		algorithm = compression.Zstd // which it is as well
	}
	data := reflect.New(record.Type().In(1)).Elem()
	for field, value := range map[string]string{"BaseVariantCompressor": algorithm, "SpecificVariantCompressor": "unknown"} {
		if f := data.FieldByName(field); f.IsValid() && f.Kind() == reflect.String {
			f.SetString(value)
		}
	}
	record.Call([]reflect.Value{reflect.ValueOf(d), data})
}
