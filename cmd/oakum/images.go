package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
)

func imagesCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "images",
		Aliases:   []string{"ls", "image ls", "image list"},
		Usage:     "list the images of the store",
		ArgsUsage: "[NAME]",
		Description: "With NAME, a name, the end of one, or a pattern such as registry.example/*, those alone that have such a name. " +
			"Template fields of --format: .Repository .Tag .ID .Digest .Names .CreatedSince .CreatedAt .Size. " +
			"A format that begins with \"table \" gives a table with headings.",
		Flags: withStore([]cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "show the images of indexes too that have no name of their own"},
			&cli.BoolFlag{Name: "digests", Usage: "show the digests of the manifests too"},
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: filterUsage},
			&cli.StringFlag{Name: "format", Usage: "`json|TEMPLATE` print this instead of a table"},
			&cli.BoolFlag{Name: "noheading", Aliases: []string{"n"}, Usage: "leave the headings of the table away"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole ids"},
			&cli.StringFlag{Name: "sort", Value: "created", Usage: "`created|id|repository|size|tag` what to sort by"},
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
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	columns := "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	if c.Bool("digests") {
		columns = strings.Replace(columns, "{{.Tag}}", "{{.Tag}}\t{{.Digest}}", 1)
	}
	f, err := parseFormat(c.String("format"), columns)
	if err != nil {
		return err
	}
	f.header = f.header && !c.Bool("noheading")
	only, err := readFilters(values(c, "filter"))
	if err != nil {
		return err
	}
	only.name = c.Args().First()
	order, err := oneOf(c, "sort", "created", "id", "repository", "size", "tag")
	if err != nil {
		return err
	}
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		all, err := only.images(ctx, b)
		if err != nil {
			return err
		}
		if !c.Bool("all") {
			all = slices.DeleteFunc(all, within)
		}
		sortImages(all, order)
		if c.Bool("quiet") {
			for _, img := range all {
				fmt.Fprintln(std.out, displayID(img.ID, c.Bool("no-trunc")))
			}
			return nil
		}
		table := listImages(all, c.Bool("no-trunc"))
		sortRows(table.rows, order)
		return table.print(std.out, f)
	})
}

// within says that an image is only a part of an index: it stays and goes with that.
func within(img builder.Image) bool { return len(img.Within) > 0 && len(img.Names) == 0 }

// removable leaves out the images that go with an index, and brings those that can only go after one
// behind it.
func removable(all []builder.Image) []builder.Image {
	all = slices.DeleteFunc(all, within)
	slices.SortStableFunc(all, func(a, b builder.Image) int { return cmp.Compare(len(a.Within), len(b.Within)) })
	return all
}

// sortImages sorts what is newest first already.
func sortImages(all []builder.Image, order string) {
	switch order {
	case "id":
		slices.SortFunc(all, func(a, b builder.Image) int { return cmp.Compare(a.ID, b.ID) })
	case "size":
		slices.SortStableFunc(all, func(a, b builder.Image) int { return cmp.Compare(a.Size, b.Size) })
	}
}

// sortRows sorts the lines of the table by what an image can have several of.
func sortRows(rows []imageRow, order string) {
	switch order {
	case "repository":
		slices.SortStableFunc(rows, func(a, b imageRow) int { return cmp.Compare(a.Repository, b.Repository) })
	case "tag":
		slices.SortStableFunc(rows, func(a, b imageRow) int { return cmp.Compare(a.Tag, b.Tag) })
	}
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
			if err := checkNames("name", c.Args().Tail()); err != nil {
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
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "remove all images, with all their names"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "remove an image given by its id with all its names"},
			&cli.BoolFlag{Name: "ignore", Aliases: []string{"i"}, Usage: "an image that is not there is no error"},
		}),
		Action: func(c *cli.Context) error {
			if all := c.Bool("all"); all && c.NArg() > 0 {
				return usagef("--all removes all images; name none beside it")
			} else if err := wantArgs(c, 1, -1); err != nil && !all {
				return err
			}
			return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
				opts := builder.RemoveOptions{Force: c.Bool("force")}
				refs := c.Args().Slice()
				if c.Bool("all") {
					all, err := b.Images(ctx)
					if err != nil {
						return err
					}
					opts.Force = true
					for _, img := range removable(all) {
						refs = append(refs, img.ID)
					}
				}
				return removeImages(ctx, b, std, refs, opts, c.Bool("ignore"))
			})
		},
	}
}

// removeImages removes all it can and reports every failure, with ignore but for images
// that are not there.
func removeImages(ctx context.Context, b *builder.Builder, std streams, refs []string, opts builder.RemoveOptions, ignore bool) error {
	var failed []error
	for _, ref := range refs {
		removed, err := b.Remove(ctx, ref, opts)
		printRemoved(std, removed.Untagged, removed.Deleted)
		if !ignore || !errors.Is(err, builder.ErrImageNotFound) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func printRemoved(std streams, untagged, deleted []string) {
	for _, name := range untagged {
		fmt.Fprintf(std.out, "Untagged: %s\n", display.Line(name))
	}
	for _, id := range deleted {
		fmt.Fprintf(std.out, "Deleted: %s\n", id)
	}
}
