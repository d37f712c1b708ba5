package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

func imagePruneCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "image prune",
		Usage: "remove the images that have no name",
		Description: "Prints what was untagged and deleted. Images that something uses stay. What build steps made stays in the layer cache, " +
			"which oakum prune empties.",
		Flags: withStore([]cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "remove those with names too, all that no container uses; it needs --force"},
			&cli.StringSliceFlag{Name: "filter", Usage: filterUsage},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "do not ask: without --all there is no question"},
		}),
		Action: func(c *cli.Context) error { return imagePrune(c, std) },
	}
}

func imagePrune(c *cli.Context, std streams) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	only, err := readFilters(values(c, "filter"))
	if err != nil {
		return err
	}
	all := c.Bool("all")
	if all && !c.Bool("force") {
		return usagef("image prune --all removes every image that no container uses, Podman's too; give --force if that is meant")
	}
	if !all {
		if only.dangling != nil && !*only.dangling {
			return usagef("image prune --filter dangling=false: without --all the images without a name go, which this filter leaves out; --all --force --filter dangling=false removes those with names that no container uses")
		}
		nameless := true
		only.dangling = &nameless
	}
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		images, err := only.images(ctx, b)
		if err != nil {
			return err
		}
		var failed []error
		for _, img := range removable(images) {
			removed, err := b.Remove(ctx, img.ID, builder.RemoveOptions{Force: all, Unnamed: !all})
			printRemoved(std, removed.Untagged, removed.Deleted)
			if !errors.Is(err, builder.ErrInUse) && !errors.Is(err, builder.ErrImageNotFound) { // another may have removed it
				failed = append(failed, err)
			}
		}
		return errors.Join(failed...)
	})
}
