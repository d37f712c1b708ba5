package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/archive"
)

func saveCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "save",
		Aliases:     []string{"image save"},
		Usage:       "write images to an archive",
		ArgsUsage:   "IMAGE...",
		Description: "Writes the images to one archive, on standard output or in a file, which oakum load, podman load and docker load read. An image that is given by its name has that name there, one that is given by its id has none.",
		Flags: withStore([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` instead of standard output"},
			&cli.StringFlag{Name: "format", Value: "docker-archive", Usage: "`docker-archive|oci-archive` what docker save writes, which has no place for images of several platforms, or an OCI image layout as a tar"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print warnings only"},
		}),
		Action: func(c *cli.Context) error { return save(c, std) },
	}
}

func save(c *cli.Context, std streams) (err error) {
	if err := wantArgs(c, 1, -1); err != nil {
		return err
	}
	var opts builder.PushOptions
	if opts.Format, err = oneOf(c, "format", "docker-archive", "oci-archive", "docker", "oci"); err != nil {
		return err
	}
	opts.Format = strings.TrimSuffix(opts.Format, "-archive")
	out := c.String("output")
	if out == "" || out == standardOutput {
		if isTerminal(std.raw.out) {
			return usagef("an archive is not written to a terminal; redirect standard output, or use --output FILE")
		}
		out = standardOutput
	}
	b, err := open(c, builder.Options{Events: newProgress(std.raw.err, c.Bool("quiet")).event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	images, err := saved(c, b)
	if err != nil {
		return err
	}
	return toWhole(out, std, func(w io.Writer) error {
		_, err := b.Save(c.Context, w, opts, images...)
		return err
	})
}

// saved are the images of the arguments, each once, by the names that they were given by.
func saved(c *cli.Context, b *builder.Builder) ([]archive.Image, error) {
	var images []archive.Image
	at := map[string]int{}
	for _, ref := range c.Args().Slice() {
		d, err := b.Inspect(c.Context, ref)
		if err != nil {
			return nil, err
		}
		i, has := at[d.ID]
		if !has {
			i = len(images)
			at[d.ID] = i
			images = append(images, archive.Image{Ref: d.ID})
		}
		if name := archiveName(ref, d.Names); name != ref || slices.Contains(d.Names, ref) {
			images[i].Names = append(images[i].Names, name)
		}
	}
	return images, nil
}

func loadCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "load",
		Aliases:     []string{"image load"},
		Usage:       "read the images of an archive into the store",
		Description: "Reads all images of an archive, compressed or not, from standard input or a file: what oakum save, podman save, docker save or docker buildx have written. They get the names that they have there, which are printed.",
		Flags: withStore([]cli.Flag{
			&cli.StringFlag{Name: "input", Aliases: []string{"i"}, Usage: "read `FILE` instead of standard input; it may be the directory of an OCI image layout"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only the ids"},
			&cli.StringFlag{Name: "signature-policy", Usage: "take the policy of signatures from `FILE` instead of policy.json"},
		}, platformFlags("choose the image for")),
		Action: func(c *cli.Context) error { return load(c, std) },
	}
}

func load(c *cli.Context, std streams) (err error) {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	opts := builder.PullOptions{Registry: builder.Registry{SignaturePolicy: c.String("signature-policy")}}
	if opts.Platform, err = platform(c); err != nil {
		return err
	}
	in := std.in
	if name := c.String("input"); name != "" && name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	} else if isTerminal(std.in) {
		return usagef("an archive is not read from a terminal; redirect standard input, or use --input FILE")
	}
	b, err := open(c, builder.Options{Events: newProgress(std.raw.err, c.Bool("quiet")).event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	images, err := b.Load(c.Context, in, opts)
	for _, img := range images {
		switch {
		case c.Bool("quiet"):
			fmt.Fprintln(std.out, img.ID)
		case len(img.Names) == 0:
			fmt.Fprintf(std.out, "Loaded image: sha256:%s\n", img.ID)
		}
		for _, name := range img.Names {
			if !c.Bool("quiet") {
				fmt.Fprintf(std.out, "Loaded image: %s\n", name)
			}
		}
	}
	return err
}
