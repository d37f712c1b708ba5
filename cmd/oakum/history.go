package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

func historyCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "history",
		Aliases:     []string{"image history"},
		Usage:       "show the steps that made an image, newest first",
		ArgsUsage:   "IMAGE",
		Description: "Template fields of --format: .ID .CreatedSince .CreatedAt .CreatedBy .Size .Comment.",
		Flags: withStore([]cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`json|TEMPLATE` print this instead of a table"},
			&cli.StringFlag{Name: "platform", Usage: "of an index take the image for the platform `OS/ARCH[/VARIANT]` (default: this machine's)"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole ids and instructions"},
		}),
		Action: func(c *cli.Context) error { return history(c, std) },
	}
}

// historyRow is a line of the table, and what a template of history sees.
type historyRow struct {
	ID, CreatedSince, CreatedAt, CreatedBy, Size, Comment string
}

// historyJSON is an entry of history --format json, with the keys of podman's.
type historyJSON struct {
	ID        string     `json:"id"`
	Created   *time.Time `json:"created"`
	CreatedBy string     `json:"createdBy"`
	Size      int64      `json:"size"`
	Comment   string     `json:"comment"`
}

func history(c *cli.Context, std streams) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	f, err := parseFormat(c.String("format"), "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}")
	if err != nil {
		return err
	}
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		d, err := b.InspectFor(ctx, c.Args().First(), c.String("platform"))
		if err != nil {
			return err
		}
		rows := listHistory(d, c.Bool("no-trunc"))
		if c.Bool("quiet") {
			for _, row := range rows.rows {
				fmt.Fprintln(std.out, row.ID)
			}
			return nil
		}
		return rows.print(std.out, f)
	})
}

// listHistory makes a row for each entry. Only the newest has an id: the images in
// between do not exist.
func listHistory(d builder.ImageDetail, whole bool) list[historyRow] {
	layer := 0
	var rows []historyRow
	entries := []historyJSON{}
	for _, h := range d.History {
		var size int64
		if !h.EmptyLayer && layer < len(d.LayerSizes) {
			size = d.LayerSizes[layer]
			layer++
		}
		row := historyRow{ID: "<missing>", CreatedBy: h.CreatedBy, Size: humanSize(size), Comment: h.Comment}
		if !whole {
			row.CreatedBy = ellipsis(oneLine(h.CreatedBy), 45)
		}
		row.CreatedSince = "N/A"
		if h.Created != nil {
			row.CreatedSince, row.CreatedAt = ago(*h.Created), stamp(*h.Created)
		}
		entry := historyJSON{ID: row.ID, Created: h.Created, CreatedBy: h.CreatedBy, Size: size, Comment: h.Comment}
		rows = append([]historyRow{row}, rows...)
		entries = append([]historyJSON{entry}, entries...)
	}
	if len(rows) > 0 {
		rows[0].ID, entries[0].ID = displayID(d.ID, whole), d.ID
	}
	headings := historyRow{
		ID: "ID", CreatedSince: "CREATED", CreatedAt: "CREATED AT", CreatedBy: "CREATED BY", Size: "SIZE", Comment: "COMMENT",
	}
	return list[historyRow]{headings: headings, rows: rows, json: entries}
}
