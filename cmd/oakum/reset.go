package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

func resetCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "system reset",
		Usage: "remove the image store, with all images and the layer cache",
		Description: "The images of Podman and Buildah in the same store go too. It is refused while they have containers there, " +
			"and while another oakum is using the store. Other files in the store's directory stay, such as Podman's volumes.",
		Flags: withStore([]cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "say that this is meant; without it nothing is removed"},
		}),
		Action: func(c *cli.Context) error { return reset(c, std) },
	}
}

func reset(c *cli.Context, std streams) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	if !c.Bool("force") {
		return usagef("system reset removes every image of the store, Podman's too; give --force if that is meant")
	}
	opts, err := withStoreOf(c, builder.Options{})
	if err != nil {
		return err
	}
	if err := builder.RemoveStore(c.Context, opts); err != nil {
		return err
	}
	fmt.Fprintln(std.out, "Removed the store")
	return nil
}
