package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/usage"
)

func duCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:    "du",
		Aliases: []string{"buildx du", "system df"},
		Usage:   "show what the store has on disk",
		Description: "Sizes are what files take on disk, each file counted once: the last line is what du -sx says of the store's directory when nothing else is going on in it. " +
			"The apparent size is how long the files are. Shared are layers that an image or a container has too, private are those of the layer cache alone; of these and of caches, reclaimable is what oakum prune would remove. " +
			"Layers are marked as used by builds that come upon them, to the minute. " +
			"Template fields of --format: .Type .ID .Parent .Description .Size .ApparentSize .Shared .InUse .Reclaimable .Created .LastUsed.",
		Flags: withStore([]cli.Flag{
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "list each layer, cache, image and so on, what was used last first"},
			&cli.StringSliceFlag{Name: "filter", Usage: usageFilterUsage},
			&cli.StringFlag{Name: "format", Usage: "`json|TEMPLATE` print this of each instead of tables"},
		}),
		Action: func(c *cli.Context) error { return du(c, std) },
	}
}

func du(c *cli.Context, std streams) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	f, err := parseFormat(c.String("format"), usageColumns)
	if err != nil {
		return err
	}
	var filters []usage.Filter
	for _, text := range values(c, "filter") {
		filter, err := usage.ParseFilter(text, time.Now())
		if err != nil {
			return usagef("--filter %v", err)
		}
		filters = append(filters, filter)
	}
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		found, err := b.DiskUsage(ctx, filters...)
		if err != nil {
			return err
		}
		rows := listUsage(found.Items)
		if c.String("format") != "" {
			rows.json = reportJSON{found.Root, found.Size, found.Apparent, found.Free, usageRowsJSON(found.Items)}
			return rows.print(std.out, f)
		}
		if c.Bool("verbose") {
			if err := rows.print(std.out, f); err != nil {
				return err
			}
			fmt.Fprintln(std.out)
		}
		return printUsage(std.out, found, len(filters) > 0, time.Now())
	})
}

// usageColumns is the table of items.
const usageColumns = "{{.Type}}\t{{.ID}}\t{{.Size}}\t{{.LastUsed}}\t{{.Shared}}\t{{.Reclaimable}}\t{{.Description}}"

// usageRow is a line of that, and what a template of du sees.
type usageRow struct {
	Type, ID, Parent, Description, Size, ApparentSize, Shared, InUse, Reclaimable, Created, LastUsed string
}

func listUsage(items []usage.Item) list[usageRow] {
	l := list[usageRow]{headings: usageRow{
		"TYPE", "ID", "PARENT", "DESCRIPTION", "SIZE", "APPARENT SIZE", "SHARED", "IN USE", "RECLAIMABLE", "CREATED", "LAST USED",
	}}
	for _, i := range items {
		l.rows = append(l.rows, usageRow{
			Type: string(i.Kind), ID: ellipsisID(i), Parent: shortID(i.Parent), Description: describeItem(i),
			Size: humanSize(i.Size), ApparentSize: humanSize(i.Apparent),
			Shared: strconv.FormatBool(i.Shared), InUse: strconv.FormatBool(i.InUse), Reclaimable: strconv.FormatBool(i.Reclaimable),
			Created: ago(i.Created), LastUsed: ago(i.LastUsed),
		})
	}
	return l
}

// ellipsisID shortens what is a digest.
func ellipsisID(i usage.Item) string {
	switch i.Kind {
	case usage.Layer, usage.Image, usage.CacheMount:
		return shortID(i.ID)
	}
	return i.ID
}

func describeItem(i usage.Item) string {
	switch {
	case i.Kind == usage.Image:
		return fmt.Sprintf("%s (layers: %s, of which no other image has %s)", orNone(i.Description), humanSize(i.OfLayers), humanSize(i.OfLayersAlone))
	case i.Kind == usage.Layer && i.Base:
		return "of a base image"
	case i.Kind == usage.Layer && i.Shared:
		return "of a step, and of an image"
	case i.Kind == usage.Layer:
		return "of a step"
	}
	return i.Description
}

// reportJSON is du --format json, and usageJSON what is in it of an item, with the keys of buildx's.
type reportJSON struct {
	Root                           string
	Size, ApparentSize, FreeOnDisk int64
	Items                          []usageJSON
}

type usageJSON struct {
	ID          string
	Type        string
	Parents     []string
	Description string
	Size        int64 // bytes
	// ApparentSize is how long the files are.
	ApparentSize                              int64
	Shared, InUse, Reclaimable, Mutable       bool
	CreatedAt, LastUsedAt                     *time.Time `json:",omitempty"`
	SizeOfLayers, SizeOfLayersOfNoOtherImages int64      `json:",omitempty"`
}

func usageRowsJSON(items []usage.Item) []usageJSON {
	rows := []usageJSON{}
	known := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	for _, i := range items {
		row := usageJSON{
			ID: i.ID, Type: string(i.Kind), Parents: []string{}, Description: i.Description, Size: i.Size, ApparentSize: i.Apparent,
			Shared: i.Shared, InUse: i.InUse, Reclaimable: i.Reclaimable, Mutable: i.Kind == usage.CacheMount,
			CreatedAt: known(i.Created), LastUsedAt: known(i.LastUsed), SizeOfLayers: i.OfLayers, SizeOfLayersOfNoOtherImages: i.OfLayersAlone,
		}
		if i.Parent != "" {
			row.Parents = []string{i.Parent}
		}
		rows = append(rows, row)
	}
	return rows
}

// sums are those of a line of du's tables.
type sums struct {
	name                                  string
	count                                 int
	size, apparent, shared, private, free int64
}

func (s *sums) add(i usage.Item) {
	s.count++
	s.size += i.Size
	s.apparent += i.Apparent
	switch {
	case i.Shared:
		s.shared += i.Size
	case i.Kind == usage.Layer || i.Kind == usage.CacheMount:
		s.private += i.Size
	}
	if i.Reclaimable {
		s.free += i.Size
	}
}

// printUsage prints the tables of sums: by what things are, and what may be removed by age.
func printUsage(out io.Writer, r usage.Report, chosen bool, now time.Time) error {
	kinds := []*sums{{name: "layers"}, {name: "caches of RUN"}, {name: "records"}, {name: "images"}, {name: "staging"}, {name: "other"}, {name: "total"}}
	at := map[usage.Kind]int{usage.Layer: 0, usage.CacheMount: 1, usage.Records: 2, usage.Image: 3, usage.Staging: 4, usage.Other: 5}
	ages := []*sums{{name: "hour"}, {name: "day"}, {name: "week"}, {name: "30 days"}, {name: "before"}}
	limits := []time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour}
	for _, i := range r.Items {
		kinds[at[i.Kind]].add(i)
		kinds[6].add(i)
		if !i.Reclaimable {
			continue
		}
		age := 0
		for age < len(limits) && now.Sub(i.LastUsed) >= limits[age] {
			age++
		}
		ages[age].add(i)
	}
	w := tabwriter.NewWriter(out, 0, 2, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tCOUNT\tSIZE\tAPPARENT\tSHARED\tPRIVATE\tRECLAIMABLE")
	for _, s := range kinds {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", s.name, s.count, humanSize(s.size), humanSize(s.apparent), humanSize(s.shared), humanSize(s.private), humanSize(s.free))
	}
	fmt.Fprintln(w, "\nLAST USED WITHIN\tRECLAIMABLE")
	for _, s := range ages {
		fmt.Fprintf(w, "%s\t%s\n", s.name, humanSize(s.free))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if chosen {
		fmt.Fprintf(out, "\n%s of what is there is chosen\n", humanSize(kinds[6].size))
	}
	_, err := fmt.Fprintf(out, "\n%s: %d bytes on disk, %d bytes apparent; %s left on the file system\n", r.Root, r.Size, r.Apparent, humanSize(r.Free))
	return err
}
