package main

import (
	"context"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
)

// beginPush asks the registries of the image's names whether they may be pushed to, and has them sent what
// is built from then on. It gives what ends that.
func beginPush(ctx context.Context, b *builder.Builder, req *buildRequest) (end func() error, err error) {
	if !req.push {
		return func() error { return nil }, nil
	}
	names := make([]string, len(req.options.Image.Names))
	for i, name := range req.options.Image.Names {
		names[i] = "docker://" + name
	}
	req.options.Image.Push, err = b.NewPush(ctx, names, req.pushing)
	return req.options.Image.Push.Close, err
}

// pushNames sends img to the registries of the names that it was built by. It gives the
// manifest as the first of them has it.
func pushNames(ctx context.Context, img builder.Image, req buildRequest, p *progress) (imgspec.Descriptor, error) {
	names := make([]string, len(req.options.Image.Names))
	for i, name := range req.options.Image.Names {
		names[i] = archiveName(name, img.Names)
		p.pushing(names[i])
	}
	start := time.Now()
	sent, err := req.options.Image.Push.Finish(ctx, img.ID)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	for i, name := range names {
		p.pushed(name, sent[i].Digest.String(), time.Since(start))
	}
	return sent[0], nil
}
