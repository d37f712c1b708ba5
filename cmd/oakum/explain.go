package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/dockerfile"
	"github.com/oakum-build/oakum/dockerfile/forecast"
)

func explainFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "explain", Usage: "say of each step why it was found in the layer cache or not, and what has changed, and show at the end a table of the steps with time, size and whether they were found; --metadata-file has the same as JSON"},
		&cli.GenericFlag{Name: "dry-run", Value: new(dryRun), Usage: "`text|json` build nothing and pull nothing: print for each step whether it would be found in the layer cache, as far as that can be known, and if not, why; without a value text"},
	}
}

// dryRun is the value of --dry-run; "" is none.
type dryRun string

// Set reads a value; "true" is --dry-run without one.
func (d *dryRun) Set(text string) error {
	switch text {
	case "true", "text":
		*d = "text"
	case "json":
		*d = "json"
	case "false":
		*d = ""
	default:
		return errors.New("must be text or json")
	}
	return nil
}

func (d *dryRun) String() string   { return string(*d) }
func (d *dryRun) IsBoolFlag() bool { return true }

// dryRunBuild carries out build --dry-run.
func dryRunBuild(c *cli.Context, std streams, req buildRequest, form dryRun) (err error) {
	progress := newProgress(std.raw.err, req.quiet)
	for _, text := range req.warnings {
		progress.warn(text, 0)
	}
	req.options.Progress = progress.warnings
	b, err := open(c, builder.Options{Registry: req.registry, Events: progress.event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	steps, err := dockerfile.DryRun(c.Context, b, req.options)
	if err != nil {
		return err
	}
	if form == "json" {
		if steps == nil {
			steps = []forecast.Step{}
		}
		return writeJSON(std.out, steps)
	}
	return writeForecast(std.out, steps)
}

// prospects are the words for what would become of a step.
var prospects = map[forecast.Prospect]string{
	forecast.Hit: "HIT", forecast.Miss: "MISS", forecast.Unknown: "UNKNOWN", forecast.Setting: "-",
}

func writeForecast(w io.Writer, steps []forecast.Step) error {
	for i, s := range steps {
		line := display.Line(fmt.Sprintf("#%d %-7s [%s %d/%d] %s", s.Step, prospects[s.Prospect], stageName(s.Platform, s.Stage), i+1, len(steps), firstLine(s.Instruction)))
		lines := []string{line}
		switch {
		case s.Explained != nil:
			lines = append(lines, explanation(*s.Explained)...)
		case s.Text != "":
			lines = append(lines, display.Line(s.Text))
		}
		if _, err := fmt.Fprintln(w, strings.Join(lines, "\n     ")); err != nil {
			return err
		}
	}
	return nil
}

// explanation is why a step was found or not, in lines.
func explanation(told explain.Step) []string {
	lines := []string{display.Line(told.Headline())}
	for _, c := range told.Changes {
		if c.Kind == explain.Parent {
			c.Name = firstLine(c.Name)
		}
		lines = append(lines, "  "+display.Line(c.String()))
	}
	if told.More > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", told.More))
	}
	return lines
}

// stepTable is what the table at the end of a build has, filled by the build's events.
type stepTable struct{ rows []*stepRow }

// stepRow is one step, as --metadata-file has it.
type stepRow struct {
	Step        int           `json:"step"`
	Platform    string        `json:"platform,omitempty"`
	Stage       string        `json:"stage"`
	Instruction string        `json:"instruction"`
	Line        int           `json:"line"`
	Cached      bool          `json:"cached"`
	Seconds     float64       `json:"seconds"`
	Explained   *explain.Step `json:"explained,omitempty"`

	done bool
}

// event takes an event of a step. The nil table takes nothing.
func (t *stepTable) event(e dockerfile.Event) {
	if t == nil || e.Step == 0 {
		return
	}
	at := slices.IndexFunc(t.rows, func(r *stepRow) bool { return r.Step == e.Step })
	if at < 0 {
		at = len(t.rows)
		t.rows = append(t.rows, &stepRow{Step: e.Step, Platform: e.Platform, Stage: e.Stage, Instruction: e.Instruction, Line: e.Line})
	}
	switch row := t.rows[at]; e.Kind {
	case dockerfile.StepExplained:
		row.Explained = e.Explained
	case dockerfile.StepFinished:
		row.Cached, row.Seconds, row.done = e.Cached, e.Duration.Seconds(), true
	}
}

// done says that a step has finished. What is told of it after that is its size, for the table.
func (t *stepTable) done(step int) bool {
	return t != nil && slices.ContainsFunc(t.rows, func(r *stepRow) bool { return r.Step == step && r.done })
}

// write writes the table.
func (t *stepTable) write(w io.Writer) error {
	rows := [][]string{{"STEP", "TIME", "SIZE", "CACHE", "STAGE", "INSTRUCTION"}}
	for _, r := range t.rows {
		size, cache := "-", "-"
		if r.Explained != nil {
			cache = string(r.Explained.Cause)
			if r.Cached {
				cache = "hit"
			}
			if r.Explained.Size > 0 {
				size = humanSize(r.Explained.Size)
			}
		}
		rows = append(rows, []string{fmt.Sprintf("#%d", r.Step), fmt.Sprintf("%.1fs", r.Seconds), size, cache, stageName(r.Platform, r.Stage), firstLine(r.Instruction)})
	}
	return writeTable(w, rows)
}
