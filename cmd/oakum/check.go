package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/dockerfile"
)

// call is what --call and --check ask for instead of a build.
type call struct {
	method       string // check, outline or targets; "" is a build
	json         bool
	ignoreStatus bool // findings do not count for the exit code
}

// readCall reads --check and --call, whose form is docker's:
// METHOD[,format=json|text][,ignorestatus=true].
func readCall(c *cli.Context) (call, error) {
	text := c.String("call")
	var out call
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return out, usagef("--call %q: %v", text, err)
	}
	switch fields[0] {
	case "build":
	case "check", "lint":
		out.method = "check"
	case "outline", "targets", describeMethod:
		out.method = fields[0]
	default:
		return out, usagef("--call must be build, check, lint, outline, targets or "+describeMethod+", not %q", fields[0])
	}
	for _, field := range fields[1:] {
		switch field {
		case "format=json":
			out.json = true
		case "ignorestatus", "ignorestatus=true":
			out.ignoreStatus = true
		case "format=text", "ignorestatus=false":
		default:
			return out, usagef("--call %q: %q is not format=json, format=text or ignorestatus=true", text, field)
		}
	}
	flag := "--call=" + out.method
	if c.Bool("check") {
		flag = "--check"
		if out.method != "" && out.method != "check" {
			return out, usagef("--check and --call=%s exclude each other", out.method)
		}
		out.method = "check"
	}
	if out.method != "" && c.Generic("dry-run").(*dryRun).String() != "" {
		return out, usagef("--dry-run and %s exclude each other", flag)
	}
	return out, nil
}

// answer does what --call asks for, and builds nothing. A store is opened only when a
// context must be fetched, or when a base image must tell which variables it sets.
func answer(c *cli.Context, std streams, req buildRequest) (err error) {
	if req.call.method == describeMethod {
		return writeMethods(std.out, req.call)
	}
	if req.call.json && len(req.options.File.More) > 0 {
		return usagef("--call with format=json takes one --file: the places are those of one file")
	}
	progress := newProgress(std.raw.err, req.quiet)
	var b *builder.Builder
	defer func() {
		if b != nil {
			closeBuilder(b, &err)
		}
	}()
	req.options.Open = func(context.Context) (_ *builder.Builder, err error) {
		b, err = open(c, builder.Options{Registry: req.registry, Events: progress.event})
		return b, err
	}
	ask := dockerfile.Describe
	if req.call.method == "check" {
		ask = dockerfile.Check
	}
	report, err := ask(c.Context, req.options)
	if report.File == "" {
		return err
	}
	if errors.Is(err, errors.ErrUnsupported) { // it can be checked and described all the same
		progress.warn(err.Error(), 0)
		err = nil
	}
	if req.call.method != "check" {
		if err != nil {
			return err
		}
		return describe(std.out, report, req.call)
	}
	if writeErr := writeFindings(std.out, report, err, req.call); writeErr != nil {
		return writeErr
	}
	switch {
	case err != nil:
		return faultFound{err}
	case len(report.Findings) > 0 && !req.call.ignoreStatus:
		return statusError(exitChecks)
	}
	return nil
}

// faultFound is a fault of the Dockerfile that a check met.
type faultFound struct{ error }

func (e faultFound) Unwrap() error { return e.error }

// writeFindings writes what the checks found: as "docker build --check" does, or as
// the JSON of BuildKit's request frontend.lint.
func writeFindings(w io.Writer, report dockerfile.Report, fault error, call call) error {
	if call.json {
		return writeJSON(w, lintResult(report, fault))
	}
	var out strings.Builder
	switch n := len(report.Findings); {
	case n == 1:
		out.WriteString("Check complete, 1 warning has been found!\n")
	case n > 1:
		fmt.Fprintf(&out, "Check complete, %d warnings have been found!\n", n)
	case fault == nil:
		out.WriteString("Check complete, no warnings found.\n")
	}
	for _, f := range report.Findings {
		fmt.Fprintf(&out, "\nWARNING: %s", f.Rule)
		if f.URL != "" {
			fmt.Fprintf(&out, " - %s", f.URL)
		}
		const rule = "--------------------\n"
		fmt.Fprintf(&out, "\n%s\n%s:%d\n%s%s%s", display.Message(f.Detail), display.Line(f.File), f.Line, rule, f.Excerpt, rule)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// describe writes the targets or the outline.
func describe(w io.Writer, report dockerfile.Report, call call) error {
	switch {
	case call.json && call.method == "targets":
		return writeJSON(w, targetsResult(report))
	case call.json:
		return writeJSON(w, outlineResult(report))
	case call.method == "targets":
		return writeTargets(w, report.Targets)
	}
	return writeOutline(w, report.Outline)
}

func writeTargets(w io.Writer, targets []dockerfile.Target) error {
	rows := [][]string{{"TARGET", "DESCRIPTION"}}
	for _, t := range targets {
		name := t.Name
		if t.Default {
			name = strings.TrimSpace(name + " (default)")
		}
		rows = append(rows, []string{name, t.Description})
	}
	return writeTable(w, rows)
}

func writeOutline(w io.Writer, o dockerfile.Outline) error {
	var tables [][][]string
	if o.Name != "" || o.Description != "" {
		tables = append(tables, [][]string{{"TARGET:", o.Name}})
		if o.Description != "" {
			tables[0] = append(tables[0], []string{"DESCRIPTION:", o.Description})
		}
	}
	args := [][]string{{"BUILD ARG", "VALUE", "DESCRIPTION"}}
	for _, a := range o.Args {
		args = append(args, []string{a.Name, a.Value, a.Description})
	}
	mounts := func(title string, list []dockerfile.Mount) [][]string {
		rows := [][]string{{title, "REQUIRED"}}
		for _, m := range list {
			required := ""
			if m.Required {
				required = "true"
			}
			rows = append(rows, []string{m.Name, required})
		}
		return rows
	}
	caches := [][]string{{"CACHE"}}
	for _, m := range o.Caches {
		caches = append(caches, []string{m.Name})
	}
	for _, table := range [][][]string{args, mounts("SECRET", o.Secrets), mounts("SSH", o.SSH), caches} {
		if len(table) > 1 {
			tables = append(tables, table)
		}
	}
	for _, table := range tables {
		if err := writeTable(w, append(table, nil)); err != nil {
			return err
		}
	}
	return nil
}

// writeTable aligns columns.
func writeTable(w io.Writer, rows [][]string) error {
	var aligned strings.Builder
	t := tabwriter.NewWriter(&aligned, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, display.Line(cell))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(aligned.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(display.NewWriter(w))
	e.SetIndent("", "  ")
	return e.Encode(v)
}
