package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/archive"
	"github.com/oakum-build/oakum/dockerfile"
)

// deliver takes an image that is in the store where else it is to go.
func deliver(ctx context.Context, b *builder.Builder, req buildRequest, img builder.Image, p *progress, std streams) error {
	var sent imgspec.Descriptor
	for _, o := range req.outputs {
		p.writing(o.dest)
		d, err := o.write(ctx, b, img, req.options, std)
		if err != nil {
			return fmt.Errorf("output %s: %w", o.dest, err)
		}
		if sent.Digest == "" && o.kind == toOCI { // Docker's archives have no digest of an image
			sent = d
		}
	}
	if req.push {
		var err error
		if sent, err = pushNames(ctx, img, req, p); err != nil {
			return err
		}
	}
	return req.results.write(ctx, b, img, req.options.Image.Names, sent)
}

// write sends img, or its files, to where they are to go. Of the image it gives the manifest as it is there.
func (o output) write(ctx context.Context, b *builder.Builder, img builder.Image, opts dockerfile.Options, std streams) (sent imgspec.Descriptor, err error) {
	switch {
	case o.kind == toDirectory || o.kind == toTar:
		return sent, o.writeFiles(ctx, b, img, std)
	case o.layout:
		return o.writeLayout(ctx, b, img, opts.Image.Names)
	}
	err = toWhole(o.dest, std, func(w io.Writer) error {
		all, err := b.Save(ctx, w, builder.PushOptions{Format: string(o.kind), Compression: o.compression}, o.archive(img, opts.Image.Names))
		if err == nil {
			sent = all[0]
		}
		return err
	})
	return sent, err
}

// writeFiles writes the files of the image.
func (o output) writeFiles(ctx context.Context, b *builder.Builder, img builder.Image, std streams) error {
	sources, err := o.sources(ctx, b, img)
	switch {
	case err != nil:
		return err
	case o.kind == toTar:
		return toWhole(o.dest, std, func(w io.Writer) error { return b.Export(ctx, w, sources...) })
	case o.files.mode == "delete":
		return b.ReplaceDir(ctx, o.dest, sources...)
	}
	return b.ExportDir(ctx, o.dest, sources...)
}

// writeLayout adds the image to the OCI image layout in a directory, which is made when it is not there.
func (o output) writeLayout(ctx context.Context, b *builder.Builder, img builder.Image, names []string) (sent imgspec.Descriptor, err error) {
	places := []string{"oci:" + o.dest}
	if len(names) > 0 {
		places = nil
	}
	for _, name := range o.archive(img, names).Names {
		places = append(places, "oci:"+o.dest+":"+name)
	}
	for _, place := range places {
		if sent, err = b.Push(ctx, img.ID, place, builder.PushOptions{Format: "oci", Compression: o.compression}); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// toWhole gives a writer of a file, which appears whole or not at all, or of standard output.
func toWhole(dest string, std streams, write func(io.Writer) error) error {
	if dest == standardOutput {
		return write(std.raw.out)
	}
	return archive.WriteFile(dest, func(f *os.File) error { return write(f) })
}

// sources are the files of the image, and of an index those of each platform's in a directory of its own, as docker
// buildx calls it, unless they are merged.
func (o output) sources(ctx context.Context, b *builder.Builder, img builder.Image) ([]builder.Source, error) {
	files := builder.ImageFiles(img.ID).Pull("never")
	if o.files.src != "" {
		files = files.Select(literal.Replace(o.files.src))
	}
	switch {
	case img.Index == nil && o.files.apart:
		d, err := b.Inspect(ctx, img.ID)
		return []builder.Source{files.Under(platformDir(d.OS, d.Architecture, d.Variant))}, err
	case img.Index == nil:
		return []builder.Source{files}, nil
	}
	var all []builder.Source
	for _, m := range img.Index {
		p := m.Platform
		if p == nil {
			continue
		}
		name, dir := p.OS+"/"+p.Architecture, platformDir(p.OS, p.Architecture, p.Variant)
		if p.Variant != "" {
			name += "/" + p.Variant
		}
		if o.files.merged {
			dir = ""
		}
		all = append(all, files.Platform(name).Under(dir))
	}
	return all, nil
}

// platformDir is the name of a platform's directory.
func platformDir(system, architecture, variant string) string {
	if variant != "" {
		variant = "_" + variant
	}
	return system + "_" + architecture + variant
}

// literal makes a pattern that matches a name alone.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// archive is the image as an archive has it: with the names of this build.
func (o output) archive(img builder.Image, names []string) archive.Image {
	a := archive.Image{Ref: img.ID}
	for _, name := range names {
		a.Names = append(a.Names, archiveName(name, img.Names))
	}
	return a
}

// archiveName is the name that the store gave to the tag that was asked for.
func archiveName(tag string, names []string) string {
	for _, name := range names {
		if name == tag || name == tag+":latest" || strings.HasSuffix(name, "/"+tag) || strings.HasSuffix(name, "/"+tag+":latest") {
			return name
		}
	}
	return tag
}
