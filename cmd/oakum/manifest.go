package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/index"
)

// manifestCommands are the commands for indexes, which podman and docker call manifests.
func manifestCommands(std streams) []*cli.Command {
	return []*cli.Command{
		manifestCreateCommand(std), manifestAddCommand(std), manifestAnnotateCommand(std), manifestInspectCommand(std),
		manifestRemoveCommand(std), manifestRmCommand(std), manifestPushCommand(std),
	}
}

const membersUsage = "An IMAGE is one of the store, by name or id, or one that stays in its registry, of which only the manifest is read: " +
	"a name that the store has not, or docker://REGISTRY/NAME[:TAG|@DIGEST]."

func manifestCreateCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "manifest create",
		Usage:       "make an index of images for several platforms",
		ArgsUsage:   "INDEX [IMAGE...]",
		Description: membersUsage + " Prints the index's id.",
		Flags: withStore([]cli.Flag{
			&cli.BoolFlag{Name: "amend", Aliases: []string{"a"}, Usage: "add the images to the index when it is there already"},
			&cli.BoolFlag{Name: "replace", Usage: "make it anew when it is there already"},
			&cli.StringFlag{Name: "format", Value: "oci", Usage: "`oci|docker` make an OCI index, or a manifest list of Docker's"},
		}, memberFlags(), registryFlags()),
		Action: func(c *cli.Context) error { return manifestCreate(c, std) },
	}
}

// memberFlags are the flags for images that are added.
func memberFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: "add all images of an IMAGE that is an index itself, not that for this machine alone"},
		&cli.StringSliceFlag{Name: "annotation", Usage: "add the annotation `NAME=VALUE`: with create to the index, else to what it says of the images; repeatable"},
	}
}

// saidFlags are the flags for what an index says of an image.
func saidFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "os", Usage: "let the index say that the images are for the system `OS`"},
		&cli.StringFlag{Name: "arch", Usage: "... for the processor `ARCH`"},
		&cli.StringFlag{Name: "variant", Usage: "... for its `VARIANT`"},
		&cli.StringFlag{Name: "os-version", Usage: "... for the `VERSION` of the system"},
		&cli.StringSliceFlag{Name: "os-features", Usage: "... with the `FEATURE` of the system; repeatable"},
	}
}

func manifestCreate(c *cli.Context, std streams) error {
	if err := wantArgs(c, 1, -1); err != nil {
		return err
	}
	edit := index.Edit{Make: "new"}
	switch {
	case c.Bool("amend") && c.Bool("replace"):
		return usagef("--amend and --replace exclude each other")
	case c.Bool("amend"):
		edit.Make = "amend"
	case c.Bool("replace"):
		edit.Make = "replace"
	}
	format, err := oneOf(c, "format", "oci", "docker")
	if err != nil {
		return err
	}
	edit.Docker = format == "docker"
	if edit.Annotations, err = pairs(c, "annotation"); err != nil {
		return err
	}
	for _, ref := range c.Args().Tail() {
		edit.Add = append(edit.Add, index.Member{Ref: ref, All: c.Bool("all")})
	}
	err = editIndex(c, std, c.Args().First(), edit)
	if errors.Is(err, builder.ErrInUse) && edit.Make == "new" {
		return fmt.Errorf("%w: --amend adds to it, --replace makes it anew", err)
	}
	return err
}

// pairs reads the NAME=VALUE of a flag; nil without one.
func pairs(c *cli.Context, flag string) (map[string]string, error) {
	texts := values(c, flag)
	if len(texts) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usagef("--%s %q is not NAME=VALUE", flag, text)
		}
		m[name] = value
	}
	return m, nil
}

// editIndex changes an index by images that may be in registries, and prints the id of what it is then.
func editIndex(c *cli.Context, std streams, ref string, edit index.Edit) (err error) {
	reg, err := registry(c)
	if err != nil {
		return err
	}
	var remote []string
	for _, m := range edit.Add {
		remote = append(remote, m.Ref)
	}
	if reg, err = forOne(reg, remote, "name the images by their registry: docker://REGISTRY/NAME"); err != nil {
		return err
	}
	b, err := open(c, builder.Options{Events: newProgress(std.raw.err, false).event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	return printEdited(c.Context, b, std, ref, edit, reg)
}

func printEdited(ctx context.Context, b *builder.Builder, std streams, ref string, edit index.Edit, reg builder.Registry) error {
	img, err := b.EditIndex(ctx, ref, edit, reg)
	if err == nil {
		_, err = fmt.Fprintln(std.out, img.ID)
	}
	return err
}

func manifestAddCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "manifest add",
		Usage:       "add images to an index",
		ArgsUsage:   "INDEX IMAGE...",
		Description: membersUsage + " Prints the index's id, which is another one then.",
		Flags:       withStore(memberFlags(), saidFlags(), registryFlags()),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, -1); err != nil {
				return err
			}
			said, err := readSaid(c)
			if err != nil {
				return err
			}
			var edit index.Edit
			for _, ref := range c.Args().Tail() {
				said.Ref, said.All = ref, c.Bool("all")
				edit.Add = append(edit.Add, said)
			}
			return editIndex(c, std, c.Args().First(), edit)
		},
	}
}

// readSaid reads the saidFlags and --annotation.
func readSaid(c *cli.Context) (m index.Member, err error) {
	if m.Annotations, err = pairs(c, "annotation"); err != nil {
		return m, err
	}
	p := imgspec.Platform{OS: c.String("os"), Architecture: c.String("arch"), Variant: c.String("variant"), OSVersion: c.String("os-version"), OSFeatures: values(c, "os-features")}
	if p.OS != "" || p.Architecture != "" || p.Variant != "" || p.OSVersion != "" || len(p.OSFeatures) > 0 {
		m.Platform = &p
	}
	return m, nil
}

func manifestAnnotateCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "manifest annotate",
		Usage:       "change what an index says of an image, or annotate the index",
		ArgsUsage:   "INDEX [IMAGE|DIGEST]",
		Description: "The image is given by its digest, or as one of the store. With --index it is left out. Prints the index's id, which is another one then.",
		Flags: withStore([]cli.Flag{
			&cli.StringSliceFlag{Name: "annotation", Usage: "add the annotation `NAME=VALUE`; repeatable"},
			&cli.BoolFlag{Name: "index", Usage: "annotate the index itself"},
		}, saidFlags()),
		Action: func(c *cli.Context) error { return manifestAnnotate(c, std) },
	}
}

func manifestAnnotate(c *cli.Context, std streams) error {
	least := 2
	if c.Bool("index") {
		least = 1
	}
	if err := wantArgs(c, least, least); err != nil {
		return err
	}
	said, err := readSaid(c)
	if err != nil {
		return err
	}
	edit := index.Edit{Annotations: said.Annotations}
	if !c.Bool("index") {
		edit = index.Edit{Add: []index.Member{said}}
	} else if said.Platform != nil {
		return usagef("an index is of no platform; name the image that is meant")
	}
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		for i := range edit.Add {
			ref := c.Args().Get(1)
			if edit.Add[i].Ref = ref; digest.Digest(ref).Validate() != nil {
				d, err := b.Inspect(ctx, ref)
				if err != nil {
					return fmt.Errorf("%w; one that is not in the store is named by the digest that oakum manifest inspect shows", err)
				}
				edit.Add[i].Ref = d.Digest.String()
			}
		}
		return printEdited(ctx, b, std, c.Args().First(), edit, builder.Registry{})
	})
}

func manifestInspectCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "manifest inspect",
		Usage:       "show an index of the store",
		ArgsUsage:   "INDEX",
		Description: "Prints the index as JSON, as a registry would have it.",
		Flags:       withStore(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
				d, err := inspectIndex(ctx, b, c.Args().First())
				if err != nil {
					return err
				}
				list := imgspec.Index{MediaType: d.Manifest.MediaType, Manifests: d.Index, Annotations: d.Annotations}
				list.SchemaVersion = 2
				text, err := json.MarshalIndent(list, "", "  ")
				if err == nil {
					_, err = fmt.Fprintf(std.out, "%s\n", text)
				}
				return err
			})
		},
	}
}

// inspectIndex finds an index, and no other image.
func inspectIndex(ctx context.Context, b *builder.Builder, ref string) (builder.ImageDetail, error) {
	d, err := b.Inspect(ctx, ref)
	if err == nil && d.Index == nil {
		err = fmt.Errorf("%s is an image, not an index", ref)
	}
	return d, err
}

func manifestRemoveCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "manifest remove",
		Usage:       "take images out of an index",
		ArgsUsage:   "INDEX DIGEST...",
		Description: "The images stay where they are. Prints the index's id, which is another one then.",
		Flags:       withStore(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, -1); err != nil {
				return err
			}
			var edit index.Edit
			for _, text := range c.Args().Tail() {
				d, err := digest.Parse(text)
				if err != nil {
					return usagef("%q is not the digest of an image: %v; oakum manifest inspect shows them", text, err)
				}
				edit.Remove = append(edit.Remove, d)
			}
			return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
				return printEdited(ctx, b, std, c.Args().First(), edit, builder.Registry{})
			})
		},
	}
}

func manifestRmCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "manifest rm",
		Usage:       "remove indexes from the store",
		ArgsUsage:   "INDEX...",
		Description: "Images that have no name of their own go with them. Prints what was untagged and deleted.",
		Flags:       withStore(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1); err != nil {
				return err
			}
			return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
				for _, ref := range c.Args().Slice() {
					if _, err := inspectIndex(ctx, b, ref); err != nil {
						return err
					}
				}
				for _, ref := range c.Args().Slice() {
					removed, err := b.Remove(ctx, ref, builder.RemoveOptions{})
					printRemoved(std, removed.Untagged, removed.Deleted)
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func manifestPushCommand(std streams) *cli.Command {
	cmd := pushCommand(std)
	cmd.Name, cmd.Aliases = "manifest push", nil
	cmd.Usage, cmd.ArgsUsage = "send an index and its images to a registry or an archive", "INDEX [DESTINATION]"
	cmd.Description = "Images that stayed in a registry are copied from there: their layers stay where they are when that is the registry, and in the index's own repository " +
		"nothing is. " + cmd.Description
	cmd.Flags = append(cmd.Flags, &cli.BoolFlag{Name: "all", Value: true, Usage: "send the images too; with --all=false the index alone, whose images must be there"},
		&cli.BoolFlag{Name: "rm", Aliases: []string{"p", "purge"}, Usage: "remove the index from the store when it is sent"})
	cmd.Action = func(c *cli.Context) error {
		return push(c, std, func(ctx context.Context, b *builder.Builder) error {
			_, err := inspectIndex(ctx, b, c.Args().First())
			return err
		})
	}
	return cmd
}
