package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

// results are the files that a build writes of itself; "" is none.
type results struct {
	iidFile, metadataFile, logFile string
	steps                          *stepTable // of --explain
}

func resultFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "iidfile", Usage: "write the image id, as sha256:ID, to `FILE`"},
		&cli.StringFlag{Name: "metadata-file", Usage: "write the image's digests and names to `FILE`, as JSON with the keys of docker buildx; the digest is that in the registry with --push, else that in the first output of type=oci, and else that in the store; with --explain the key oakum.steps has the steps of the build"},
		&cli.StringFlag{Name: "logfile", Usage: "write the progress to `FILE` instead of standard error"},
	}
}

func readResults(c *cli.Context) results {
	return results{iidFile: c.String("iidfile"), metadataFile: c.String("metadata-file"), logFile: c.String("logfile")}
}

// openLog gives the writer of the progress, and what closes it.
func (r results) openLog(standard io.Writer) (io.Writer, func() error, error) {
	if r.logFile == "" {
		return standard, func() error { return nil }, nil
	}
	f, err := os.Create(r.logFile)
	if err != nil {
		return nil, nil, fmt.Errorf("--logfile: %w", err)
	}
	return f, f.Close, nil
}

// descriptor is a content descriptor of the OCI image specification.
type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	// Platform is nil for an index.
	Platform *descriptorPlatform `json:"platform,omitempty"`
}

type descriptorPlatform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// write writes what is known of an image when it is built with some names. pushed is its
// manifest in a registry, or the zero value.
func (r results) write(ctx context.Context, b *builder.Builder, img builder.Image, names []string, pushed imgspec.Descriptor) error {
	if r.iidFile != "" {
		if err := os.WriteFile(r.iidFile, []byte("sha256:"+img.ID), 0o666); err != nil {
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	if r.metadataFile == "" {
		return nil
	}
	if img.ID == "" {
		return r.writeMetadata(map[string]any{})
	}
	d, err := b.Inspect(ctx, img.ID)
	if err != nil {
		return err
	}
	if pushed.Digest == "" {
		pushed = d.Manifest
	}
	about := descriptor{MediaType: pushed.MediaType, Digest: pushed.Digest, Size: pushed.Size}
	metadata := map[string]any{"containerimage.digest": pushed.Digest}
	if img.Index == nil {
		metadata["containerimage.config.digest"] = "sha256:" + img.ID
		about.Platform = &descriptorPlatform{d.Architecture, d.OS, d.Variant}
	}
	metadata["containerimage.descriptor"] = about
	var full []string
	for _, name := range names {
		full = append(full, archiveName(name, img.Names))
	}
	if len(full) > 0 {
		metadata["image.name"] = strings.Join(full, ",")
	}
	return r.writeMetadata(metadata)
}

func (r results) writeMetadata(metadata map[string]any) error {
	if r.steps != nil {
		metadata["oakum.steps"] = r.steps.rows
	}
	text, err := json.MarshalIndent(metadata, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.metadataFile, text, 0o666); err != nil {
		return fmt.Errorf("--metadata-file: %w", err)
	}
	return nil
}
