// Package gha is a place for the layer cache (cache.Place) in the cache service of GitHub Actions, version 2: that of the jobs of
// a workflow, or any server that speaks its protocol. A job finds where the service is and what lets it in in its environment
// (ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN).
//
// The service keeps entries under keys. None is ever changed: so a blob is an entry by its digest, and each manifest one of its own, of which
// the last counts. It looks for an entry among those of the job's branch, and then of those that this one may read, as of the default
// branch. What any of them has is read, and written is to the job's own.
package gha

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"sync"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/cache/internal/objects"
	"github.com/oakum-build/oakum/storage/retry"
)

// Config is how the service is reached, and which of its caches is meant.
type Config struct {
	// URL is that of the service, and Token is what lets in. Where the token is one of GitHub's it says which branches' entries may
	// be read and written.
	URL, Token string
	// Scope tells this cache from others of the repository; "" is DefaultScope.
	Scope string
	// Timeout is how long one blob may take to read or write; 0 is ten minutes.
	Timeout time.Duration
	// Retries is how often a request is made again that failed for a reason that may pass, and RetryDelay the time before that, which
	// doubles each time; 0 is as of builder.Options.
	Retries    int
	RetryDelay time.Duration
}

// DefaultScope is Config.Scope where that is "".
const DefaultScope = "oakum"

const (
	defaultTimeout = 10 * time.Minute
	// maxManifest is what is read of a manifest.
	maxManifest = 4 << 20
	// fresh is how long it is remembered where a blob was found. The service signs URLs for some ten minutes.
	fresh = time.Minute
)

// Place is a cache in the service. It is safe for many goroutines.
type Place struct {
	service
	scope string
	refs  []ref // those whose entries may be read; the first is written to

	mu        sync.Mutex
	found     map[string]signed // by names of blobs
	manifests map[string][]byte // by their digests, when there were several
}

var _ cache.Place = (*Place)(nil)

// signed is where the content of an entry is, for some minutes.
type signed struct {
	url string
	at  time.Time
}

// Open makes a Place of a Config. It asks the service for nothing.
func Open(c Config) (*Place, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, errors.New("the cache service of GitHub Actions: its URL is none of http or https")
	}
	if c.Token == "" {
		return nil, errors.New("the cache service of GitHub Actions: there is no token for it")
	}
	p := &Place{scope: cmp.Or(c.Scope, DefaultScope), found: map[string]signed{}, manifests: map[string][]byte{}}
	if len(p.scope) > maxScope {
		return nil, fmt.Errorf("the cache service of GitHub Actions: a scope of %d bytes, which may have %d", len(p.scope), maxScope)
	}
	again := retry.Policy{Times: c.Retries, Delay: c.RetryDelay}
	p.service = service{objects.New("the cache service", again, cmp.Or(c.Timeout, defaultTimeout)), base.JoinPath(servicePath), c.Token}
	p.refs, err = readToken(c.Token, time.Now())
	return p, err
}

// String is how messages call it.
func (p *Place) String() string { return "type=gha,scope=" + p.scope }

// Keys have at most 512 bytes, and no commas. Blobs are shared by all scopes.
const (
	maxScope    = 100
	blobKey     = "oakum-1-blob-"
	manifestKey = "oakum-1-index-"
	// again is before what tells apart the entries of which the last counts.
	again = "#"
)

// manifestsOf is what the keys of the manifests of a branch begin with.
func (p *Place) manifestsOf(r ref) string {
	of := digest.FromString(r.name).Encoded()[:16]
	return manifestKey + url.QueryEscape(p.scope) + "-" + of + again
}

// once is the end of a key that no other has, and that comes after those before.
func once() string { return fmt.Sprintf("%016x-%s", time.Now().UnixNano(), rand.Text()) }

// Has says whether there is something of a name.
func (p *Place) Has(ctx context.Context, name string) (bool, error) {
	ctx, end := p.Watch(ctx)
	defer end()
	if name == cache.ManifestName {
		for _, r := range p.refs {
			if at, err := p.find(ctx, p.manifestsOf(r), ""); at != "" || err != nil {
				return at != "", err
			}
		}
		return false, nil
	}
	if p.manifest(name) != nil {
		return true, nil
	}
	at, err := p.blob(ctx, name)
	return at != "", err
}

func (p *Place) manifest(name string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.manifests[name]
}

// blob finds a blob, or gives "".
func (p *Place) blob(ctx context.Context, name string) (at string, err error) {
	p.mu.Lock()
	is, known := p.found[name]
	p.mu.Unlock()
	if known && time.Since(is.at) < fresh {
		return is.url, nil
	}
	at, err = p.find(ctx, blobKey+name+again, blobKey+name)
	if err == nil && at != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.found[name] = signed{at, time.Now()}
	}
	return at, err
}

// Get opens what has a name. A connection that breaks is made again, and reading goes on where it was.
func (p *Place) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == cache.ManifestName {
		return p.last(ctx)
	}
	if raw := p.manifest(name); raw != nil {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
	ctx, end := p.Watch(ctx)
	at, err := p.blob(ctx, name)
	if err == nil && at == "" {
		err = fmt.Errorf("%s has no %s: %w", p, name, fs.ErrNotExist)
	}
	if err != nil {
		end()
		return nil, err
	}
	return p.read(ctx, at, end)
}

// last is the newest manifest of each branch, as an index when there are several.
func (p *Place) last(ctx context.Context) (io.ReadCloser, error) {
	ctx, end := p.Watch(ctx)
	defer end()
	index := imgspec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex}
	var all [][]byte
	for _, r := range p.refs {
		at, err := p.find(ctx, p.manifestsOf(r), "")
		if err != nil {
			return nil, err
		}
		if at == "" {
			continue
		}
		raw, err := p.readSmall(ctx, at)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
		index.Manifests = append(index.Manifests, imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))})
	}
	switch len(all) {
	case 0:
		return nil, fmt.Errorf("%s has no cache: %w", p, fs.ErrNotExist)
	case 1:
		return io.NopCloser(bytes.NewReader(all[0])), nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, m := range index.Manifests {
		p.manifests[m.Digest.String()] = all[i]
	}
	raw, err := json.Marshal(index)
	return io.NopCloser(bytes.NewReader(raw)), err
}

func (p *Place) readSmall(ctx context.Context, at string) ([]byte, error) {
	body, err := p.read(ctx, at, func() {})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, maxManifest+1))
	if err == nil && len(raw) > maxManifest {
		err = fmt.Errorf("%s: a manifest has more than %d bytes", p, maxManifest)
	}
	return raw, err
}

// Put keeps content under a name. What is there already is not sent.
func (p *Place) Put(ctx context.Context, name string, size int64, content io.Reader) error {
	if !p.refs[0].write {
		return fmt.Errorf("%s: the token of this job may only read", p)
	}
	ctx, end := p.Watch(ctx)
	defer end()
	key := blobKey + name
	if name == cache.ManifestName {
		key = p.manifestsOf(p.refs[0]) + once()
	}
	to, err := p.create(ctx, key)
	if errors.Is(err, fs.ErrExist) && name != cache.ManifestName {
		// Either it is there, or somebody has begun to send it, of whom nobody knows whether he comes to its end.
		at, err := p.find(ctx, blobKey+name+again, blobKey+name)
		if at != "" || err != nil {
			return err
		}
		key += again + once()
		to, err = p.create(ctx, key)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := p.write(ctx, to, size, content); err != nil {
		return err
	}
	return p.finish(ctx, key, size)
}
