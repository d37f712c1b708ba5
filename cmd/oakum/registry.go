package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

func pushCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "push",
		Aliases:   []string{"image push"},
		Usage:     "send an image to a registry or an archive",
		ArgsUsage: "IMAGE [DESTINATION]",
		Description: "DESTINATION is a name in a registry (default: the image's own name) or a reference with a transport, " +
			"such as oci-archive:FILE:NAME, docker-archive:FILE:NAME, oci:DIR:NAME or dir:DIR. Prints the manifest's digest.",
		Flags: withStore([]cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "`oci|docker` convert the image to this format; v2s2 is another name of docker"},
			&cli.StringFlag{Name: "digestfile", Usage: "also write the manifest's digest to `FILE`"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only the digest"},
		}, compressionFlags(), registryFlags()),
		Action: func(c *cli.Context) error { return push(c, std, nil) },
	}
}

// push sends an image that check, unless it is nil, has nothing against.
func push(c *cli.Context, std streams, check func(context.Context, *builder.Builder) error) (err error) {
	if err := wantArgs(c, 1, 2); err != nil {
		return err
	}
	var opts builder.PushOptions
	if opts.Registry, err = registry(c); err != nil {
		return err
	}
	if opts.Compression, err = readCompression(c); err != nil {
		return err
	}
	opts.IndexOnly = c.IsSet("all") && !c.Bool("all")
	if c.IsSet("format") {
		if opts.Format, err = oneOf(c, "format", "oci", "docker", "v2s2"); err != nil {
			return err
		}
		if opts.Format == "v2s2" {
			opts.Format = "docker"
		}
	}
	b, err := open(c, builder.Options{Events: newProgress(std.raw.err, c.Bool("quiet")).event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	if check != nil {
		if err := check(c.Context, b); err != nil {
			return err
		}
	}
	sent, err := b.Push(c.Context, c.Args().Get(0), c.Args().Get(1), opts)
	if err != nil {
		return err
	}
	if file := c.String("digestfile"); file != "" {
		if err := os.WriteFile(file, []byte(sent.Digest), 0o666); err != nil {
			return fmt.Errorf("--digestfile: %w", err)
		}
	}
	if c.Bool("rm") {
		if _, err := b.Remove(c.Context, c.Args().Get(0), builder.RemoveOptions{}); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(std.out, sent.Digest)
	return err
}

func pullCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "pull",
		Aliases:     []string{"image pull"},
		Usage:       "fetch images from a registry or an archive",
		ArgsUsage:   "IMAGE...",
		Description: "IMAGE is a name, or a reference with a transport such as oci-archive:FILE. Prints the images' ids.",
		Flags: withStore([]cli.Flag{
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only the ids"},
		}, platformFlags("choose the image for"), registryFlags()),
		Action: func(c *cli.Context) error { return pull(c, std) },
	}
}

func pull(c *cli.Context, std streams) (err error) {
	if err := wantArgs(c, 1, -1); err != nil {
		return err
	}
	var opts builder.PullOptions
	if opts.Registry, err = registry(c); err != nil {
		return err
	}
	if opts.Platform, err = platform(c); err != nil {
		return err
	}
	b, err := open(c, builder.Options{Events: newProgress(std.raw.err, c.Bool("quiet")).event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	for _, ref := range c.Args().Slice() {
		img, err := b.Pull(c.Context, ref, opts)
		if err != nil {
			return err
		}
		fmt.Fprintln(std.out, img.ID)
	}
	return nil
}
