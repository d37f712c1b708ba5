package main

import (
	"context"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

func inspectCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "inspect",
		Aliases:     []string{"image inspect"},
		Usage:       "show all about images",
		ArgsUsage:   "IMAGE...",
		Description: "Prints a JSON array. Of an index of images for several platforms the entry has Manifests, which are theirs. Template fields of --format are the array's keys, as in {{.Config.Env}} or {{json .History}}.",
		Flags: withStore([]cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "`json|TEMPLATE` print this for each image"},
			&cli.StringFlag{Name: "platform", Usage: "of an index show the image for the platform `OS/ARCH[/VARIANT]`, local for this machine's"},
		}),
		Action: func(c *cli.Context) error { return inspect(c, std) },
	}
}

// inspection is an entry of inspect, with the keys of podman's and docker's.
type inspection struct {
	ID          string `json:"Id"`
	Digest      digest.Digest
	RepoTags    []string
	RepoDigests []string
	Created     time.Time
	Author      string
	machine
	Size         int64
	Config       builder.Config
	RootFS       rootFS
	Labels       map[string]string
	Annotations  map[string]string // of the manifest, or of an index
	ManifestType string
	History      []imgspec.History
	Manifests    []imgspec.Descriptor `json:",omitempty"` // of an index
}

// machine is what an image is made for.
type machine struct {
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
}

// Id is the name that templates written for docker and podman use.
//
//lint:ignore ST1003 the name is theirs
func (i inspection) Id() string { return i.ID }

// rootFS is the layers of an image, base first.
type rootFS struct {
	Type   string
	Layers []digest.Digest
}

func inspect(c *cli.Context, std streams) error {
	if err := wantArgs(c, 1, -1); err != nil {
		return err
	}
	f, err := parseFormat(c.String("format"), "")
	if err != nil {
		return err
	}
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		var found []inspection
		for _, ref := range c.Args().Slice() {
			d, err := inspectOne(ctx, b, ref, c.String("platform"))
			if err != nil {
				return err
			}
			found = append(found, newInspection(d))
		}
		return list[inspection]{rows: found, json: found}.print(std.out, f)
	})
}

// inspectOne looks at an index itself, unless a platform is asked for.
func inspectOne(ctx context.Context, b *builder.Builder, ref, platform string) (builder.ImageDetail, error) {
	if platform == "" {
		return b.Inspect(ctx, ref)
	}
	return b.InspectFor(ctx, ref, platform)
}

func newInspection(d builder.ImageDetail) inspection {
	tags, digests := []string{}, []string{}
	for _, name := range d.Names {
		repository, tag, dig := splitName(name)
		if tag != "" {
			tags = append(tags, repository+":"+tag)
		}
		if dig == "" {
			dig = d.Digest.String()
		}
		digests = append(digests, repository+"@"+dig)
	}
	return inspection{
		ID: d.ID, Digest: d.Digest, RepoTags: tags, RepoDigests: unique(digests), Created: d.Created,
		Author: d.Author, machine: machine{d.Architecture, d.Variant, d.OS}, Size: d.Size,
		Config: d.Config, RootFS: rootFS{Type: "layers", Layers: d.Layers}, Labels: d.Config.Labels, Annotations: d.Annotations,
		ManifestType: d.Manifest.MediaType, History: d.History, Manifests: d.Index,
	}
}

// unique drops repetitions and keeps the order.
func unique(list []string) []string {
	seen := map[string]bool{}
	kept := []string{}
	for _, s := range list {
		if !seen[s] {
			kept = append(kept, s)
		}
		seen[s] = true
	}
	return kept
}
