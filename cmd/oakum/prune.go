package main

import (
	"context"
	"fmt"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

func pruneCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:    "prune",
		Aliases: []string{"builder prune", "buildx prune"},
		Usage:   "empty the layer cache: remove the layers of build steps that no image uses",
		Description: "Images stay; remove those with rmi first, if their layers are to go too. " +
			"It is refused while another oakum is using the store.",
		Flags: withStore([]cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "accepted for docker's sake: there is no question to answer"},
		}),
		Action: func(c *cli.Context) error { return prune(c, std) },
	}
}

func prune(c *cli.Context, std streams) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		p, err := b.Prune(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "Removed %d layers, %s\n", p.Layers, units.HumanSize(float64(p.Size)))
		return nil
	})
}
