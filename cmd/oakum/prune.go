package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/usage"
)

const usageFilterUsage = "`KEY=VALUE` those alone of type=layer|cachemount|records (or BuildKit's regular, exec.cachemount, internal), that were last used before until=TIME " +
	"or longer ago than until=24h, whose id or parent begins with VALUE, whose description is VALUE, or that are inuse, shared, private, mutable, immutable or reclaimable; " +
	"!= instead of = takes the others, and ~= is followed by a regular expression; repeatable, and all must hold"

func pruneCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:    "prune",
		Aliases: []string{"builder prune", "buildx prune"},
		Usage:   "empty the caches: remove the layers of build steps that no image uses, and the caches of RUN --mount=type=cache",
		Description: "Images stay; remove those with rmi first, if their layers are to go too. What a running build uses stays as well, and builds may begin meanwhile. " +
			"With a limit (--max-used-space, --min-free-space, --reserved-space) what was last used longest ago goes first, and no more than is needed.",
		Flags: withStore([]cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "forget what is known of the layers of images too, so that the next build does every step"},
			&cli.StringSliceFlag{Name: "filter", Usage: usageFilterUsage},
			&cli.DurationFlag{Name: "keep-duration", Usage: "keep what was used within `DURATION`, such as 24h; the same as --filter until=DURATION"},
			&cli.StringFlag{Name: "max-used-space", Usage: "remove until the caches take at most `SIZE`, such as 20GB; 0 empties them"},
			&cli.StringFlag{Name: "min-free-space", Usage: "remove until the file system has `SIZE` left, which is more than 0"},
			&cli.StringFlag{Name: "reserved-space", Aliases: []string{"keep-storage"}, Usage: "let the caches have `SIZE` whatever the other limits say; alone, remove down to that, and with 0 everything"},
			&cli.BoolFlag{Name: "dry-run", Usage: "remove nothing, and say what would be"},
			&cli.BoolFlag{Name: "verbose", Usage: "list what is removed"},
			&cli.StringFlag{Name: "format", Usage: "`json|TEMPLATE` print this of what is removed; the fields are those of du"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "accepted for docker's sake: there is no question to answer"},
		}),
		Action: func(c *cli.Context) error { return prune(c, std) },
	}
}

// prunedJSON is prune --format json.
type prunedJSON struct {
	Layers, Caches int
	Size           int64
	DryRun         bool
	Items          []usageJSON
}

func prune(c *cli.Context, std streams) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	opts, err := readPrune(c)
	if err != nil {
		return err
	}
	f, err := parseFormat(c.String("format"), usageColumns)
	if err != nil {
		return err
	}
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		p, err := b.Prune(ctx, opts)
		if err != nil {
			return err
		}
		rows := listUsage(p.Items)
		if c.String("format") != "" {
			rows.json = prunedJSON{p.Layers, p.Caches, p.Size, opts.DryRun, usageRowsJSON(p.Items)}
			return rows.print(std.out, f)
		}
		if c.Bool("verbose") && len(p.Items) > 0 {
			if err := rows.print(std.out, f); err != nil {
				return err
			}
		}
		did := "Removed"
		if opts.DryRun {
			did = "Would remove"
		}
		_, err = io.WriteString(std.out, did+" "+prunedText(p.Layers, p.Caches, p.Size)+"\n")
		return err
	})
}

// prunedText says how much was removed.
func prunedText(layers, caches int, size int64) string {
	return fmt.Sprintf("%d layers and %d caches, %s", layers, caches, humanSize(size))
}

// readPrune reads what is to be removed.
func readPrune(c *cli.Context) (o usage.Options, err error) {
	r := pruneRule{
		All: c.Bool("all"), Filter: values(c, "filter"),
		MaxUsedSpace: c.String("max-used-space"), MinFreeSpace: c.String("min-free-space"), ReservedSpace: c.String("reserved-space"),
	}
	for _, name := range []string{"max-used-space", "min-free-space", "reserved-space"} {
		if c.IsSet(name) && c.String(name) == "" { // as of a variable that is not set: without a limit all goes
			return o, usagef("--%s needs a size such as 512MB or 20GB", name)
		}
	}
	if o, err = r.options("--"); err != nil {
		return o, usagef("%v", err)
	}
	o.DryRun = c.Bool("dry-run")
	if o.KeepDuration = c.Duration("keep-duration"); o.KeepDuration < 0 {
		return o, usagef("--keep-duration must not be negative")
	}
	return o, nil
}

// pruneRule is what is to be removed, as it is written.
type pruneRule struct {
	Filter        []string `toml:"filter"`
	All           bool     `toml:"all"`
	KeepDuration  string   `toml:"keep-duration"`
	MaxUsedSpace  string   `toml:"max-used-space"`
	MinFreeSpace  string   `toml:"min-free-space"`
	ReservedSpace string   `toml:"reserved-space"`
}

// options reads a rule. Before the names in errors stands a prefix.
func (r pruneRule) options(prefix string) (usage.Options, error) {
	o := usage.Options{All: r.All}
	for _, text := range r.Filter {
		f, err := usage.ParseFilter(text, time.Now())
		if err != nil {
			return o, fmt.Errorf("%sfilter %s: %w", prefix, display.Line(text), err)
		}
		o.Filter = append(o.Filter, f)
	}
	if r.KeepDuration != "" {
		var err error
		if o.KeepDuration, err = time.ParseDuration(r.KeepDuration); err != nil || o.KeepDuration <= 0 {
			return o, fmt.Errorf("%skeep-duration %q is no time such as 24h", prefix, r.KeepDuration)
		}
	}
	return o, r.sizes(prefix, &o)
}

// sizes reads the limits. To usage.Options 0 is no limit, and without one everything goes. That is what a
// 0 says that is written, too, but for those that are refused here.
func (r pruneRule) sizes(prefix string, o *usage.Options) error {
	for _, size := range []struct {
		name, text string
		to         *int64
	}{
		{"max-used-space", r.MaxUsedSpace, &o.MaxUsedSpace}, {"min-free-space", r.MinFreeSpace, &o.MinFreeSpace}, {"reserved-space", r.ReservedSpace, &o.ReservedSpace},
	} {
		if size.text == "" {
			continue
		}
		bytes, err := units.RAMInBytes(size.text)
		if err != nil || bytes < 0 {
			return fmt.Errorf("%s%s %q is no size such as 512MB or 20GB", prefix, size.name, size.text)
		}
		*size.to = bytes
	}
	switch {
	case r.MinFreeSpace != "" && o.MinFreeSpace == 0:
		return fmt.Errorf("%smin-free-space %q asks for nothing, since that much is always free: leave it away; alone it would empty the caches", prefix, r.MinFreeSpace)
	case r.MaxUsedSpace != "" && o.MaxUsedSpace == 0 && o.MinFreeSpace > 0:
		return fmt.Errorf("%smax-used-space %q lets the caches have nothing, whatever is free: leave it or %smin-free-space away", prefix, r.MaxUsedSpace, prefix)
	}
	return nil
}
