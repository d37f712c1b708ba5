package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

func imagesCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:    "images",
		Aliases: []string{"ls", "image ls", "image list"},
		Usage:   "list the images of the store",
		Description: "Template fields of --format: .Repository .Tag .ID .Digest .Names .CreatedSince .CreatedAt .Size. " +
			"A format that begins with \"table \" gives a table with headings.",
		Flags: withStore([]cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`json|TEMPLATE` print this instead of a table"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole ids"},
		}),
		Action: func(c *cli.Context) error { return images(c, std) },
	}
}

// imageRow is a line of the table, and what a template of images sees.
type imageRow struct {
	Repository, Tag, ID, Digest, CreatedSince, CreatedAt, Size string
	Names                                                      []string
}

// imageJSON is an entry of images --format json, with the keys of podman's.
type imageJSON struct {
	ID        string `json:"Id"`
	Names     []string
	Digest    string
	Size      int64
	Created   int64 // seconds since 1970
	CreatedAt time.Time
}

func images(c *cli.Context, std streams) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	f, err := parseFormat(c.String("format"), "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}")
	if err != nil {
		return err
	}
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		all, err := b.Images(ctx)
		if err != nil {
			return err
		}
		if c.Bool("quiet") {
			for _, img := range all {
				fmt.Fprintln(std.out, displayID(img.ID, c.Bool("no-trunc")))
			}
			return nil
		}
		return listImages(all, c.Bool("no-trunc")).print(std.out, f)
	})
}

// listImages makes a row for each name of each image.
func listImages(all []builder.Image, whole bool) list[imageRow] {
	var rows []imageRow
	entries := []imageJSON{}
	for _, img := range all {
		entries = append(entries, imageJSON{
			ID: img.ID, Names: append([]string{}, img.Names...), Digest: img.Digest.String(),
			Size: img.Size, Created: img.Created.Unix(), CreatedAt: img.Created,
		})
		row := imageRow{
			ID: displayID(img.ID, whole), Digest: img.Digest.String(), Names: img.Names,
			CreatedSince: ago(img.Created), CreatedAt: stamp(img.Created), Size: humanSize(img.Size),
		}
		names := img.Names
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			repository, tag, _ := splitName(name)
			row.Repository, row.Tag = orNone(repository), orNone(tag)
			rows = append(rows, row)
		}
	}
	headings := imageRow{
		Repository: "REPOSITORY", Tag: "TAG", ID: "IMAGE ID", Digest: "DIGEST", CreatedSince: "CREATED",
		CreatedAt: "CREATED AT", Size: "SIZE", Names: []string{"NAMES"},
	}
	return list[imageRow]{headings: headings, rows: rows, json: entries}
}

// displayID is an id as the tables show it: short, or whole with its algorithm.
func displayID(id string, whole bool) string {
	if whole {
		return "sha256:" + id
	}
	return shortID(id)
}

func tagCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "tag",
		Aliases:   []string{"image tag"},
		Usage:     "add names to an image",
		ArgsUsage: "IMAGE NAME[:TAG]...",
		Flags:     withStore(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, -1); err != nil {
				return err
			}
			return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
				return b.Tag(ctx, c.Args().First(), c.Args().Tail()...)
			})
		},
	}
}

func rmiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "rmi",
		Aliases:     []string{"rm", "image rm"},
		Usage:       "remove names, and images that lose their last one",
		ArgsUsage:   "IMAGE...",
		Description: "Prints what was untagged and deleted.",
		Flags: withStore([]cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "remove an image given by its id with all its names, and one that a container uses"},
		}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1); err != nil {
				return err
			}
			return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
				return removeImages(ctx, b, std, c.Args().Slice(), c.Bool("force"))
			})
		},
	}
}

// removeImages removes all it can and reports every failure.
func removeImages(ctx context.Context, b *builder.Builder, std streams, refs []string, force bool) error {
	var failed []error
	for _, ref := range refs {
		removed, err := b.Remove(ctx, ref, builder.RemoveOptions{Force: force})
		for _, name := range removed.Untagged {
			fmt.Fprintf(std.out, "Untagged: %s\n", name)
		}
		for _, id := range removed.Deleted {
			fmt.Fprintf(std.out, "Deleted: %s\n", id)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
