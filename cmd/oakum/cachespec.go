package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/cache/s3"
	"github.com/oakum-build/oakum/builder/mount"
	sending "github.com/oakum-build/oakum/builder/push"
	"github.com/oakum-build/oakum/dockerfile"
)

// cacheKind is the type of a place where caches of steps are.
type cacheKind string

const (
	inRegistry  cacheKind = "registry"
	inDirectory cacheKind = "local"
	inImage     cacheKind = "inline"
	inActions   cacheKind = "gha" // the cache service of GitHub Actions
	inBucket    cacheKind = "s3"
)

// cacheElsewhere are types of buildx's that there is nothing for here. A build is the same without them.
var cacheElsewhere = []cacheKind{"azblob"}

// cachePlace is what one --cache-from or --cache-to asks for.
type cachePlace struct {
	kind        cacheKind
	ref         string // in a registry
	dir         string // of a layout, absolute
	tag         string // in that; "" is latest
	all         bool   // mode=max: the layers of all stages go along
	mounts      bool   // caches of RUN --mount=type=cache go along
	ignoreError bool
	compression sending.Compression
	service     cacheService
}

// cacheAttribute is one that places have.
type cacheAttribute struct {
	kinds []cacheKind // nil is all
	to    bool        // --cache-to alone has it
	set   func(p *cachePlace, value string) error
}

// cacheAttributes are those of buildx, by their names, and mounts.
var cacheAttributes = map[string]cacheAttribute{
	"type": {set: func(p *cachePlace, value string) error { p.kind = cacheKind(value); return nil }},
	"ref":  {kinds: []cacheKind{inRegistry}, set: func(p *cachePlace, value string) error { p.ref = value; return nil }},
	"src":  {kinds: []cacheKind{inDirectory}, set: func(p *cachePlace, value string) error { p.dir = value; return nil }},
	"dest": {kinds: []cacheKind{inDirectory}, to: true, set: func(p *cachePlace, value string) error { p.dir = value; return nil }},
	"tag":  {kinds: []cacheKind{inDirectory}, set: func(p *cachePlace, value string) error { p.tag = value; return nil }},
	"mode": {to: true, set: func(p *cachePlace, value string) error {
		p.all = value == "max"
		if value != "min" && value != "max" {
			return fmt.Errorf("must be min or max, not %q", value)
		}
		return nil
	}},
	"mounts":            {kinds: []cacheKind{inRegistry, inDirectory, inActions, inBucket}, set: cacheSwitch(func(p *cachePlace, on bool) { p.mounts = on })},
	"ignore-error":      {to: true, set: cacheSwitch(func(p *cachePlace, on bool) { p.ignoreError = on })},
	"compression":       {to: true, set: func(p *cachePlace, value string) error { p.compression.Algorithm = value; return nil }},
	"compression-level": {to: true, set: (*cachePlace).setLevel},
	"force-compression": {to: true, set: cacheSwitch(func(p *cachePlace, on bool) { p.compression.Force = on })},
	"image-manifest":    {to: true, set: onlyFor("the cache is an image manifest in any case", "true")},
	"oci-mediatypes":    {to: true, set: onlyFor("the cache has the media types of OCI in any case", "true")},
	"reset":             {to: true, set: onlyFor("write to another tag or directory: what others may be reading is not emptied", "false")},
	"digest":            {set: onlyFor("name the cache by its tag", "")},
	"url":               {kinds: []cacheKind{inActions}, set: func(p *cachePlace, value string) error { return nil }}, // of version 1
	"url_v2":            {kinds: []cacheKind{inActions}, set: func(p *cachePlace, value string) error { p.service.actions.URL = value; return nil }},
	"token":             {kinds: []cacheKind{inActions}, set: func(p *cachePlace, value string) error { p.service.actions.Token = value; return nil }},
	"scope":             {kinds: []cacheKind{inActions}, set: func(p *cachePlace, value string) error { p.service.actions.Scope = value; return nil }},
	"timeout":           {kinds: []cacheKind{inActions}, set: (*cachePlace).setTimeout},
	"version":           {kinds: []cacheKind{inActions}, set: func(p *cachePlace, value string) error { p.service.version = value; return nil }},
	"repository":        {kinds: []cacheKind{inActions}, to: true, set: func(*cachePlace, string) error { return nil }}, // what is there is asked for by the token
	"ghtoken":           {kinds: []cacheKind{inActions}, to: true, set: func(*cachePlace, string) error { return nil }},
	"region":            inBucketOnly(func(c *s3.Config) *string { return &c.Region }),
	"bucket":            inBucketOnly(func(c *s3.Config) *string { return &c.Bucket }),
	"prefix":            inBucketOnly(func(c *s3.Config) *string { return &c.Prefix }),
	"blobs_prefix":      inBucketOnly(func(c *s3.Config) *string { return &c.Blobs }),
	"manifests_prefix":  inBucketOnly(func(c *s3.Config) *string { return &c.Manifests }),
	"name":              inBucketOnly(func(c *s3.Config) *string { return &c.Name }),
	"endpoint_url":      inBucketOnly(func(c *s3.Config) *string { return &c.Endpoint }),
	"access_key_id":     inBucketOnly(func(c *s3.Config) *string { return &c.AccessKeyID }),
	"secret_access_key": inBucketOnly(func(c *s3.Config) *string { return &c.SecretAccessKey }),
	"session_token":     inBucketOnly(func(c *s3.Config) *string { return &c.SessionToken }),
	"use_path_style":    {kinds: []cacheKind{inBucket}, set: cacheSwitch(func(p *cachePlace, on bool) { p.service.bucket.PathStyle = on })},
	// How many are sent at once is decided here, and rules of a bucket see when an object was written.
	"upload_parallelism": {kinds: []cacheKind{inBucket}, to: true, set: func(*cachePlace, string) error { return nil }},
	"touch_refresh":      {kinds: []cacheKind{inBucket}, to: true, set: func(*cachePlace, string) error { return nil }},
	"registry.insecure":  {kinds: []cacheKind{inRegistry}, set: onlyFor("use --tls-verify=false", "false")},
}

func inBucketOnly(of func(c *s3.Config) *string) cacheAttribute {
	return cacheAttribute{kinds: []cacheKind{inBucket}, set: func(p *cachePlace, value string) error {
		*of(&p.service.bucket) = value
		return nil
	}}
}

func cacheSwitch(set func(p *cachePlace, on bool)) func(*cachePlace, string) error {
	return func(p *cachePlace, value string) error {
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("must be true or false, not %q", value)
		}
		set(p, on)
		return nil
	}
}

// onlyFor takes the values that ask for what is so anyway; why says what is to be done else.
func onlyFor(why string, values ...string) func(*cachePlace, string) error {
	return func(_ *cachePlace, value string) error {
		if slices.Contains(values, value) {
			return nil
		}
		return errors.New(why)
	}
}

func (p *cachePlace) setLevel(value string) error {
	level, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("must be a number, not %q", value)
	}
	p.compression.Level = &level
	return nil
}

// cacheFlags are those of build.
func cacheFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "cache-from", Usage: "`CACHE` look steps up there, too: type=registry,ref=NAME, which may be an image that was built with --cache-to type=inline, or NAME alone; type=local,src=DIR[,tag=TAG]; type=gha[,scope=SCOPE], the service of GitHub Actions; type=s3,region=NAME,bucket=NAME[,prefix=TEXT,name=NAME]; mounts=true reads the caches of RUN --mount=type=cache that lie beside it; repeatable"},
		&cli.StringSliceFlag{Name: "cache-to", Usage: "`CACHE` write there what the build has found and done: type=registry,ref=NAME, type=local,dest=DIR[,tag=TAG], type=gha[,scope=SCOPE], type=s3,region=NAME,bucket=NAME, type=inline into the image; mode=max with the layers of all stages, which NAME alone is too, mode=min with those of the image; compression=gzip|zstd|uncompressed, compression-level=N, ignore-error=true, mounts=true with the caches of RUN --mount=type=cache; repeatable"},
	}
}

// mountsToMove are the caches of RUN --mount=type=cache that come and go with a build.
type mountsToMove struct {
	from []cache.At
	to   []cachePlace
}

// readCaches reads cacheFlags.
func readCaches(c *cli.Context, req *buildRequest) error {
	env, err := readServices(c)
	if err != nil {
		return err
	}
	from, warnings, err := readCachePlaces(values(c, "cache-from"), false, env)
	if err != nil {
		return err
	}
	to, more, err := readCachePlaces(values(c, "cache-to"), true, env)
	if err != nil {
		return err
	}
	req.warnings = append(append(req.warnings, warnings...), more...)
	o := &req.options.Cache
	for _, p := range from {
		o.From = append(o.From, p.at())
		if p.mounts {
			req.mounts.from = append(req.mounts.from, p.mountsAt())
		}
	}
	for _, p := range to {
		if p.kind == inImage {
			o.Inline = true
			continue
		}
		mode := cache.Min
		if p.all {
			mode = cache.Max
		}
		o.To = append(o.To, cache.Target{At: p.at(), Mode: mode, Compression: p.compression, IgnoreErrors: p.ignoreError})
		if p.mounts {
			req.mounts.to = append(req.mounts.to, p)
		}
	}
	if o.Inline && req.options.Steps.CacheOnly {
		return usagef("--cache-to: type=inline is in an image, and --output type=cacheonly writes none")
	}
	readInlineArgument(req)
	return nil
}

// inlineArgument is the build argument by which --cache-to type=inline was written before that was there, as buildx
// still takes it.
const inlineArgument = "BUILDKIT_INLINE_CACHE"

// readInlineArgument reads it. Where there is no image, that is no reason to fail: scripts give the argument to all builds.
func readInlineArgument(req *buildRequest) {
	value, given := req.options.BuildArgs[inlineArgument]
	text := os.Getenv(inlineArgument) // which an argument without a value stands for
	if value != nil {
		text = *value
	}
	if on, err := strconv.ParseBool(text); !given || err != nil || !on {
		return
	}
	if req.options.Steps.CacheOnly {
		req.warnings = append(req.warnings, "--build-arg "+inlineArgument+" has no effect: --output type=cacheonly writes no image")
		return
	}
	req.options.Cache.Inline = true
}

// namedIn are the names of the image, or where these say no registry, those of the caches. localhost/NAME is what names
// without a registry are called in the store.
func namedIn(o dockerfile.Options) []string {
	if slices.ContainsFunc(registriesIn(o.Image.Names), func(host string) bool { return host != "localhost" }) {
		return o.Image.Names
	}
	var caches []string
	for _, at := range o.Cache.From {
		caches = append(caches, at.Ref)
	}
	for _, to := range o.Cache.To {
		caches = append(caches, to.Ref)
	}
	if len(registriesIn(caches)) == 0 {
		return o.Image.Names
	}
	return caches
}

// at is the place for package builder.
func (p cachePlace) at() cache.At {
	return cache.At{Ref: p.ref, Layout: p.dir, Tag: p.tag, Place: p.service.place}
}

// mountsSuffix is what the tag of a cache of steps, or what else it is called by, is followed by in that of the caches of
// commands beside it.
const mountsSuffix = "-mounts"

// mountsAt is where the caches of commands lie beside the cache of steps.
func (p cachePlace) mountsAt() cache.At {
	at := p.at()
	switch p.kind {
	case inActions, inBucket:
		at.Place = p.service.beside
	case inDirectory:
		at.Tag = cmp.Or(at.Tag, "latest") + mountsSuffix
	default:
		repository, tag, _ := splitName(p.ref)
		at.Ref = repository + ":" + cmp.Or(tag, "latest") + mountsSuffix
	}
	return at
}

// importAll reads the caches of commands before a build. One that cannot be read is a warning.
func (m mountsToMove) importAll(ctx context.Context, b *builder.Builder, p *progress) error {
	for _, at := range m.from {
		if _, err := b.ImportMounts(ctx, mount.Import{From: at}, builder.PullOptions{}); err != nil {
			if ctx.Err() != nil {
				return err
			}
			p.warn(fmt.Sprintf("--cache-from: the caches of commands are not read: %v", err), 0)
		}
	}
	return nil
}

// exportAll writes them after it. Where there are none, nothing is written.
func (m mountsToMove) exportAll(ctx context.Context, b *builder.Builder, p *progress) error {
	for _, to := range m.to {
		_, err := b.ExportMounts(ctx, mount.Export{To: to.mountsAt()}, builder.PushOptions{Compression: to.compression})
		switch {
		case err == nil || errors.Is(err, builder.ErrNotFound):
		case !to.ignoreError || ctx.Err() != nil:
			return fmt.Errorf("--cache-to: writing the caches of commands: %w", err)
		default:
			p.warn(fmt.Sprintf("--cache-to: the caches of commands are not written: %v", err), 0)
		}
	}
	return nil
}

// readCachePlaces reads the values of --cache-from, or with to of --cache-to: attributes as in CSV, or the
// name of a repository alone. An empty one names nothing. What cannot be had, and the image is the same
// without, is a warning. Values are in no error or warning, for a token may be among them.
func readCachePlaces(texts []string, to bool, env serviceEnv) (places []cachePlace, warnings []string, err error) {
	flag := map[bool]string{false: "--cache-from", true: "--cache-to"}[to]
	for _, text := range texts {
		if text == "" {
			continue
		}
		p, err := readCachePlace(text, to)
		if err != nil {
			return nil, nil, usagef("%s: %v", flag, err)
		}
		if slices.Contains(cacheElsewhere, p.kind) {
			warnings = append(warnings, fmt.Sprintf("%s: caches of type=%s cannot be reached; the build goes on without this one, type=registry, local, gha and s3 are there", flag, p.kind))
			continue
		}
		missing, err := p.open(env)
		if err != nil {
			return nil, nil, usagef("%s: %v", flag, err)
		}
		if missing != "" {
			warnings = append(warnings, fmt.Sprintf("%s: type=%s: %s; the build goes on without this cache", flag, p.kind, missing))
			continue
		}
		places = append(places, p)
	}
	return places, warnings, nil
}

func readCachePlace(text string, to bool) (p cachePlace, err error) {
	in := csv.NewReader(strings.NewReader(text))
	fields, err := in.Read()
	if err != nil {
		return p, errors.New("it is not written as CSV")
	}
	if len(fields) == 1 && !strings.Contains(fields[0], "=") {
		return cachePlace{kind: inRegistry, ref: fields[0], all: true}, nil // as buildah, which keeps every layer
	}
	keys := make([]string, len(fields))
	for i, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if keys[i] = strings.ToLower(strings.TrimSpace(key)); !ok {
			return p, fmt.Errorf("the part %d of it is not NAME=VALUE", i+1)
		}
		if keys[i] == "type" {
			p.kind = cacheKind(value)
		}
	}
	if slices.Contains(cacheElsewhere, p.kind) {
		return p, nil // whatever else it has
	}
	for i, field := range fields {
		_, value, _ := strings.Cut(field, "=")
		if err := p.set(keys[i], value, to); err != nil {
			return p, fmt.Errorf("%s: %w", keys[i], err)
		}
	}
	return p, p.check(to)
}

func (p *cachePlace) set(key, value string, to bool) error {
	a, known := cacheAttributes[key]
	switch {
	case !known:
		return errors.New("is not known; there are type=registry with ref=NAME, type=local with src=DIR or dest=DIR, type=gha, type=s3 with bucket=NAME, and type=inline")
	case a.to && !to:
		return errors.New("is of --cache-to")
	case key == "src" && to:
		return errors.New("is of --cache-from; where to write is dest=DIR")
	case a.kinds != nil && !slices.Contains(a.kinds, p.kind):
		return fmt.Errorf("is not of type=%s", p.kind)
	}
	return a.set(p, value)
}

// check finds what is missing.
func (p *cachePlace) check(to bool) (err error) {
	switch p.kind {
	case "":
		return errors.New("type is missing: registry, local, gha, s3 or inline")
	case inRegistry:
		if p.ref == "" {
			return errors.New("ref=NAME is missing")
		}
		if _, _, digest := splitName(p.ref); p.mounts && digest != "" {
			return errors.New("mounts: the caches of commands lie beside a tag, and ref has a digest")
		}
	case inDirectory:
		if p.dir == "" {
			return fmt.Errorf("%s=DIR is missing", map[bool]string{false: "src", true: "dest"}[to])
		}
		p.dir, err = filepath.Abs(p.dir)
	case inActions, inBucket:
	case inImage:
		if !to {
			return errors.New("an image that has its cache in it is named by type=registry,ref=NAME")
		}
		if p.all {
			return errors.New("mode=max: an image has the layers of its own stage alone; use type=registry")
		}
	default:
		return errors.New("the type is not known: it is registry, local, gha, s3 or inline")
	}
	if err == nil {
		err = p.compression.Check()
	}
	return err
}
